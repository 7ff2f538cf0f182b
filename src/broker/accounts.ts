import type { CredentialKey } from '../credential.ts'
import { isAuthkeepError } from '../errors.ts'
import type { CredentialStore } from '../store/store.ts'
import type { Entries } from './environment.ts'
import {
  type AccountOrder,
  type Accounts,
  accountsName,
  arrange,
  markOf,
  type Rest,
  readAccounts,
  restAfter,
  restOf,
  withLastGood,
  withOrder,
  withoutRest,
  withRest,
} from './order.ts'

/** What came of a request, as far as it is about the account. */
export interface Outcome {
  /** The code of a verdict. */
  readonly code: string
  readonly resetsAt?: number
  readonly retryAfterMs?: number
}

/**
 * Remembers, beside the credentials and for every process, which accounts stand in for each other, which one served last
 * and which are left alone. A memory that cannot be read or written stops nobody: it only says what to try first.
 */
export class AccountMemory {
  readonly #store: CredentialStore
  readonly #entries: Entries
  readonly #now: () => number
  readonly #turns = new Map<string, number>()

  constructor(store: CredentialStore, entries: Entries, now: () => number) {
    this.#store = store
    this.#entries = entries
    this.#now = now
  }

  /** @throws AuthkeepError store errors */
  async of(provider: string): Promise<Accounts> {
    return readAccounts(await this.#store.readState(accountsName(provider)))
  }

  /** @throws AuthkeepError store errors */
  async setOrder(provider: string, order: AccountOrder): Promise<void> {
    await this.#store.updateState(accountsName(provider), (state) => withOrder(state, order))
  }

  /** The accounts of a provider in the order in which to try them; null where nobody has said that any will do. */
  async arrange(provider: string, names: readonly string[]): Promise<readonly string[] | null> {
    const accounts = await this.#look(provider)
    if (accounts.order === null) return null
    const turn = this.#turns.get(provider) ?? 0
    this.#turns.set(provider, turn + 1)
    return arrange(names, accounts, turn)
  }

  /** Why an account is left alone for now, or null. */
  async restOf(key: CredentialKey): Promise<Rest | null> {
    const accounts = await this.#look(key.provider)
    if (accounts.resting.size === 0) return null
    return restOf(accounts, key.account, await this.#markOf(key), this.#now())
  }

  /** Notes what came of a request: which account was good, and which one has come to a limit of its own. */
  async note(key: CredentialKey, outcome: Outcome): Promise<void> {
    const rest = restAfter(outcome, this.#now())
    if (rest === null && outcome.code !== 'ok') return
    const mark = rest === null ? undefined : await this.#markOf(key)
    await this.#remember(key.provider, (state) =>
      rest === null
        ? withLastGood(state, key.account)
        : withRest(state, key.account, { ...rest, ...(mark === undefined ? {} : { mark }) }),
    )
  }

  /** Whoever has logged in anew starts afresh. */
  async wake(keys: readonly CredentialKey[]): Promise<void> {
    for (const provider of new Set(keys.map((key) => key.provider))) {
      const names = keys.filter((key) => key.provider === provider).map(({ account }) => account)
      await this.#remember(provider, (state) => withoutRest(state, names))
    }
  }

  async #look(provider: string): Promise<Accounts> {
    try {
      return await this.of(provider)
    } catch (error) {
      if (!isAuthkeepError(error)) throw error
      return readAccounts(null)
    }
  }

  async #remember(provider: string, fn: Parameters<CredentialStore['updateState']>[1]): Promise<void> {
    try {
      await this.#store.updateState(accountsName(provider), fn)
    } catch (error) {
      if (!isAuthkeepError(error)) throw error
    }
  }

  async #markOf(key: CredentialKey): Promise<string | undefined> {
    return markOf(await this.#entries.read(key))
  }
}
