import { abortable } from '../abort.ts'
import type { TokenBroker } from '../broker/broker.ts'
import { Turns } from '../broker/turns.ts'
import type { Credential, CredentialKey } from '../credential.ts'
import { AuthkeepError, isAuthkeepError } from '../errors.ts'
import { loginCommand } from '../login-command.ts'
import type { CredentialStore } from '../store/store.ts'
import { farMs, PiCallbacks, type PiChange } from './pi-callback.ts'
import { brokered, credentialOf, isKept, type PiCredential } from './pi-entry.ts'
import { plain } from './sdk.ts'

export type { PiChange } from './pi-callback.ts'
export type { PiApiKeyCredential, PiCredential, PiOAuthCredential } from './pi-entry.ts'

/** A provider of pi whose tokens the broker gives. */
export interface PiProvider {
  /** The id of the provider that the broker knows, which may be another than pi's. */
  readonly provider: string
  /** The endpoint that pi calls, which says what its tokens must be. Where pi sends them, pi decides. */
  readonly url: string
}

/** What `piCredentialStore` puts together: a store, and the broker on it. */
export interface PiCredentialStoreOptions {
  /** Where the logins are, also those that only pi can refresh. Stays open. */
  readonly store: CredentialStore
  /** On the same store. Stays open. */
  readonly broker: Pick<TokenBroker, 'explain' | 'getToken'>
  /** Which of pi's providers, by pi's ids, the broker serves. Logins of all others are kept as pi makes them. */
  readonly providers?: Readonly<Record<string, PiProvider>>
  /** Default `default`. */
  readonly account?: string
}

/** How one operation is called off. */
export interface PiOperationOptions {
  /** Stops the waiting; what has begun goes on and is stored. */
  signal?: AbortSignal
}

/**
 * The `CredentialStore` of `@earendil-works/pi-ai`, 0.80.8 and later. Every method rejects with `store_corrupt`,
 * `store_failed` or `store_busy` when the store cannot be read or written, and with the reason of a signal.
 */
export interface PiCredentialStore {
  /** What is stored, perhaps expired; never a refresh token. Sends nothing. */
  read(providerId: string, options?: PiOperationOptions): Promise<PiCredential | undefined>
  /** Every login that is stored, without secrets, as a provider id of pi and a type. Sends nothing. */
  list(options?: PiOperationOptions): Promise<readonly { providerId: string; type: PiCredential['type'] }[]>
  /**
   * Runs `change` where nobody else in any process does, and resolves with what is stored afterwards. Rejects with what
   * `change` rejects with, and for a login that the broker serves as `TokenBroker.getToken`.
   */
  modify(providerId: string, change: PiChange, options?: PiOperationOptions): Promise<PiCredential | undefined>
  /** Forgets a login, here only. */
  delete(providerId: string, options?: PiOperationOptions): Promise<void>
  /** Waits for what is under way, and for what has been sent to be saved. */
  close(): Promise<void>
}

/** Entries of logins that only pi can refresh: `pi.<its provider id>`. */
const prefix = 'pi.'
const ownName = (id: string): string => prefix + id.replaceAll('%', '%25').replaceAll(':', '%3A')
const idOf = (name: string): string => name.slice(prefix.length).replaceAll('%3A', ':').replaceAll('%25', '%')

/**
 * pi reads before every request and refreshes what has less than 5 min left. The broker looks after that, by its own
 * margins: some tokens never have 5 min.
 */
const leastShownMs = 600_000

/**
 * Keeps the credentials of pi: `createModels({ credentials: piCredentialStore({ store, broker, providers }) })`.
 *
 * For `providers` the broker gives the tokens; pi never sees their refresh tokens, and logs nobody in or out there but
 * by `delete`. Every other login is pi's own, kept as it is: pi refreshes it, under a lease in the entry, so that no two
 * processes spend one refresh token. What `modify` rejects with is in `cause` of pi's `ModelsError`.
 */
export function piCredentialStore(options: PiCredentialStoreOptions): PiCredentialStore {
  const { store, broker, providers = {}, account = 'default' } = options
  const callbacks = new PiCallbacks(store)
  const turns = new Turns()
  let count = 0

  const declared = (id: string): PiProvider | undefined => (Object.hasOwn(providers, id) ? providers[id] : undefined)
  const keyOf = (id: string): CredentialKey => ({
    provider: declared(id)?.provider ?? ownName(id),
    account,
  })
  const inTurn = async <T>(id: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> => {
    const turn = turns.take(keyOf(id), String(count++), async () => {
      signal?.throwIfAborted()
      return work()
    })
    return abortable(turn, signal)
  }
  const tokenFor = async ({ url }: PiProvider, entry: Credential, signal?: AbortSignal): Promise<PiCredential> => {
    const token = await broker.getToken(url, { account, ...(signal === undefined ? {} : { signal }) })
    if (entry.type !== 'oauth') return { type: 'api_key', key: plain(token) }
    const now = Date.now()
    return brokered(plain(token), Math.max(token.expiresAt ?? now + farMs, now + leastShownMs))
  }

  const modifyBrokered = async (
    key: CredentialKey,
    at: PiProvider,
    change: PiChange,
  ): Promise<PiCredential | undefined> => {
    const entry = await store.read(key)
    let current: PiCredential | undefined
    let failure: AuthkeepError | undefined
    try {
      if (entry !== null) current = await tokenFor(at, entry)
    } catch (error) {
      if (!isAuthkeepError(error)) throw error
      failure = error
    }
    // Whatever pi was after when it saw an older token, here it finds none to refresh.
    const shown = entry?.type === 'oauth' ? brokered(accessOf(current), Date.now() + farMs) : current
    const next = await change(shown)
    if (next !== undefined && !isKept(next)) {
      const command = loginCommand({ provider: key.provider, account })
      throw new AuthkeepError('not_supported', { feature: `A login by pi to ${key.provider} in place of ${command}` })
    }
    if (failure !== undefined) throw failure
    return current
  }

  return {
    async read(id, { signal } = {}) {
      signal?.throwIfAborted()
      const entry = await store.read(keyOf(id))
      if (entry === null) return undefined
      const at = declared(id)
      if (at === undefined) return credentialOf(entry, store.location)
      // Nothing is fetched to show what there is: pi comes back with `modify` for what has expired.
      const isThere = entry.type !== 'oauth' || (await broker.explain(at.url, { account })).verdict === 'use'
      return isThere ? tokenFor(at, entry, signal) : brokered('', 0)
    },

    async list({ signal } = {}) {
      signal?.throwIfAborted()
      const infos = (await store.list()).filter((info) => info.account === account)
      const own = infos.map(({ provider }) => provider).filter((provider) => provider.startsWith(prefix))
      const ids = new Set([...Object.keys(providers), ...own.map(idOf)])
      return [...ids].flatMap((providerId) => {
        const info = infos.find(({ provider }) => provider === keyOf(providerId).provider)
        if (info === undefined) return []
        return [{ providerId, type: info.type === 'api_key' || info.type === 'token' ? 'api_key' : 'oauth' }]
      })
    },

    async modify(id, change, { signal } = {}) {
      const at = declared(id)
      return inTurn(id, signal, async () =>
        at === undefined ? callbacks.modify(keyOf(id), change, signal) : modifyBrokered(keyOf(id), at, change),
      )
    },

    async delete(id, { signal } = {}) {
      await inTurn(id, signal, async () => store.update(keyOf(id), (entry) => (entry === null ? undefined : null)))
    },

    async close() {
      await turns.settled()
      await callbacks.close()
    },
  }
}

const accessOf = (credential: PiCredential | undefined): string =>
  credential?.type === 'oauth' ? credential.access : ''
