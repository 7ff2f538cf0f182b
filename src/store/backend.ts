import type { JsonObject } from '../credential.ts'
import { randomUUID } from '../on-demand.ts'

/** A value and the revision it was read at. */
export interface Versioned {
  readonly value: JsonObject
  readonly revision: string
}

/** One change of a commit: `expected` null means "only if absent", `next` null means "delete". */
export interface Change {
  readonly key: string
  readonly next: JsonObject | null
  readonly expected: string | null
}

/** `key` is the first change whose expectation did not hold; `current` is what is durably there now. */
export type CommitResult =
  | { readonly ok: true }
  | { readonly ok: false; readonly key: string; readonly current: Versioned | null }

/**
 * Where credentials are kept: five methods and a fact, none optional. Most users pass a path to `openStore` instead;
 * implement this to keep credentials somewhere else, and run the cases of `authkeep/testing` on it.
 *
 * A revision is opaque and never the same twice for a key: not after delete and re-create, not for the same value
 * written twice, not after a foreign program has changed the entry.
 */
export interface StoreBackend {
  /** `cas`: a commit excludes every other committer. `none`: it cannot (a file that must be written in place). */
  readonly exclusion: 'cas' | 'none'

  /**
   * The value and its revision, or null when there is none. Linearizable. What cannot be read, or is corrupt, rejects:
   * null never means "could not read".
   */
  read(key: string): Promise<Versioned | null>

  /**
   * All changes or none. Resolves `{ ok: true }` only when every change would survive a power cut, and `{ ok: false }`
   * when an expectation did not hold. An answer lost on the way rejects with `write_indeterminate`, a key that occurs
   * twice with a TypeError.
   */
  commit(changes: readonly Change[]): Promise<CommitResult>

  /** Every key, in no particular order. Rejects as `read`. */
  keys(): Promise<readonly string[]>

  /** Resolves when the key has another revision than `since`, or after `timeoutMs`. A hint, never a proof. Rejects as `read`. */
  waitForChange(key: string, since: string | null, timeoutMs: number): Promise<void>

  /** Waits for commits under way; afterwards every method rejects. */
  close(): Promise<void>
}

/** A backend that can tell cheaply whether anything has changed. Ours can; no other has to. */
export interface VersionedBackend extends StoreBackend {
  /** The same value, by identity, for as long as nothing has changed. */
  version(): Promise<unknown>
}

/** Of which entry a copy is. */
const originals = new WeakMap<Versioned, Versioned>()

/** A copy that its reader may change. Its revision is worked out when somebody asks for it. */
export function copyOf(entry: Versioned): Versioned {
  const copy = {
    value: structuredClone(entry.value),
    get revision() {
      return entry.revision
    },
  }
  originals.set(copy, entry)
  return copy
}

/** Whether two readings are of the same state: two copies of one entry are, whatever its revision is. */
export function isSameState(one: Versioned, other: Versioned): boolean {
  const original = originals.get(one)
  return (original !== undefined && original === originals.get(other)) || one.revision === other.revision
}

/** Keeps everything in this process. For tests and for applications that bring their credentials with them. */
export function memoryBackend(): StoreBackend {
  return versionedMemory()
}

function versionedMemory(): VersionedBackend {
  const entries = new Map<string, Versioned>()
  let version = 0
  const waiting = new Set<() => void>()
  let closed = false

  const open = (): void => {
    if (closed) throw new TypeError('the backend is closed')
  }

  return {
    exclusion: 'cas',

    async read(key) {
      open()
      const entry = entries.get(key)
      return entry === undefined ? null : copyOf(entry)
    },

    async commit(changes) {
      open()
      if (new Set(changes.map(({ key }) => key)).size !== changes.length) throw new TypeError('a key occurs twice')
      for (const { key, expected } of changes) {
        const current = entries.get(key)
        if ((current?.revision ?? null) !== expected) {
          return { ok: false, key, current: current === undefined ? null : copyOf(current) }
        }
      }
      version++
      for (const { key, next } of changes) {
        if (next === null) entries.delete(key)
        else entries.set(key, { value: structuredClone(next), revision: randomUUID() })
      }
      for (const wake of [...waiting]) wake()
      return { ok: true }
    },

    async keys() {
      open()
      return [...entries.keys()]
    },

    async version() {
      open()
      return version
    },

    async waitForChange(key, since, timeoutMs) {
      open()
      const changed = (): boolean => closed || (entries.get(key)?.revision ?? null) !== since
      if (changed()) return
      await new Promise<void>((resolve) => {
        const done = (): void => {
          clearTimeout(timer)
          waiting.delete(look)
          resolve()
        }
        const look = (): void => {
          if (changed()) done()
        }
        const timer = setTimeout(done, timeoutMs)
        waiting.add(look)
      })
    },

    async close() {
      closed = true
      for (const wake of [...waiting]) wake()
    },
  }
}
