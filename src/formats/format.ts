import type { JsonObject } from '../credential.ts'

/** A parsed file: opaque to the store, which only hands it back to the format that made it. */
export type Document = JsonObject

/** An entry as the store sees it. */
export interface Entry {
  readonly value: JsonObject
  readonly revision: string
}

/**
 * How a file spells credentials. Pure: text in, text out. A format keeps every member that it does not know.
 */
export interface Format {
  readonly name: string
  /** A document without entries. */
  empty(): Document
  /** @throws FormatError when the text is not a document of this format */
  parse(text: string): Document
  /** The text of the file; `parse` makes an equal document of it. */
  print(document: Document): string
  /** The key of every entry, those included that cannot be read. */
  keys(document: Document): readonly string[]
  /** @throws FormatError when there is something under the key that is no entry */
  entry(document: Document, key: string): Entry | null
  /**
   * The document with these entries replaced, or removed for null. Each gets a revision never seen before.
   *
   * @throws FormatError for an entry that the format has no way to spell
   */
  put(document: Document, changes: Iterable<readonly [key: string, value: JsonObject | null]>): Document
  /**
   * What becomes of an entry that comes back from an older state (at `now`, Unix milliseconds), given the one that
   * stands there now: what may have been spent since is marked so. Null: the present one is newer and stays.
   */
  restored(older: JsonObject, current: JsonObject | null, now: number): JsonObject | null
  /** The program whose file it is, where it is not ours alone; for people. */
  readonly owner?: string
  /**
   * The lock under which the owner spends refresh tokens. In a store of such a format a login is the owner's: a broker
   * uses its access token while that lives and refreshes nothing, until the login is taken over; then it holds this lock
   * from before it looks at the refresh token until the successor is written, as the owner does.
   */
  readonly refreshLock?: RefreshLock
  /**
   * Where keys that begin with a colon are kept: in the document (the default), or in a file of ours `beside` it, where
   * the document has no place for what is no login. One commit then changes either those or entries.
   */
  readonly state?: 'inside' | 'beside'
  /** The largest document that a cut text still holds, or null: every entry that is complete in it. */
  salvage(text: string): Document | null
}

/** What stands at `<file>.lock` while it is held, as for every write of ours: a directory, or whatever the owner makes. */
export interface RefreshLock {
  /**
   * How long its holder may be silent, in milliseconds, before it counts as left behind: by the owner's own rule, since
   * an owner that is taken for dead would go on to spend what we spend.
   */
  readonly staleMs: number
}

/** Why a text or an entry is not what the format says. Carries no piece of the text: it may be secret. */
export class FormatError extends Error {
  readonly what: string
  /** As its writer meant it, a newer version or another program: it is not damaged, and must not be "repaired". */
  readonly isIntact: boolean

  constructor(what: string, isIntact = false) {
    super(what)
    this.name = 'FormatError'
    this.what = what
    this.isIntact = isIntact
  }
}
