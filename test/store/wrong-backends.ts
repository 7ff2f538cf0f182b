import { createHash } from 'node:crypto'
import type { JsonObject } from '../../src/credential.ts'
import {
  type Change,
  type CommitResult,
  memoryBackend,
  type StoreBackend,
  type Versioned,
} from '../../src/store/backend.ts'
import type { SpoilingHarness } from '../../src/store/contract.ts'

/** The memory backend with one mistake in it, and the case of the contract that must find it. */
export interface WrongBackend {
  readonly mistake: string
  readonly caughtBy: string
  /** Makes a new place; every call of what it answers with is another handle on it. */
  readonly place: () => () => StoreBackend
}

type Methods = Partial<Omit<StoreBackend, 'exclusion'>>

/** What every handle does wrong. `right` is the one place behind all of them; what is not named here, it does. */
export function handles(wrong: (right: StoreBackend) => Methods = () => ({})): WrongBackend['place'] {
  return () => {
    const right = memoryBackend()
    return () => ({ ...right, ...closing(right), ...wrong(right) })
  }
}

/** The same, and something is kept for all handles together. */
function sharing<Kept>(make: () => Kept, wrong: (right: StoreBackend, kept: Kept) => Methods): WrongBackend['place'] {
  return () => {
    const right = memoryBackend()
    const kept = make()
    return () => ({ ...right, ...closing(right), ...wrong(right, kept) })
  }
}

/** Every handle is closed by itself, and the place stays. */
function closing(right: StoreBackend): Methods {
  let isClosed = false
  const open = (): void => {
    if (isClosed) throw new TypeError('the backend is closed')
  }
  return {
    read: async (key) => (open(), right.read(key)),
    keys: async () => (open(), right.keys()),
    commit: async (changes) => (open(), right.commit(changes)),
    waitForChange: async (key, since, timeoutMs) => (open(), right.waitForChange(key, since, timeoutMs)),
    close: async () => {
      isClosed = true
    },
  }
}

/** Revisions of another kind: `revisionOf` says what the entry's is. */
function withRevisions(right: StoreBackend, revisionOf: (key: string, entry: Versioned) => string): Methods {
  const shown = (key: string, entry: Versioned | null): Versioned | null =>
    entry === null ? null : { ...entry, revision: revisionOf(key, entry) }
  const meant = async (key: string, revision: string | null): Promise<string | null> => {
    const entry = await right.read(key)
    return revision === (shown(key, entry)?.revision ?? null) ? (entry?.revision ?? null) : `not ${entry?.revision}`
  }
  return {
    read: async (key) => shown(key, await right.read(key)),
    async commit(changes) {
      const translate = async (change: Change): Promise<Change> => ({
        ...change,
        expected: await meant(change.key, change.expected),
      })
      const result = await right.commit(await Promise.all(changes.map(translate)))
      return result.ok ? result : { ...result, current: shown(result.key, result.current) }
    },
    waitForChange: async (key, since, timeoutMs) => right.waitForChange(key, await meant(key, since), timeoutMs),
  }
}

/** Values of another kind, on the way in. */
function storing(right: StoreBackend, stored: (value: JsonObject) => JsonObject): Methods {
  return {
    commit: (changes) =>
      right.commit(changes.map((change) => ({ ...change, next: change.next === null ? null : stored(change.next) }))),
  }
}

/** Keys of another kind. */
function naming(right: StoreBackend, named: (key: string) => string): Methods {
  return {
    read: (key) => right.read(named(key)),
    commit: (changes) => right.commit(changes.map((change) => ({ ...change, key: named(change.key) }))),
    waitForChange: (key, since, timeoutMs) => right.waitForChange(named(key), since, timeoutMs),
  }
}

/** The first change that does not expect what is there. */
async function refusal(
  right: StoreBackend,
  changes: readonly Change[],
): Promise<(CommitResult & { readonly ok: false }) | undefined> {
  for (const { key, expected } of changes) {
    const current = await right.read(key)
    if ((current?.revision ?? null) !== expected) return { ok: false, key, current }
  }
  return undefined
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** Writes whatever is there. */
async function overwrite(right: StoreBackend, changes: readonly Change[]): Promise<CommitResult> {
  const asFound = changes.map(async (change) => ({
    ...change,
    expected: (await right.read(change.key))?.revision ?? null,
  }))
  return right.commit(await Promise.all(asFound))
}

export const wrongBackends: readonly WrongBackend[] = [
  // --- compare and swap ------------------------------------------------------------------------------------------
  {
    mistake: 'writes without a look at `expected`',
    caughtBy: 'a commit on a stale revision is refused and tells key and current value',
    place: handles((right) => ({ commit: (changes) => overwrite(right, changes) })),
  },
  {
    mistake: 'deletes without a look at `expected`',
    caughtBy: 'a delete on a stale revision is refused',
    place: handles((right) => ({
      commit: (changes) =>
        changes.every(({ next }) => next === null) ? overwrite(right, changes) : right.commit(changes),
    })),
  },
  {
    mistake: 'takes `expected: null` for "whatever is there"',
    caughtBy: 'expected null means only if absent',
    place: handles((right) => ({
      commit: (changes) =>
        changes.every(({ expected }) => expected === null) ? overwrite(right, changes) : right.commit(changes),
    })),
  },
  {
    mistake: 'takes a change of what is absent for a create',
    caughtBy: 'a change or delete of an absent key is refused, and current is null',
    place: handles((right) => ({
      async commit(changes) {
        const refused = await refusal(right, changes)
        return refused?.current === null ? overwrite(right, changes) : right.commit(changes)
      },
    })),
  },
  {
    mistake: 'refuses to delete what is not there',
    caughtBy: 'a delete that expects the key to be absent is accepted where it is, and makes nothing',
    place: handles((right) => ({
      commit: async (changes) =>
        changes.every(({ next, expected }) => next === null && expected === null)
          ? { ok: false, key: changes[0]?.key ?? '', current: null }
          : right.commit(changes),
    })),
  },
  {
    mistake: 'compares, waits, and then writes',
    caughtBy: 'of concurrent commits on one revision exactly one wins',
    place: handles((right) => ({
      async commit(changes) {
        const refused = await refusal(right, changes)
        await sleep(1)
        return refused ?? overwrite(right, changes)
      },
    })),
  },
  {
    mistake: 'reads everything, waits, and writes everything back',
    caughtBy: 'concurrent commits of different keys all land',
    place: sharing(
      () => ({ all: new Map<string, Versioned>() }),
      (right, place) => ({
        read: async (key) => place.all.get(key) ?? null,
        keys: async () => [...place.all.keys()],
        async commit(changes) {
          const result = await overwrite(right, changes)
          const all = new Map(place.all)
          for (const { key } of changes) {
            const entry = await right.read(key)
            if (entry === null) all.delete(key)
            else all.set(key, entry)
          }
          place.all = all
          return result
        },
      }),
    ),
  },

  // --- what a refusal tells --------------------------------------------------------------------------------------
  {
    mistake: 'names the last change that does not fit',
    caughtBy: 'a refused batch names the first change whose expectation does not hold',
    place: handles((right) => ({
      commit: async (changes) => (await refusal(right, [...changes].reverse())) ?? right.commit(changes),
    })),
  },
  {
    mistake: 'names the first change of a refused batch, whichever it was',
    caughtBy: 'a refused batch changes nothing',
    place: handles((right) => ({
      async commit(changes) {
        const result = await right.commit(changes)
        return result.ok ? result : { ...result, key: changes[0]?.key ?? '' }
      },
    })),
  },
  {
    mistake: 'tells of a refusal what this handle read last',
    caughtBy: 'a commit on a stale revision is refused and tells key and current value',
    place: handles((right) => {
      const seen = new Map<string, Versioned | null>()
      return {
        async read(key) {
          const entry = await right.read(key)
          seen.set(key, entry)
          return entry
        },
        async commit(changes) {
          const result = await right.commit(changes)
          return result.ok ? result : { ...result, current: seen.get(result.key) ?? null }
        },
      }
    }),
  },

  // --- batches ---------------------------------------------------------------------------------------------------
  {
    mistake: 'commits change by change until one is refused',
    caughtBy: 'a refused batch changes nothing',
    place: handles((right) => ({
      async commit(changes) {
        for (const change of changes) {
          const result = await right.commit([change])
          if (!result.ok) return result
        }
        return { ok: true }
      },
    })),
  },
  {
    mistake: 'checks a batch as a whole and then shows it change by change',
    caughtBy: 'nobody sees half of a batch',
    place: handles((right) => ({
      async commit(changes) {
        const refused = await refusal(right, changes)
        if (refused !== undefined) return refused
        for (const change of changes) {
          await right.commit([change])
          await sleep(1)
        }
        return { ok: true }
      },
    })),
  },
  {
    mistake: 'takes the last of two changes of one key',
    caughtBy: 'a key that occurs twice in a commit is a TypeError, and changes nothing',
    place: handles((right) => ({
      commit: (changes) => right.commit([...new Map(changes.map((change) => [change.key, change])).values()]),
    })),
  },
  {
    mistake: 'commits the first change of a batch only',
    caughtBy: 'an accepted batch changes everything',
    place: handles((right) => ({
      commit: async (changes) => (await refusal(right, changes)) ?? right.commit(changes.slice(0, 1)),
    })),
  },

  // --- revisions -------------------------------------------------------------------------------------------------
  {
    mistake: 'makes a revision of the value alone',
    caughtBy: 'the same value written twice has two revisions',
    place: handles((right) =>
      withRevisions(right, (_, { value }) => createHash('sha256').update(JSON.stringify(value)).digest('hex')),
    ),
  },
  {
    mistake: 'counts revisions from one again after a delete',
    caughtBy: 'a revision never comes back, not even after delete and re-create',
    place: sharing(
      () => new Map<string, number>(),
      (right, counts) => {
        const counted = withRevisions(right, (key) => String(counts.get(key)))
        return {
          ...counted,
          async commit(changes) {
            const result = (await counted.commit?.(changes)) ?? { ok: true }
            if (!result.ok) return result
            for (const { key, next } of changes) {
              if (next === null) counts.delete(key)
              else counts.set(key, (counts.get(key) ?? 0) + 1)
            }
            return result
          },
        }
      },
    ),
  },
  {
    mistake: 'has one revision for all that is there',
    caughtBy: 'a commit leaves the revisions of other keys as they are',
    place: sharing(
      () => ({ count: 0 }),
      (right, place) => {
        const counted = withRevisions(right, () => String(place.count))
        return {
          ...counted,
          async commit(changes) {
            const result = (await counted.commit?.(changes)) ?? { ok: true }
            if (result.ok) place.count++
            return result
          },
        }
      },
    ),
  },

  // --- what is read ----------------------------------------------------------------------------------------------
  {
    mistake: 'answers null where it cannot read',
    caughtBy: 'after close every method rejects, and what was committed stays',
    place: handles((right) => {
      const { read } = closing(right)
      let isClosed = false
      return {
        read: async (key) => (isClosed ? null : ((await read?.(key)) ?? null)),
        close: async () => {
          isClosed = true
        },
      }
    }),
  },
  {
    mistake: 'answers {} for what is absent',
    caughtBy: 'an absent key reads as null',
    place: handles((right) => ({
      read: async (key) => (await right.read(key)) ?? { value: {}, revision: '0' },
    })),
  },
  {
    mistake: 'acknowledges first and writes later',
    caughtBy: 'a read that follows an acknowledged commit sees it, through any handle',
    place: handles((right) => ({
      async commit(changes) {
        const refused = await refusal(right, changes)
        void sleep(5).then(() => right.commit(changes).catch(() => undefined))
        return refused ?? { ok: true }
      },
    })),
  },
  {
    mistake: 'reads what this handle has read before',
    caughtBy: 'a read that follows an acknowledged commit sees it, through any handle',
    place: handles((right) => {
      const cache = new Map<string, Versioned | null>()
      return {
        async read(key) {
          if (!cache.has(key)) cache.set(key, await right.read(key))
          return structuredClone(cache.get(key) ?? null)
        },
        async commit(changes) {
          for (const { key } of changes) cache.delete(key)
          return right.commit(changes)
        },
      }
    }),
  },
  {
    mistake: 'hands out the object that it keeps',
    caughtBy: 'values are handed over by copy',
    place: handles((right) => {
      const kept = new Map<string, Versioned>()
      return {
        async read(key) {
          const entry = await right.read(key)
          if (entry === null) return null
          if (!kept.has(entry.revision)) kept.set(entry.revision, entry)
          return kept.get(entry.revision) ?? null
        },
      }
    }),
  },
  {
    mistake: 'keeps the object that it was given',
    caughtBy: 'values are handed over by copy',
    place: sharing(
      () => new Map<string, JsonObject | null>(),
      (right, given) => ({
        async read(key) {
          const entry = await right.read(key)
          return entry === null ? null : { ...entry, value: structuredClone(given.get(key) ?? {}) }
        },
        async commit(changes) {
          const result = await right.commit(changes)
          if (result.ok) for (const { key, next } of changes) given.set(key, next)
          return result
        },
      }),
    ),
  },
  {
    mistake: 'hands out, with a refusal, the object that it keeps',
    caughtBy: 'values are handed over by copy',
    place: handles((right) => {
      const kept = new Map<string, Versioned>()
      return {
        async read(key) {
          const entry = await right.read(key)
          return entry === null ? null : structuredClone(kept.get(entry.revision) ?? entry)
        },
        async commit(changes) {
          const result = await right.commit(changes)
          if (!result.ok && result.current !== null) kept.set(result.current.revision, result.current)
          return result
        },
      }
    }),
  },

  // --- what is kept ----------------------------------------------------------------------------------------------
  {
    mistake: 'keeps the members that it knows',
    caughtBy: 'a committed value is read back, by this handle and by another',
    place: handles((right) =>
      storing(right, (value) =>
        Object.fromEntries(Object.entries(value).filter(([name]) => ['n', 'key', 'text'].includes(name))),
      ),
    ),
  },
  {
    mistake: 'drops members that are null',
    caughtBy: 'a value is kept whole, whatever its members are called and hold',
    place: handles((right) =>
      storing(right, (value) => Object.fromEntries(Object.entries(value).filter(([, member]) => member !== null))),
    ),
  },
  {
    mistake: 'loses a member that is called __proto__',
    caughtBy: 'a value is kept whole, whatever its members are called and hold',
    place: handles((right) =>
      storing(right, (value) => {
        const copy: Record<string, JsonObject[string]> = {}
        for (const [name, member] of Object.entries(value)) copy[name] = member
        return { ...copy }
      }),
    ),
  },
  {
    mistake: 'keeps its entries as members of a plain object',
    caughtBy: 'the names of what every object has are keys like any other',
    place: sharing(
      (): { entries: Record<string, Versioned> } => ({ entries: {} }),
      (right, place) => ({
        read: async (key) => place.entries[key] ?? null,
        keys: async () => Object.keys(place.entries),
        async commit(changes) {
          const result = await right.commit(changes)
          if (!result.ok) return result
          for (const { key } of changes) {
            const entry = await right.read(key)
            if (entry === null) Reflect.deleteProperty(place.entries, key)
            else place.entries[key] = entry
          }
          return result
        },
      }),
    ),
  },
  {
    mistake: 'does not tell large letters from small ones',
    caughtBy: 'long and odd keys and values survive',
    place: handles((right) => naming(right, (key) => key.toLowerCase())),
  },
  {
    mistake: 'cuts long keys',
    caughtBy: 'long and odd keys and values survive',
    place: handles((right) => naming(right, (key) => key.slice(0, 255))),
  },

  // --- the list --------------------------------------------------------------------------------------------------
  {
    mistake: 'does not list what is no credential',
    caughtBy: 'long and odd keys and values survive',
    place: handles((right) => ({ keys: async () => (await right.keys()).filter((key) => !key.startsWith(':')) })),
  },
  {
    mistake: 'lists a key once for every time it was written',
    caughtBy: 'a deleted key is gone from reads and from the list',
    place: sharing(
      () => [] as string[],
      (right, written) => ({
        keys: async () => [...written],
        async commit(changes) {
          const result = await right.commit(changes)
          if (result.ok) written.push(...changes.flatMap(({ key, next }) => (next === null ? [] : [key])))
          return result
        },
      }),
    ),
  },

  // --- waiting ---------------------------------------------------------------------------------------------------
  {
    mistake: 'never wakes before the time-out',
    caughtBy: 'waiting ends when another handle changes the key',
    place: handles(() => ({ waitForChange: (_key, _since, timeoutMs) => sleep(timeoutMs) })),
  },
  {
    mistake: 'looks whether anything has changed every 15 seconds',
    caughtBy: 'waiting ends when another handle changes the key',
    place: handles((right) => ({
      async waitForChange(key, since, timeoutMs) {
        for (let left = timeoutMs; left > 0; left -= 15_000) {
          await sleep(Math.min(left, 15_000))
          if (((await right.read(key))?.revision ?? null) !== since) return
        }
      },
    })),
  },
  {
    mistake: 'does not wake for a delete',
    caughtBy: 'waiting ends when another handle deletes the key, or makes it',
    place: handles((right) => ({
      async waitForChange(key, since, timeoutMs) {
        await right.waitForChange(key, since, timeoutMs)
        if ((await right.read(key)) === null) await sleep(timeoutMs)
      },
    })),
  },
  {
    mistake: 'wakes only for what happens after the call',
    caughtBy: 'waiting ends at once for a key that has changed already, and when it is deleted',
    place: handles((right) => ({
      async waitForChange(key, _since, timeoutMs) {
        await right.waitForChange(key, (await right.read(key))?.revision ?? null, timeoutMs)
      },
    })),
  },
  {
    mistake: 'never stops waiting',
    caughtBy: 'waiting ends after its time-out when nothing happens, and not at once',
    place: handles((right) => ({ waitForChange: (key, since) => right.waitForChange(key, since, 10 ** 9) })),
  },
  {
    mistake: 'does not wait',
    caughtBy: 'waiting ends after its time-out when nothing happens, and not at once',
    place: handles(() => ({ waitForChange: async () => {} })),
  },

  // --- the end ---------------------------------------------------------------------------------------------------
  {
    mistake: 'goes on after it was closed',
    caughtBy: 'after close every method rejects, and what was committed stays',
    place: handles(() => ({ close: async () => {} })),
  },
  {
    mistake: 'forgets everything when one handle is closed',
    caughtBy: 'after close every method rejects, and what was committed stays',
    place: handles((right) => ({ close: () => right.close() })),
  },
  {
    mistake: 'closes over a commit that is under way',
    caughtBy: 'close waits for a commit under way',
    place: handles((right) => ({
      async commit(changes) {
        await sleep(1_000)
        return right.commit(changes)
      },
    })),
  },
]

/** A place of which entries can be made unreadable; what is read or listed of them is as `wrong` has it. */
export function spoilable(wrong: (right: StoreBackend, isSpoiled: (key: string) => boolean) => Methods = () => ({})) {
  return (): SpoilingHarness => {
    const right = memoryBackend()
    const spoiled = new Set<string>()
    const read: StoreBackend['read'] = async (key) => {
      if (spoiled.has(key)) throw new Error(`${key} cannot be read`)
      return right.read(key)
    }
    return {
      open: async () => ({ ...right, read, ...wrong(right, (key) => spoiled.has(key)) }),
      spoil: async (key) => void spoiled.add(key),
    }
  }
}

interface WrongAboutSpoiled extends Omit<WrongBackend, 'place'> {
  readonly place: () => SpoilingHarness
}

export const wrongAboutSpoiled: readonly WrongAboutSpoiled[] = [
  {
    mistake: 'takes what it cannot read for absent',
    caughtBy: 'what cannot be read is mended or an error, never absent',
    place: spoilable((right, isSpoiled) => ({ read: async (key) => (isSpoiled(key) ? null : right.read(key)) })),
  },
  {
    mistake: 'does not list what it cannot read',
    caughtBy: 'what cannot be read is mended or an error, never absent',
    place: spoilable((right, isSpoiled) => ({
      keys: async () => (await right.keys()).filter((key) => !isSpoiled(key)),
    })),
  },
  {
    mistake: 'creates over what it cannot read',
    caughtBy: 'what cannot be read is not created over',
    place: spoilable((right, isSpoiled) => ({
      commit: (changes) =>
        changes.some(({ key }) => isSpoiled(key)) ? overwrite(right, changes) : right.commit(changes),
    })),
  },
]
