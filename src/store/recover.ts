import { type Document, type Entry, type Format, FormatError } from '../formats/format.ts'

/** What the bytes of a credential file turn out to be. Only `absent` may ever mean "no credentials". */
export type Finding =
  | { readonly kind: 'absent' }
  | { readonly kind: 'valid'; readonly document: Document }
  /** Written by a newer version: neither read nor repaired. */
  | { readonly kind: 'newer'; readonly what: string }
  | { readonly kind: 'damaged'; readonly what: string }

/** Judges a file by its bytes alone. */
export function examine(bytes: Uint8Array | null, format: Format): Finding {
  if (bytes === null) return { kind: 'absent' }
  if (bytes.byteLength === 0) return { kind: 'damaged', what: 'the file is empty (0 bytes)' }
  if (bytes.every((byte) => byte === 0)) return { kind: 'damaged', what: 'the file holds only NUL bytes' }
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    return { kind: 'valid', document: format.parse(text) }
  } catch (error) {
    if (error instanceof FormatError) return { kind: error.isIntact ? 'newer' : 'damaged', what: error.what }
    return { kind: 'damaged', what: 'it is not UTF-8 text' }
  }
}

/** How many credentials a document holds, readable or not. */
export function credentialsIn(document: Document, format: Format): number {
  return format.keys(document).filter((key) => !key.startsWith(':')).length
}

/** Every entry with a new revision: whoever read the file before it was restored must read again before changing it. */
export function refreshed(document: Document, format: Format): Document {
  return format.put(document, entriesOf(document, format))
}

/** An older document that takes the place of one that is lost, its entries marked as what they are. */
export function revived(older: Document, format: Format, now: number): Document {
  const entries = entriesOf(older, format).map(([key, value]) => [key, format.restored(value, null, now)] as const)
  return format.put(older, entries)
}

/** A document with the entries of an older state in it, marked as what they are; what is newer now stays. */
export function withOlder(current: Document, older: Document, format: Format, now: number): Document {
  const changes = entriesOf(older, format).flatMap(([key, value]) => {
    const present = readable(format, current, key)
    // What is remembered is no older than what it is about: with the list of keys of last week, today's would be lost.
    if (present === 'intact' || (present !== null && key.startsWith(':'))) return []
    const next = format.restored(value, present?.value ?? null, now)
    return next === null ? [] : [[key, next] as const]
  })
  return format.put(current, changes)
}

/** Every entry that can be read. */
export function entriesOf(document: Document, format: Format): readonly (readonly [string, Document])[] {
  return format.keys(document).flatMap((key) => {
    const entry = readable(format, document, key)
    // An entry that cannot be read stays as it is; it must not keep the others from coming back.
    return entry === null || entry === 'intact' ? [] : [[key, entry.value] as const]
  })
}

/** `intact`: it cannot be read, and is as its writer meant it. */
function readable(format: Format, document: Document, key: string): Entry | 'intact' | null {
  try {
    return format.entry(document, key)
  } catch (error) {
    if (error instanceof FormatError) return error.isIntact ? 'intact' : null
    throw error
  }
}
