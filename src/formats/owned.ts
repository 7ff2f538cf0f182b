import { type JsonObject, parseKeyName } from '../credential.ts'
import { randomBytes } from '../on-demand.ts'
import { type Document, type Entry, type Format, FormatError, type RefreshLock } from './format.ts'
import { define, edited, hashed, isObject, own } from './json-text.ts'
import { restoredEntry } from './native.ts'
import { type EntryDialect, readOwned, writeOwned } from './owned-entry.ts'

/** How another program's file holds its entries. */
export interface OwnedFile {
  /** The text of a file without entries. */
  readonly empty: string
  /** @throws FormatError */
  parse(text: string): JsonObject
  /** The entries of a parsed file, and the file with others in it. */
  entries(file: JsonObject): JsonObject
  withEntries(file: JsonObject, entries: JsonObject): JsonObject
  /** What an entry is called there. @throws FormatError for a key that has no name there */
  nameOf(key: string): string
  keyOf(name: string): string
  readonly dialect: EntryDialect
  readonly refreshLock: RefreshLock
}

/**
 * A format for a file that another program reads and writes too. The text is kept as it came, and only what a commit
 * changes is written anew: every other byte stays, with what nobody here understands in it.
 */
export function ownedFormat(name: string, owner: string, file: OwnedFile): Format {
  const parse = (text: string): Document => ({ text, json: file.parse(text) })
  const rawEntry = (document: Document, key: string): JsonObject | null => {
    const raw = own(file.entries(jsonOf(document)), file.nameOf(key))
    if (raw === undefined) return null
    if (!isObject(raw)) throw new FormatError('it is not an object')
    return raw
  }
  return {
    name,
    owner,
    refreshLock: file.refreshLock,
    state: 'beside',
    empty: () => parse(file.empty),
    parse,
    print: textOf,
    keys: (document) => Object.keys(file.entries(jsonOf(document))).map((each) => file.keyOf(each)),
    entry(document, key) {
      // A key that has no name there is not there.
      const raw = isNameable(file, key) ? rawEntry(document, key) : null
      return raw === null ? null : entryOf(raw, key, file.dialect)
    },
    put(document, changes) {
      const before = jsonOf(document)
      const entries = { ...file.entries(before) }
      for (const [key, value] of changes) {
        const entryName = file.nameOf(key)
        const raw = own(entries, entryName)
        if (value === null) Reflect.deleteProperty(entries, entryName)
        else define(entries, entryName, writeOwned(value, isObject(raw) ? raw : null, newRevision(), file.dialect))
      }
      const after = file.withEntries(before, entries)
      return { text: edited(textOf(document), before, after), json: after }
    },
    restored: restoredEntry,
    // The second copy and the generations are whole; a piece of somebody else's file is not made into one.
    salvage: () => null,
  }
}

const newRevision = (): string => randomBytes(12).toString('base64url')

const textOf = (document: Document): string => document['text'] as string
const jsonOf = (document: Document): JsonObject => document['json'] as JsonObject

function isNameable(file: OwnedFile, key: string): boolean {
  try {
    file.nameOf(key)
    return true
  } catch (error) {
    if (error instanceof FormatError) return false
    throw error
  }
}

const read = new WeakMap<JsonObject, Entry>()

function entryOf(raw: JsonObject, key: string, dialect: EntryDialect): Entry {
  let entry = read.get(raw)
  if (entry === undefined) {
    entry = hashed(readOwned(raw, parseKeyName(key), dialect), raw)
    read.set(raw, entry)
  }
  return entry
}
