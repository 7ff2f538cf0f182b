import { isDeepStrictEqual } from 'node:util'
import type { JsonObject } from '../credential.ts'
import { AuthkeepError } from '../errors.ts'
import type { Change, StoreBackend, Versioned } from './backend.ts'
import { keySources } from './sealed.ts'
import { spentInState } from './spent.ts'

/*
 * A refresh token may be spent by one store only. So an entry is in two stores at once, and renewed by one: the other one
 * says in `metadata.moved` where it is renewed. That mark is set where it came from by compare-and-swap on what was
 * copied, and taken away where it went to only after that. Whenever this ends, each entry is renewed by one store, or,
 * for the moment between the two, by none: then it is to be called again.
 */

/** A store, and what it is called in marks and messages: never with a password. */
export interface MovingStore {
  readonly backend: StoreBackend
  readonly name: string
}

/** What came of it. */
export interface MoveReport {
  /** Entries that live in the store they were moved to, by now. */
  readonly entries: number
  /** Of these, how many were there already. */
  readonly before: number
}

/** Why nothing was moved. */
export class MoveRefused extends Error {
  override readonly name = 'MoveRefused'
}

type Entries = ReadonlyMap<string, Versioned>

const mostRounds = 50
/** As long as a lease may last, by what stands in it. */
const longestLeaseMs = 120_000

/**
 * Moves every entry to another store, with what is remembered beside them, and verifies it. An entry that is being
 * refreshed is waited for. What was moved here from there before is overwritten: that is the way back.
 *
 * @throws MoveRefused where the other store has an entry of its own of the same name, or is sealed and this one is not;
 *   AuthkeepError `store_busy` where somebody goes on changing the entries; what either store throws
 */
export async function moveStore(from: MovingStore, to: MovingStore): Promise<MoveReport> {
  await refuseOtherSeal(from.backend, to.backend)
  for (let round = 0; round < mostRounds; round++) {
    await untilNobodyRefreshes(from.backend)
    const [source, target] = [await entriesOf(from.backend), await entriesOf(to.backend)]
    refuseTwins(source, target, from.name, to.name)
    const copied = copies(source, target, from.name, to.name)
    if (!(await commit(to.backend, [...copied, ...(await stateCopies(from.backend, to.backend))]))) continue
    await verify(to.backend, copied)
    if (!(await commit(from.backend, marks(source, to.name)))) continue
    // Whoever logged in meanwhile is moved in the next round.
    const left = [...(await entriesOf(from.backend))].filter(([, { value }]) => markOf(value) !== to.name)
    if (left.length > 0) continue
    await keepSpent(from.backend, to.backend)
    return arrive(from, to)
  }
  throw new AuthkeepError('store_busy', { path: from.name })
}

/** What was in transit lives here now. */
async function arrive(from: MovingStore, to: MovingStore): Promise<MoveReport> {
  for (let round = 0; round < mostRounds; round++) {
    const target = await entriesOf(to.backend)
    const arrived = [...target].filter(([, { value }]) => markOf(value) === from.name)
    const changes = arrived.map(([key, { value, revision }]) => ({ key, next: without(value), expected: revision }))
    if (await commit(to.backend, changes)) return { entries: target.size, before: target.size - arrived.length }
  }
  throw new AuthkeepError('store_busy', { path: to.name })
}

// --- what there is -------------------------------------------------------------------------------------------------

async function entriesOf(backend: StoreBackend): Promise<Entries> {
  return read(
    backend,
    (await backend.keys()).filter((key) => !key.startsWith(':')),
  )
}

async function read(backend: StoreBackend, keys: readonly string[]): Promise<Entries> {
  const found = await Promise.all(keys.map(async (key) => [key, await backend.read(key)] as const))
  return new Map(found.flatMap(([key, entry]) => (entry === null ? [] : [[key, entry] as const])))
}

async function untilNobodyRefreshes(backend: StoreBackend): Promise<void> {
  const deadline = performance.now() + longestLeaseMs
  for (const [key, { value, revision }] of await entriesOf(backend)) {
    for (let since = revision, entry: Versioned | null = { value, revision }; isLeased(entry); ) {
      const leftMs = Math.min(deadline - performance.now(), leaseOf(entry?.value))
      if (leftMs <= 0) break
      await backend.waitForChange(key, since, leftMs)
      const next = await backend.read(key)
      // The same one after all its time: its holder is gone, and the doubt travels with the entry.
      if (next?.revision === since) break
      entry = next
      since = next?.revision ?? since
    }
  }
}

const isLeased = (entry: Versioned | null): boolean => leaseOf(entry?.value) > 0

function leaseOf(value: JsonObject | undefined): number {
  const lease = value?.['lease'] as { readonly ms?: unknown } | null | undefined
  return typeof lease?.ms === 'number' ? Math.min(lease.ms, longestLeaseMs) : 0
}

// --- what is to be -------------------------------------------------------------------------------------------------

function refuseTwins(source: Entries, target: Entries, from: string, to: string): void {
  for (const [key, { value }] of source) {
    const mark = markOf(value)
    if (mark !== undefined && mark !== to) throw new MoveRefused(`${key} of ${from} was moved to ${mark} before.`)
  }
  const twins = [...target].filter(([key, { value }]) => {
    const here = source.get(key)?.value
    const isStale = markOf(value) === from
    const isThereAlready = here !== undefined && markOf(here) === to
    return !isStale && !isThereAlready && !isDeepStrictEqual(here, value)
  })
  if (twins.length > 0) {
    throw new MoveRefused(`${to} has logins of its own: ${twins.map(([key]) => key).join(', ')}.`)
  }
}

/** Entries as they are here, marked as living here still; and without those that have been deleted here since. */
function copies(source: Entries, target: Entries, from: string, to: string): readonly Change[] {
  const living = [...source].filter(([, { value }]) => markOf(value) !== to)
  const gone = [...target].filter(([key, { value }]) => markOf(value) === from && !source.has(key))
  return [
    ...living.map(([key, { value }]) => {
      return { key, next: marked(value, from), expected: target.get(key)?.revision ?? null }
    }),
    ...gone.map(([key, { revision }]) => ({ key, next: null, expected: revision })),
  ]
}

/** What is remembered beside the entries. Of keys, those that either one knows: older states may need the others. */
async function stateCopies(from: StoreBackend, to: StoreBackend): Promise<readonly Change[]> {
  const keys = (await from.keys()).filter((key) => key.startsWith(':') && !(isFile(to) && isSpent(key)))
  const [source, target] = [await read(from, keys), await read(to, keys)]
  return [...source].flatMap(([key, { value }]) => {
    const there = target.get(key)
    const next =
      key === ':sealing' ? { ...value, keys: { ...object(there?.value['keys']), ...object(value['keys']) } } : value
    return isDeepStrictEqual(next, there?.value) ? [] : [{ key, next, expected: there?.revision ?? null }]
  })
}

function marks(source: Entries, to: string): readonly Change[] {
  return [...source].flatMap(([key, { value, revision }]) =>
    markOf(value) === to ? [] : [{ key, next: marked(value, to), expected: revision }],
  )
}

/** A file keeps its memory of what has been spent beside itself, where older states of it can be brought back. */
async function keepSpent(from: StoreBackend, to: StoreBackend): Promise<void> {
  if (!isFile(to)) return
  const states = await read(from, (await from.keys()).filter(isSpent))
  for (const { value } of states.values()) {
    for (const [fingerprint, at] of spentInState(value)) await to.noteSpent(fingerprint, at)
  }
}

/** @throws AuthkeepError `store_corrupt` where what can be read there is not what was written */
async function verify(backend: StoreBackend, changes: readonly Change[]): Promise<void> {
  for (const { key, next } of changes) {
    const found = await backend.read(key)
    if (isDeepStrictEqual(found?.value ?? null, next)) continue
    throw new AuthkeepError('store_corrupt', { path: 'the copy', key, what: 'it is not what was written' })
  }
}

async function refuseOtherSeal(from: StoreBackend, to: StoreBackend): Promise<void> {
  const [here, there] = [await keySources(from), await keySources(to)]
  if (here.length === 0 && there.length > 0) {
    throw new MoveRefused('The store that it is to go to is sealed. Seal this one first: authkeep encrypt')
  }
}

async function commit(backend: StoreBackend, changes: readonly Change[]): Promise<boolean> {
  return changes.length === 0 || (await backend.commit(changes)).ok
}

// --- the mark ------------------------------------------------------------------------------------------------------

function markOf(value: JsonObject): string | undefined {
  const to = object(object(value['metadata'])['moved'])['to']
  return typeof to === 'string' ? to : undefined
}

const marked = (value: JsonObject, to: string): JsonObject => {
  return { ...value, metadata: { ...object(value['metadata']), moved: { to } } }
}

function without(value: JsonObject): JsonObject {
  const { metadata, ...rest } = value
  const { moved: _, ...others } = object(metadata)
  return Object.keys(others).length === 0 ? rest : { ...rest, metadata: others }
}

function object(value: unknown): JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : {}
}

const isSpent = (key: string): boolean => key.startsWith(':spent:')

function isFile(
  backend: StoreBackend,
): backend is StoreBackend & { noteSpent(fingerprint: string, at: number): Promise<void> } {
  return 'noteSpent' in backend
}
