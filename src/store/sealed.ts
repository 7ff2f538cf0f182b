import type { JsonObject } from '../credential.ts'
import { AuthkeepError } from '../errors.ts'
import type { Change, CommitResult, StoreBackend, Versioned } from './backend.ts'
import { join, type Secrets, split } from './sealing-members.ts'

/** Where the keys are that secrets are sealed with. */
export interface KeyProvider {
  /** For people: what to bring a key back to. */
  readonly name: string
  /** For programs: kept with the store, so that another one finds the keys. Not secret. */
  readonly source?: string
  /**
   * The 32 bytes of a key, or null where it does not have it. `wrapped` is what `create` has left with the store.
   *
   * @throws AuthkeepError `keychain_unavailable` where it cannot be asked
   */
  open(id: string, wrapped: string | null): Promise<Uint8Array | null>
  /**
   * A key that is none of `known`: a new one, or one that an operator has put there. Its id is never used again for
   * another key. `wrapped` is kept with the store, and must be of no use to who has only that.
   *
   * @throws AuthkeepError `keychain_unavailable` where it cannot be asked
   */
  create(known: ReadonlySet<string>): Promise<NewKey>
  /** Takes back what `create` has made, when another process was first. Rejects as `create`. */
  discard?(id: string): Promise<void>
}

/** A key to seal with from now on. */
export interface NewKey {
  readonly id: string
  readonly key: Uint8Array
  readonly wrapped?: string
  /** Where it differs from the provider's own. */
  readonly source?: string
}

/** What the store remembers of its keys, under `:sealing`. */
interface Sealing {
  /** Null: nothing is to be sealed any more. */
  readonly current: string | null
  /** The ids of all keys that something may be sealed with; what is wrapped is here, too. */
  readonly keys: Readonly<Record<string, KeyEntry>>
}

interface KeyEntry {
  readonly wrapped?: string
  readonly source?: string
}

const sealingName = ':sealing'

/**
 * Where the keys of a store are, by the `source` of their providers, the current one's first; empty for a store that is
 * not sealed. With `former`, also those of a store that no longer is.
 */
export async function keySources(
  backend: StoreBackend,
  options: { former?: boolean } = {},
): Promise<readonly string[]> {
  const { current = null, keys = {} } = sealingIn(await backend.read(sealingName)) ?? {}
  if (current === null && options.former !== true) return []
  const { [current ?? '']: first, ...others } = keys
  const sources = [first, ...Object.values(others)]
    .map((entry) => entry?.source)
    .filter((source) => source !== undefined)
  return [...new Set(sources)]
}

/** Older states of the same entries, where a backend keeps some. */
interface OlderStates {
  rewriteOlder(change: (key: string, value: JsonObject) => Promise<JsonObject>): Promise<void>
}

/** What everything is sealed with now. */
export interface KeyReport {
  readonly keyId: string
  /** How many entries were sealed anew; those that were sealed with this key already stay as they are. */
  readonly entries: number
}

/**
 * A backend whose secrets are sealed. Every method rejects with `key_missing`, `keychain_unavailable`, `store_corrupt`,
 * and with what the backend under it rejects with.
 */
export interface Sealed {
  /** Seals with the current key whatever is in the clear, or sealed with another one; older states, too. */
  sealAll(): Promise<KeyReport>
  /** Makes a new key the current one, and seals everything with it. The old keys stay; see `forgetKeys`. */
  rotateKey(): Promise<KeyReport>
  /** Drops the ids of keys that nothing is sealed with any more, and returns them: they may go from the provider, too. */
  forgetKeys(): Promise<readonly string[]>
  /**
   * Puts every entry back in the clear, and returns how many. Who has the store open by `sealed` seals with its next
   * change again.
   */
  unsealAll(): Promise<number>
}

/**
 * The same backend, with the secrets of every entry sealed: one compact JWE (RFC 7516; `dir`, A256GCM) in the place of
 * all of them, whose protected header names the entry, the commit and the key. What is not secret stays readable. An
 * entry in the clear can still be read, and is sealed by its next change.
 *
 * @throws AuthkeepError from every method also `key_missing`, where the key of an entry is not to be had: never a new key
 *   instead, and nothing in the clear; `store_corrupt` for a sealed part that was altered, or belongs elsewhere;
 *   `keychain_unavailable`
 */
export function sealed<B extends StoreBackend>(backend: B, keys: KeyProvider): B & Sealed {
  const sealer = new Sealer(backend, keys)
  const own: Readonly<Record<string | symbol, unknown>> = {
    read: (key: string) => sealer.read(key),
    commit: (changes: readonly Change[]) => sealer.commit(changes),
    keys: async () => (await backend.keys()).filter((key) => key !== sealingName),
    close: () => sealer.close(),
    ...('readCopy' in backend ? { readCopy: (key: string) => sealer.copy(key) } : {}),
    sealAll: () => sealer.sealAll(),
    rotateKey: () => sealer.rotateKey(),
    forgetKeys: () => sealer.forgetKeys(),
    unsealAll: () => sealer.unsealAll(),
  }
  // Whatever else the backend can do, it does itself.
  return new Proxy(backend, {
    has: (target, name) => Object.hasOwn(own, name) || name in target,
    get: (target, name) => {
      if (Object.hasOwn(own, name)) return own[name]
      const member: unknown = Reflect.get(target, name, target)
      return typeof member === 'function' ? (member as () => unknown).bind(target) : member
    },
  }) as B & Sealed
}

class Sealer {
  readonly #backend: StoreBackend
  readonly #provider: KeyProvider
  readonly #keys = new Map<string, Uint8Array>()
  /** Opened once for each revision. */
  readonly #opened = new Map<string, Versioned>()
  readonly #working = new Set<Promise<unknown>>()
  #isClosed = false

  constructor(backend: StoreBackend, provider: KeyProvider) {
    this.#backend = backend
    this.#provider = provider
  }

  async read(key: string): Promise<Versioned | null> {
    const found = await this.#backend.read(key)
    if (found === null || !isSealed(found.value)) return found
    const known = this.#opened.get(key)
    if (known?.revision === found.revision) return { ...known, value: structuredClone(known.value) }
    const opened = { value: await this.#open(key, found.value), revision: found.revision }
    this.#opened.set(key, opened)
    return { ...opened, value: structuredClone(opened.value) }
  }

  async copy(key: string): Promise<JsonObject | null> {
    const backend = this.#backend as StoreBackend & { readCopy(key: string): Promise<JsonObject | null> }
    const value = await backend.readCopy(key)
    return value === null || !isSealed(value) ? value : this.#open(key, value)
  }

  async commit(changes: readonly Change[]): Promise<CommitResult> {
    if (this.#isClosed) throw new TypeError('the store is closed')
    const work = this.#commit(changes)
    this.#working.add(work)
    return work.finally(() => this.#working.delete(work))
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.allSettled(this.#working)
    await this.#backend.close()
  }

  async #commit(changes: readonly Change[]): Promise<CommitResult> {
    const own = await Promise.all(
      changes.map(async (change) => ({ ...change, next: change.next && (await this.#seal(change.key, change.next)) })),
    )
    const result = await this.#backend.commit(own)
    if (result.ok || result.current === null || !isSealed(result.current.value)) return result
    const { value, revision } = result.current
    return { ...result, current: { value: await this.#open(result.key, value), revision } }
  }

  // --- all of them -----------------------------------------------------------------------------------------------

  async sealAll(): Promise<KeyReport> {
    const { id } = await this.#current()
    let entries = 0
    for (const key of await this.#names()) if (await this.#sealAnew(key, id)) entries++
    await this.#rewriteOlder(async (key, value) =>
      isSealed(value) && headerOf(value.sealed).kid === id
        ? value
        : this.#seal(key, isSealed(value) ? await this.#open(key, value) : value),
    )
    return { keyId: id, entries }
  }

  async rotateKey(): Promise<KeyReport> {
    for (;;) {
      const found = await this.#backend.read(sealingName)
      const before = sealingIn(found)
      const made = await this.#make(new Set(Object.keys(before?.keys ?? {})))
      const keys = { ...before?.keys, [made.id]: made.entry }
      if (await this.#remember({ current: made.id, keys }, found)) break
      await this.#takeBack(made.id)
    }
    // Whoever read the old current key before may write with it until here: it is not dropped.
    return this.sealAll()
  }

  async forgetKeys(): Promise<readonly string[]> {
    const used = new Set<string>()
    const note = (value: JsonObject): void => {
      if (isSealed(value)) used.add(headerOf(value.sealed).kid)
    }
    for (const key of await this.#names()) note((await this.#backend.read(key))?.value ?? {})
    await this.#rewriteOlder(async (_, value) => {
      note(value)
      return value
    })
    const found = await this.#backend.read(sealingName)
    const before = sealingIn(found)
    if (before === null) return []
    const forgotten = Object.keys(before.keys).filter((id) => id !== before.current && !used.has(id))
    const keys = Object.fromEntries(Object.entries(before.keys).filter(([id]) => !forgotten.includes(id)))
    return (await this.#remember({ ...before, keys }, found)) ? forgotten : []
  }

  async unsealAll(): Promise<number> {
    const unseal = async (): Promise<number> => {
      let entries = 0
      for (const key of await this.#names()) if (await this.#unseal(key)) entries++
      return entries
    }
    const entries = await unseal()
    for (;;) {
      const found = await this.#backend.read(sealingName)
      const before = sealingIn(found)
      // The keys stay known: somebody may be writing with one right now.
      if (before === null || (await this.#remember({ ...before, current: null }, found))) break
    }
    await this.#rewriteOlder(async (key, value) => (isSealed(value) ? this.#open(key, value) : value))
    return entries + (await unseal())
  }

  /** Whether there was anything to do. */
  async #sealAnew(key: string, id: string): Promise<boolean> {
    for (;;) {
      const found = await this.#backend.read(key)
      if (found === null || (isSealed(found.value) && headerOf(found.value.sealed).kid === id)) return false
      const value = isSealed(found.value) ? await this.#open(key, found.value) : found.value
      const next = await this.#seal(key, value)
      if (!isSealed(next)) return false
      if ((await this.#backend.commit([{ key, next, expected: found.revision }])).ok) return true
    }
  }

  async #unseal(key: string): Promise<boolean> {
    for (;;) {
      const found = await this.#backend.read(key)
      if (found === null || !isSealed(found.value)) return false
      const next = await this.#open(key, found.value)
      if ((await this.#backend.commit([{ key, next, expected: found.revision }])).ok) return true
    }
  }

  async #names(): Promise<readonly string[]> {
    return (await this.#backend.keys()).filter((key) => !key.startsWith(':'))
  }

  async #rewriteOlder(change: (key: string, value: JsonObject) => Promise<JsonObject>): Promise<void> {
    if ('rewriteOlder' in this.#backend) await (this.#backend as StoreBackend & OlderStates).rewriteOlder(change)
  }

  // --- one entry -------------------------------------------------------------------------------------------------

  async #seal(name: string, value: JsonObject): Promise<JsonObject> {
    if (name.startsWith(':')) return value
    const { open, secrets } = split(value)
    if (Object.keys(secrets).length === 0) return value
    const [{ CompactEncrypt }, { id, key }] = await Promise.all([import('jose'), this.#current()])
    const { nonce = null } = open
    const sealedPart = await new CompactEncrypt(new TextEncoder().encode(JSON.stringify(secrets)))
      .setProtectedHeader({ alg: 'dir', enc: 'A256GCM', kid: id, rec: name, nonce })
      .encrypt(key)
    return { ...open, sealed: sealedPart }
  }

  async #open(name: string, { sealed: sealedPart, ...open }: JsonObject & { sealed: string }): Promise<JsonObject> {
    const { kid } = headerOf(sealedPart)
    const [{ compactDecrypt }, key] = await Promise.all([import('jose'), this.#key(kid)])
    const corrupt = (): AuthkeepError =>
      new AuthkeepError('store_corrupt', {
        path: 'the store',
        key: name,
        what: 'its sealed part is not the one of this entry',
      })
    const { plaintext, protectedHeader } = await compactDecrypt(sealedPart, key).catch(() => {
      throw corrupt()
    })
    // Authentic, and of another entry, or of an earlier commit of this one.
    if (protectedHeader['rec'] !== name || protectedHeader['nonce'] !== (open['nonce'] ?? null)) throw corrupt()
    const value = join(open, JSON.parse(new TextDecoder().decode(plaintext)) as Secrets)
    if (value === null) throw corrupt()
    return value
  }

  // --- keys ------------------------------------------------------------------------------------------------------

  /** The key to seal with; a store that has none yet gets one, and only one, however many processes begin at once. */
  async #current(): Promise<{ readonly id: string; readonly key: Uint8Array }> {
    for (;;) {
      const found = await this.#backend.read(sealingName)
      const sealing = sealingIn(found)
      if (sealing !== null && sealing.current !== null) {
        return { id: sealing.current, key: await this.#key(sealing.current) }
      }
      // A key from before everything was put in the clear will do.
      const made = await this.#make(new Set())
      const keys = { ...sealing?.keys, [made.id]: made.entry }
      if (!(await this.#remember({ current: made.id, keys }, found))) await this.#takeBack(made.id)
    }
  }

  async #make(known: ReadonlySet<string>): Promise<{ readonly id: string; readonly entry: KeyEntry }> {
    const { source = this.#provider.source, ...made } = await this.#provider.create(known)
    const { id, key, wrapped } = made
    // A key that cannot be had back is no key: nothing has been sealed with it yet.
    const again = await this.#provider.open(id, wrapped ?? null)
    if (again === null || !Buffer.from(again).equals(key)) throw this.#missing(id)
    this.#keys.set(id, key)
    return { id, entry: { ...(wrapped === undefined ? {} : { wrapped }), ...(source === undefined ? {} : { source }) } }
  }

  async #takeBack(id: string): Promise<void> {
    this.#keys.delete(id)
    // Others may have taken the same one: who keeps keys that an operator has put there has nothing to take back.
    await this.#provider.discard?.(id)
  }

  async #remember(next: Sealing, found: Versioned | null): Promise<boolean> {
    const change = { key: sealingName, next: next as unknown as JsonObject, expected: found?.revision ?? null }
    return (await this.#backend.commit([change])).ok
  }

  async #key(id: string): Promise<Uint8Array> {
    const known = this.#keys.get(id)
    if (known !== undefined) return known
    const wrapped = sealingIn(await this.#backend.read(sealingName))?.keys[id]?.wrapped ?? null
    const key = await this.#provider.open(id, wrapped)
    if (key === null) throw this.#missing(id)
    this.#keys.set(id, key)
    return key
  }

  #missing(keyId: string): AuthkeepError {
    return new AuthkeepError('key_missing', { keyId, keyProvider: this.#provider.name })
  }
}

function sealingIn(found: Versioned | null): Sealing | null {
  return found === null ? null : (found.value as unknown as Sealing)
}

/** Whether the secrets of an entry are sealed. */
export function isSealed(value: JsonObject): value is JsonObject & { sealed: string } {
  return typeof value['sealed'] === 'string'
}

/** What the protected header says before anything is verified: which key to try. */
export function headerOf(sealedPart: string): { readonly kid: string } {
  try {
    const header: unknown = JSON.parse(Buffer.from(sealedPart.split('.')[0] ?? '', 'base64url').toString())
    const kid = (header as { kid?: unknown } | null)?.kid
    return { kid: typeof kid === 'string' ? kid : 'unknown' }
  } catch {
    return { kid: 'unknown' }
  }
}
