import { abortable } from '../abort.ts'
import {
  type Credential,
  type CredentialKey,
  type JsonObject,
  keyName,
  parseKeyName,
  type Refreshed,
  type StoredToken,
  stateOf,
} from '../credential.ts'
import { AuthkeepError, isAuthkeepError } from '../errors.ts'
import type { Format } from '../formats/format.ts'
import { defaultStorePath } from '../home.ts'
import { isDeepStrictEqual, randomUUID } from '../on-demand.ts'
import { type Change, isSameState, type StoreBackend, type Versioned, type VersionedBackend } from './backend.ts'
import { decodeEntry, EntryError, encodeEntry } from './entry.ts'
import { type Backup, type StoreEvent, type StoreReport, tell } from './events.ts'
import { type FileBackend, fileBackend } from './file.ts'
import { headerOf, isSealed } from './sealed.ts'
import { type Spent, spentInState, spentName, withSpent, withSpentInState } from './spent.ts'

/** What may be shown of a credential. Never a secret. */
export interface CredentialInfo extends CredentialKey {
  readonly type: Credential['type'] | 'unreadable'
  readonly scopes?: readonly string[]
  readonly resources?: readonly string[]
  /** Of the access token that lives longest, Unix milliseconds; null where nothing says. */
  readonly expiresAt?: number | null
  readonly refreshable?: boolean
  readonly state?: 'live' | 'in_doubt' | 'dead'
  /** Which refresh token of this entry it is, counted from 1. */
  readonly generation?: number
  /** Who refreshed last, and when. */
  readonly refreshed?: Refreshed
  readonly issuer?: string
  readonly subject?: string | null
  /** Why an unreadable entry cannot be read. */
  readonly problem?: string
}

/** Where the store is. Without anything: the file of `defaultStorePath()`. */
export interface OpenStoreOptions {
  /** The credential file; default `auth.json` in `AUTHKEEP_HOME`, `$XDG_CONFIG_HOME/authkeep` or `~/.config/authkeep`. */
  readonly path?: string
  /** Somewhere else than a file. */
  readonly backend?: StoreBackend
  /** How the file spells credentials; default authkeep's own format. */
  readonly format?: Format
  /** How many older states to keep beside the file, at most one an hour; default 3. For files only. */
  readonly backups?: number
}

/**
 * Opens the store of credentials. Reads nothing yet: a file that is missing is an empty store, and one that is damaged
 * shows at the first use.
 *
 * @throws TypeError for a backend together with what is for files
 */
export async function openStore(options: OpenStoreOptions = {}): Promise<CredentialStore> {
  const { backend, path, format, backups } = options
  if (backend !== undefined) {
    if (path !== undefined || format !== undefined || backups !== undefined) {
      throw new TypeError('pass a backend, or a path with format and backups')
    }
    return new CredentialStore(backend)
  }
  return new CredentialStore(
    fileBackend({
      path: path ?? defaultStorePath(),
      ...(format === undefined ? {} : { format }),
      ...(backups === undefined ? {} : { backups }),
    }),
  )
}

/** Every entry, and by provider, as of one version of the store. */
interface Listing {
  readonly version: unknown
  readonly all: readonly CredentialInfo[]
  readonly byProvider: ReadonlyMap<string, readonly CredentialInfo[]>
}

/** What was made of an entry, and as of which version of the store, where the backend can tell. */
interface Decoded {
  readonly entry: Versioned
  readonly credential: Credential
  version?: unknown
}

/** How often `update` starts again before it gives up; each time somebody else has made progress. */
const maxAttempts = 1_000

/**
 * Credentials, one per provider and account, changed by compare-and-swap only. Knows no OAuth verbs; most users hand
 * it to a `TokenBroker`.
 *
 * Every method rejects with `store_corrupt`, `store_failed` or `store_busy` when the place it keeps them in cannot
 * be read or written; an error never deletes or empties anything.
 */
export class CredentialStore {
  readonly #backend: StoreBackend
  readonly #listeners = new Set<(event: StoreEvent) => void>()
  /** What a credential was read from, for those who ask later whether it is still the one. */
  readonly #sources = new WeakMap<Credential, Versioned>()
  /** Decoded once per revision: readers of an unchanged entry share one frozen-in-practice object. */
  readonly #decoded = new Map<string, Decoded>()

  #spent: Spent = new Map()

  #listed: Listing | undefined

  constructor(backend: StoreBackend) {
    this.#backend = backend
  }

  /** Where the credentials are, for messages. */
  get location(): string {
    if (isFileBackend(this.#backend)) return this.#backend.path
    return (this.#backend as { readonly location?: string }).location ?? 'the store'
  }

  /** Whether a commit excludes every other committer; see `StoreBackend`. */
  get exclusion(): 'cas' | 'none' {
    return this.#backend.exclusion
  }

  /** The program whose file this is and that refreshes its logins under a lock of its own; undefined for ours. */
  get refreshOwner(): string | undefined {
    return isFileBackend(this.#backend) ? this.#backend.refreshOwner : undefined
  }

  /** Keeps that program out until `run` has ended; `isHeld` says whether it still does. Elsewhere it only runs. */
  async withoutOwner<T>(run: (isHeld: () => boolean) => Promise<T>): Promise<T> {
    if (this.refreshOwner === undefined || !isFileBackend(this.#backend)) return run(() => true)
    return this.#backend.whileLocked(run)
  }

  /** The credential, or null when there is none. An entry that is there and cannot be read rejects with `store_corrupt`. */
  async read(key: CredentialKey): Promise<Credential | null> {
    const name = keyName(key)
    if (!isVersioned(this.#backend)) return this.#decode(name, await this.#backend.read(name))
    // Asked for first: what is then read may be newer than the version it is kept with, and will be read again.
    const version = await this.#backend.version()
    const known = this.#decoded.get(name)
    if (known !== undefined && known.version === version) return known.credential
    const credential = this.#decode(name, await this.#backend.read(name))
    const decoded = this.#decoded.get(name)
    if (decoded !== undefined) decoded.version = version
    return credential
  }

  /**
   * Every entry without its secrets, or those of one provider. One that cannot be read is listed as such and hides no
   * other.
   */
  async list(options: { readonly provider?: string } = {}): Promise<readonly CredentialInfo[]> {
    const listing = await this.#listing()
    return options.provider === undefined ? listing.all : (listing.byProvider.get(options.provider) ?? [])
  }

  /** Made anew when something has changed, or when the backend cannot tell. */
  async #listing(): Promise<Listing> {
    const version = isVersioned(this.#backend) ? await this.#backend.version() : undefined
    if (version !== undefined && this.#listed?.version === version) return this.#listed
    const names = (await this.#backend.keys()).filter((name) => !name.startsWith(':'))
    const infos = await Promise.all(names.map((name) => this.#info(name)))
    const all = Object.freeze(infos.filter((info) => info !== null))
    const byProvider = new Map<string, CredentialInfo[]>()
    for (const info of all) {
      const same = byProvider.get(info.provider)
      if (same === undefined) byProvider.set(info.provider, [info])
      else same.push(info)
    }
    const listing = { version, all, byProvider }
    // Entries that were read while somebody wrote may be of two states.
    const isOne = isVersioned(this.#backend) && (await this.#backend.version()) === version
    this.#listed = isOne ? listing : undefined
    return listing
  }

  /**
   * Read → fn → commit, again from the start if somebody else committed first. `fn` is pure and may run several times;
   * it returns the next value, null to delete, undefined to leave. Resolves with what is stored now.
   */
  async update(
    key: CredentialKey,
    fn: (current: Credential | null) => Credential | null | undefined,
  ): Promise<Credential | null> {
    const name = keyName(key)
    const result = await this.#transact([key], (current) => {
      const next = fn(current.get(name) ?? null)
      return new Map(next === undefined ? [] : [[name, next]])
    })
    return result.get(name) ?? null
  }

  /**
   * Several credentials in one commit: all or none. `fn` gets the entries of `keys` by `provider:account` and returns
   * changes only, under the same names.
   */
  async updateAll(
    keys: readonly CredentialKey[],
    fn: (current: ReadonlyMap<string, Credential | null>) => ReadonlyMap<string, Credential | null>,
  ): Promise<void> {
    await this.#transact(keys, fn)
  }

  /** What is remembered under a reserved name, one that begins with a colon; null when nothing is. Never a credential. */
  async readState(name: string): Promise<JsonObject | null> {
    assertReserved(name)
    return (await this.#backend.read(name))?.value ?? null
  }

  /** As `update`, for what is remembered under a reserved name. Nothing secret belongs there. */
  async updateState(
    name: string,
    fn: (current: JsonObject | null) => JsonObject | null | undefined,
  ): Promise<JsonObject | null> {
    assertReserved(name)
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const found = await this.#backend.read(name)
      const next = fn(found?.value ?? null)
      if (next === undefined) return found?.value ?? null
      const value = next === null ? null : { ...next, nonce: randomUUID() }
      if (await this.#commit([{ key: name, next: value, expected: found?.revision ?? null }])) {
        this.#announce({ type: 'changed', keys: [name] })
        return value
      }
    }
    throw new AuthkeepError('store_busy', { path: this.location })
  }

  /** Resolves when the entry is no longer the one seen, or after `timeoutMs`; rejects with the signal's reason. */
  async waitForChange(
    key: CredentialKey,
    seen: Credential | null,
    options: { readonly timeoutMs: number; readonly signal?: AbortSignal },
  ): Promise<void> {
    options.signal?.throwIfAborted()
    const name = keyName(key)
    const since = seen === null ? null : (this.#sources.get(seen)?.revision ?? (await this.#revisionIfSame(name, seen)))
    if (since === undefined) return
    const change = this.#backend.waitForChange(name, since, options.timeoutMs)
    await (options.signal === undefined ? change : abortable(change, options.signal))
  }

  /** How the store is. Changes nothing. */
  async verify(): Promise<StoreReport> {
    if (isFileBackend(this.#backend)) return this.#backend.verify()
    const infos = await this.list()
    const unreadable = infos
      .filter(({ type }) => type === 'unreadable')
      .map((info) => `${info.provider}:${info.account}`)
    return { path: this.location, state: 'valid', entries: infos.length, unreadable, copy: 'absent' }
  }

  /** Brings a damaged file back from its copy; with `startEmpty`, also where nothing is left to bring back. */
  async recover(options: { readonly startEmpty?: boolean } = {}): Promise<StoreReport> {
    if (isFileBackend(this.#backend)) return this.#backend.recover(options)
    return this.verify()
  }

  /** Older states that can be gone back to, newest first. None where the backend keeps none. */
  async backups(): Promise<readonly Backup[]> {
    return isFileBackend(this.#backend) ? this.#backend.backups() : []
  }

  /**
   * Brings the entries of an older state back. An OAuth login that is there now and has been refreshed since stays; one
   * that comes back is marked as perhaps spent. Rejects with a TypeError for an id that `backups` does not list.
   */
  async restore(id: string): Promise<StoreReport> {
    if (isFileBackend(this.#backend)) return this.#backend.restore(id)
    throw new TypeError('this backend keeps no older states')
  }

  /**
   * When a secret of this entry was noted as spent, by its fingerprint, Unix milliseconds; null if it was not. A file
   * keeps this outside the document (`auth.json.spent`), so that writing an old document back does not undo it; other
   * backends under a reserved key, which helps where single entries are brought back. What this process has noted it
   * knows in any case.
   */
  async spentAt(key: CredentialKey, fingerprint: string): Promise<number | null> {
    const own = this.#spent.get(fingerprint)
    if (own !== undefined) return own
    const spent = isFileBackend(this.#backend)
      ? await this.#backend.spent()
      : spentInState(await this.readState(spentName(keyName(key))))
    return spent.get(fingerprint) ?? null
  }

  /** Notes that a secret of this entry must never be used again. */
  async noteSpent(key: CredentialKey, fingerprint: string, at: number): Promise<void> {
    this.#spent = withSpent(this.#spent, fingerprint, at)
    if (isFileBackend(this.#backend)) await this.#backend.noteSpent(fingerprint, at)
    else await this.updateState(spentName(keyName(key)), (state) => withSpentInState(state, fingerprint, at))
  }

  /** The entry as the last commit left it, where a second copy says so; null where there is none. */
  async readCopy(key: CredentialKey): Promise<Credential | null> {
    if (!isFileBackend(this.#backend)) return null
    const value = await this.#backend.readCopy(keyName(key))
    try {
      return value === null ? null : decodeEntry(value, key)
    } catch (error) {
      if (error instanceof EntryError) return null
      throw error
    }
  }

  /** Hears of commits of this store object and of recoveries. A listener that throws breaks only itself. */
  watch(listener: (event: StoreEvent) => void): Disposable {
    this.#listeners.add(listener)
    const backend = isFileBackend(this.#backend) ? this.#backend.onEvent(listener) : undefined
    return {
      [Symbol.dispose]: () => {
        this.#listeners.delete(listener)
        backend?.[Symbol.dispose]()
      },
    }
  }

  /** Waits for commits under way; afterwards every method rejects. */
  async close(): Promise<void> {
    await this.#backend.close()
  }

  // --- the one way to change anything ----------------------------------------------------------------------------

  async #transact(
    keys: readonly CredentialKey[],
    fn: (current: ReadonlyMap<string, Credential | null>) => ReadonlyMap<string, Credential | null>,
  ): Promise<ReadonlyMap<string, Credential | null>> {
    const names = keys.map(keyName)
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const found = new Map(
        await Promise.all(names.map(async (name) => [name, await this.#backend.read(name)] as const)),
      )
      const current = new Map([...found].map(([name, entry]) => [name, this.#decode(name, entry)]))
      const next = fn(current)
      if (next.size === 0) return current
      await this.#refuseSharedRefreshToken(current, next)
      const changes = [...next].map(([name, credential]) => this.#change(name, credential, found))
      if (await this.#commit(changes)) {
        this.#announce({ type: 'changed', keys: [...next.keys()] })
        return new Map([...current, ...next])
      }
    }
    throw new AuthkeepError('store_busy', { path: this.location })
  }

  #change(name: string, next: Credential | null, found: ReadonlyMap<string, Versioned | null>): Change {
    const before = found.get(name)
    if (before === undefined) throw new TypeError(`${name} is not among the keys of this update`)
    const expected = before?.revision ?? null
    if (next === null) return { key: name, next: null, expected }
    if (keyName(next) !== name) throw new TypeError(`a credential of ${keyName(next)} does not belong under ${name}`)
    const value = { ...encodeEntry(next, before?.value ?? null), nonce: randomUUID() }
    // What is written must be readable: a mistake of the caller shows here, and nothing has changed.
    decodeEntry(value, parseKeyName(name))
    return { key: name, next: value, expected }
  }

  /**
   * True: stored, durably. False: start again. What became of a write whose answer was lost is found out by making it
   * once more.
   */
  async #commit(changes: readonly Change[]): Promise<boolean> {
    try {
      return (await this.#backend.commit(changes)).ok
    } catch (error) {
      if (!isAuthkeepError(error, 'write_indeterminate')) throw error
      try {
        return await this.#settle(changes)
      } catch {
        // Whatever keeps us from looking, what became of the first one is not known.
        throw error
      }
    }
  }

  /**
   * The same write, on the same revision: if it is accepted, the first one has not arrived, and cannot any more. If it
   * is refused, our nonce says whether that was because of the first one; then a third vouches for its durability.
   */
  async #settle(changes: readonly Change[]): Promise<boolean> {
    if ((await this.#backend.commit(changes)).ok) return true
    const again = await Promise.all(changes.map((change) => this.#ifOurs(change)))
    const ours = again.filter((change) => change !== null)
    if (ours.length < changes.length) return false
    return (await this.#backend.commit(ours)).ok
  }

  async #ifOurs(change: Change): Promise<Change | null> {
    const now = await this.#backend.read(change.key)
    if (now === null) return change.next === null ? { ...change, expected: null } : null
    const isOurs = change.next !== null && now.value['nonce'] === change.next['nonce']
    return isOurs ? { ...change, expected: now.revision } : null
  }

  /** Two entries with one refresh token would log each other out: the first refresh spends it for both. */
  async #refuseSharedRefreshToken(
    current: ReadonlyMap<string, Credential | null>,
    next: ReadonlyMap<string, Credential | null>,
  ): Promise<void> {
    const seen = new Map<string, string>()
    for (const [name, credential] of next) {
      const token = refreshTokenOf(credential)
      if (token === null) continue
      const twin = seen.get(token)
      if (twin !== undefined) throw sharedToken(name, twin)
      seen.set(token, name)
      // An entry that has had a refresh token before gets its next one from its own server.
      if (refreshTokenOf(current.get(name) ?? null) !== null) continue
      for (const other of await this.list()) {
        const otherName = `${other.provider}:${other.account}`
        // One that this very commit removes or changes is on its way, an account that is renamed for instance.
        if (other.refreshable !== true || next.has(otherName)) continue
        if (refreshTokenOf(await this.read(other)) === token) throw sharedToken(name, otherName)
      }
    }
  }

  // --- reading ---------------------------------------------------------------------------------------------------

  #decode(name: string, entry: Versioned | null): Credential | null {
    if (entry === null) {
      this.#decoded.delete(name)
      return null
    }
    const known = this.#decoded.get(name)
    if (known !== undefined && isSameState(known.entry, entry)) return known.credential
    // Without its secrets it would look like a login that has none.
    if (isSealed(entry.value)) {
      const keyProvider = 'what the store was opened with'
      throw new AuthkeepError('key_missing', { keyId: headerOf(entry.value.sealed).kid, keyProvider })
    }
    try {
      const credential = decodeEntry(entry.value, parseKeyName(name))
      this.#decoded.set(name, { entry, credential })
      this.#sources.set(credential, entry)
      return credential
    } catch (error) {
      if (!(error instanceof EntryError)) throw error
      throw new AuthkeepError('store_corrupt', { path: this.location, key: name, what: error.message })
    }
  }

  async #info(name: string): Promise<CredentialInfo | null> {
    const key = parseKeyName(name)
    if (key.provider === '' || key.account === '') {
      return { ...key, type: 'unreadable', problem: 'its key is not of the form provider:account' }
    }
    try {
      const credential = this.#decode(name, await this.#backend.read(name))
      return credential === null ? null : describeCredential(credential)
    } catch (error) {
      if (isAuthkeepError(error, 'key_missing')) return { ...key, type: 'unreadable', problem: error.message }
      if (!isAuthkeepError(error, 'store_corrupt') || error.detail.key === undefined) throw error
      return { ...key, type: 'unreadable', problem: error.detail.what }
    }
  }

  /** For a credential that was not read here but written, or built: is it what is stored now? */
  async #revisionIfSame(name: string, seen: Credential): Promise<string | undefined> {
    const entry = await this.#backend.read(name)
    const now = this.#decode(name, entry)
    const same = now !== null && isDeepStrictEqual(encodeEntry(now, null), encodeEntry(seen, null))
    return same ? entry?.revision : undefined
  }

  #announce(event: StoreEvent): void {
    for (const listener of this.#listeners) tell(listener, event)
  }
}

function assertReserved(name: string): void {
  if (!name.startsWith(':')) throw new TypeError('a reserved name begins with a colon')
}

/** A credential without its secrets. */
export function describeCredential(credential: Credential): CredentialInfo {
  const { provider, account, type } = credential
  switch (credential.type) {
    case 'api_key':
      return { provider, account, type }
    case 'token':
      return { provider, account, type, expiresAt: credential.expiresAt }
    case 'oauth': {
      const { grant, tokens, issuer, subject } = credential
      return {
        ...{ provider, account, type, subject },
        ...(issuer === '' ? {} : { issuer }),
        scopes: grant.scopes,
        resources: grant.resources,
        ...(tokens.length === 0 ? {} : { expiresAt: latestExpiry(tokens) }),
        refreshable: grant.refreshToken !== null,
        state: stateOf(grant),
        generation: grant.generation,
        ...(grant.refreshed === undefined ? {} : { refreshed: grant.refreshed }),
      }
    }
  }
}

function latestExpiry(tokens: readonly StoredToken[]): number | null {
  const times = tokens.map(({ expiresAt }) => expiresAt).filter((time) => time !== null)
  return times.length < tokens.length ? null : Math.max(...times)
}

function sharedToken(name: string, other: string): AuthkeepError {
  const { provider, account } = parseKeyName(name)
  return new AuthkeepError('account_ambiguous', { provider, accounts: [parseKeyName(other).account, account] })
}

function refreshTokenOf(credential: Credential | null): string | null {
  return credential?.type === 'oauth' ? (credential.grant.refreshToken?.reveal() ?? null) : null
}

function isVersioned(backend: StoreBackend): backend is VersionedBackend {
  return 'version' in backend
}

function isFileBackend(backend: StoreBackend): backend is FileBackend {
  return 'verify' in backend && 'onEvent' in backend
}
