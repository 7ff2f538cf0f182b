import type { JsonObject } from '../credential.ts'
import { AuthkeepError } from '../errors.ts'
import type { Change, CommitResult, StoreBackend, Versioned } from './backend.ts'
import { join, type Secrets, split } from './sealing-members.ts'

/** Where the keys are that secrets are sealed with. */
export interface KeyProvider {
  /** For people: what to bring a key back to. */
  readonly name: string
  /**
   * The 32 bytes of a key, or null where it does not have it. `wrapped` is what `create` has left with the store.
   *
   * @throws AuthkeepError `keychain_unavailable` where it cannot be asked
   */
  open(id: string, wrapped: string | null): Promise<Uint8Array | null>
  /**
   * A key that is none of `known`: a new one, or one that an operator has put there. Its id is never used again for
   * another key. `wrapped` is kept with the store, and must be of no use to who has only that.
   */
  create(
    known: ReadonlySet<string>,
  ): Promise<{ readonly id: string; readonly key: Uint8Array; readonly wrapped?: string }>
  /** Takes back what `create` has made, when another process was first. */
  discard?(id: string): Promise<void>
}

/** What the store remembers of its keys, under `:sealing`. */
interface Sealing {
  readonly current: string
  /** The ids of all keys that something may be sealed with; what is wrapped is here, too. */
  readonly keys: Readonly<Record<string, { readonly wrapped?: string }>>
}

const sealingName = ':sealing'

/** A backend whose secrets are sealed. */
export interface Sealed {
  /** Makes a new key the current one, and seals everything with it. The old keys stay; see `forgetKeys`. */
  rotateKey(): Promise<void>
  /** Drops the ids of keys that nothing is sealed with any more, and returns them: they may go from the provider, too. */
  forgetKeys(): Promise<readonly string[]>
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
    rotateKey: () => sealer.rotateKey(),
    forgetKeys: () => sealer.forgetKeys(),
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

  async rotateKey(): Promise<void> {
    for (;;) {
      const found = await this.#backend.read(sealingName)
      const before = sealingIn(found)
      const made = await this.#make(new Set(Object.keys(before?.keys ?? {})))
      const keys = { ...before?.keys, [made.id]: made.entry }
      if (await this.#remember({ current: made.id, keys }, found)) break
      await this.#provider.discard?.(made.id)
    }
    // Whoever read the old current key before may write with it until here: it is not dropped.
    for (const key of await this.#backend.keys()) if (!key.startsWith(':')) await this.#sealAnew(key)
  }

  async forgetKeys(): Promise<readonly string[]> {
    const used = new Set<string>()
    for (const key of await this.#backend.keys()) {
      const found = key.startsWith(':') ? null : await this.#backend.read(key)
      if (found !== null && isSealed(found.value)) used.add(headerOf(found.value.sealed).kid)
    }
    const found = await this.#backend.read(sealingName)
    const before = sealingIn(found)
    if (before === null) return []
    const forgotten = Object.keys(before.keys).filter((id) => id !== before.current && !used.has(id))
    const keys = Object.fromEntries(Object.entries(before.keys).filter(([id]) => !forgotten.includes(id)))
    return (await this.#remember({ ...before, keys }, found)) ? forgotten : []
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

  async #sealAnew(key: string): Promise<void> {
    for (;;) {
      const found = await this.read(key)
      if (found === null) return
      if ((await this.commit([{ key, next: found.value, expected: found.revision }])).ok) return
    }
  }

  // --- keys ------------------------------------------------------------------------------------------------------

  /** The key to seal with; a store that has none yet gets one, and only one, however many processes begin at once. */
  async #current(): Promise<{ readonly id: string; readonly key: Uint8Array }> {
    for (;;) {
      const found = await this.#backend.read(sealingName)
      const sealing = sealingIn(found)
      if (sealing !== null) return { id: sealing.current, key: await this.#key(sealing.current) }
      const made = await this.#make(new Set())
      if (await this.#remember({ current: made.id, keys: { [made.id]: made.entry } }, found)) continue
      this.#keys.delete(made.id)
      await this.#provider.discard?.(made.id)
    }
  }

  async #make(
    known: ReadonlySet<string>,
  ): Promise<{ readonly id: string; readonly entry: { readonly wrapped?: string } }> {
    const { id, key, wrapped } = await this.#provider.create(known)
    this.#keys.set(id, key)
    return { id, entry: wrapped === undefined ? {} : { wrapped } }
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
    if (key === null) throw new AuthkeepError('key_missing', { keyId: id, keyProvider: this.#provider.name })
    this.#keys.set(id, key)
    return key
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
