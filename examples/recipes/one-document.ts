// A store in any place that holds one text and can write it "only if nobody else has": a secret of Vault, a Secret of
// Kubernetes. All credentials are one document there, because such a place has no transaction over several keys.
import { createHash, randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { AuthkeepError, type Change, type CommitResult, isAuthkeepError, type StoreBackend } from 'authkeep'

/** Where one text is kept. `version` names a state of it; null where there is nothing that could be named. */
export interface TextPlace {
  /** For messages. */
  readonly name: string
  /** The text as the last acknowledged write left it, never an older one; null where there is none. */
  read(): Promise<{ readonly text: string | null; readonly version: string | null }>
  /**
   * True: stored, durably. False: `version` is not the current one, and nothing was written. Rejects with `store_failed`
   * where the place says that it did not write, and with anything else where nobody knows.
   */
  write(text: string, version: string | null): Promise<boolean>
}

interface Entry {
  /** Random, and new with every write: it tells a value from the same one written again. */
  readonly rev: string
  readonly value: NonNullable<Change['next']>
}

const attempts = 100

export function oneDocument(place: TextPlace): StoreBackend {
  const working = new Set<Promise<unknown>>()
  let isClosed = false
  let reading: Promise<{ entries: Map<string, Entry>; version: string | null }> | undefined
  let last: Promise<unknown> = Promise.resolve()

  /** Who asks in the same turn shares a request; it is made after all of them have asked. */
  function load(): Promise<{ entries: Map<string, Entry>; version: string | null }> {
    reading ??= Promise.resolve().then(async () => {
      reading = undefined
      const { text, version } = await place.read()
      return { entries: entriesOf(place.name, text), version }
    })
    return reading
  }

  async function attempt(changes: readonly Change[]): Promise<CommitResult> {
    for (let n = 0; n < attempts; n++) {
      // Not `load`: what is changed below is nobody else's.
      const { text, version } = await place.read()
      const entries = entriesOf(place.name, text)
      for (const { key, expected } of changes) {
        const current = versioned(entries.get(key))
        if ((current?.revision ?? null) !== expected) return { ok: false, key, current }
      }
      for (const { key, next } of changes) {
        if (next === null) entries.delete(key)
        else entries.set(key, { rev: randomUUID(), value: next })
      }
      const written = JSON.stringify({ version: 1, entries: Object.fromEntries(entries) })
      try {
        if (await place.write(written, version)) return { ok: true }
      } catch (error) {
        if (isAuthkeepError(error, 'store_failed')) throw error
        throw new AuthkeepError('write_indeterminate', { key: changes[0]?.key ?? place.name })
      }
      // Somebody else has written in between, perhaps something else.
      await delay(Math.random() * Math.min(200, 10 * 2 ** n))
    }
    throw new AuthkeepError('store_busy', { path: place.name })
  }

  async function read(key: string): ReturnType<StoreBackend['read']> {
    assertOpen()
    return versioned((await load()).entries.get(key))
  }

  function assertOpen(): void {
    if (isClosed) throw new TypeError('the backend is closed')
  }

  return {
    exclusion: 'cas',
    read,
    async keys() {
      assertOpen()
      return [...(await load()).entries.keys()]
    },
    async commit(changes) {
      assertOpen()
      if (new Set(changes.map(({ key }) => key)).size !== changes.length) throw new TypeError('a key occurs twice')
      const copies = structuredClone(changes)
      // One after the other: commits of one process would only be in each other's way.
      const work = last.then(() => attempt(copies))
      last = work.catch(() => undefined)
      working.add(work)
      return work.finally(() => working.delete(work))
    },
    async waitForChange(key, since, timeoutMs) {
      const deadline = performance.now() + timeoutMs
      for (let pauseMs = 50; ; pauseMs = Math.min(pauseMs * 1.5, 1_000)) {
        const now = await read(key)
        const left = deadline - performance.now()
        if ((now?.revision ?? null) !== since || left <= 0) return
        await delay(Math.min(left, pauseMs * (0.5 + Math.random())))
      }
    },
    async close() {
      isClosed = true
      await Promise.allSettled(working)
    },
  }
}

/** The revision is of all that is there, so that an edit by hand changes it, too. */
function versioned(entry: Entry | undefined): { value: Entry['value']; revision: string } | null {
  if (entry === undefined) return null
  const revision = createHash('sha256').update(JSON.stringify(entry)).digest('base64url').slice(0, 22)
  return { value: structuredClone(entry.value), revision }
}

/** Corrupt is not empty: what is there and cannot be read is an error, and is never written over. */
function entriesOf(path: string, text: string | null): Map<string, Entry> {
  if (text === null) return new Map()
  const document = parsed(text)
  if (isObject(document) && document['version'] === 1 && isObject(document['entries'])) {
    const entries = Object.entries(document['entries'])
    if (entries.every(([, entry]) => isObject(entry) && isObject(entry['value']))) {
      return new Map(entries as [string, Entry][])
    }
  }
  throw new AuthkeepError('store_corrupt', { path, what: 'it is not a document of this recipe' })
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
