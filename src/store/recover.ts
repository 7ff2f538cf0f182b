import type { Document, Format } from '../formats/format.ts'
import { FormatError } from '../formats/format.ts'

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
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(bytes)
    return { kind: 'valid', document: format.parse(text) }
  } catch (error) {
    if (error instanceof FormatError) return { kind: error.isNewer ? 'newer' : 'damaged', what: error.what }
    return { kind: 'damaged', what: 'it is not UTF-8 text' }
  }
}

/** Every entry with a new revision: whoever read the file before it was restored must read again before changing it. */
export function restored(document: Document, format: Format): Document {
  const values = format.keys(document).flatMap((key) => {
    const entry = readable(format, document, key)
    return entry === null ? [] : [[key, entry.value] as const]
  })
  return format.put(document, values)
}

/** The newest quarantined files to keep, by name; the rest of `names` may go. */
export function expiredQuarantines(names: readonly string[], base: string, keep = 5): readonly string[] {
  const mine = names.filter((name) => name.startsWith(`${base}.corrupt-`)).sort()
  return mine.slice(0, Math.max(0, mine.length - keep))
}

function readable(format: Format, document: Document, key: string): ReturnType<Format['entry']> {
  try {
    return format.entry(document, key)
  } catch (error) {
    // An entry that cannot be read stays as it is; it must not keep the others from being restored.
    if (error instanceof FormatError) return null
    throw error
  }
}
