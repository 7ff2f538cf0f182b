import { type Credential, type CredentialKey, environmentAccount, keyName, Secret, variableOf } from '../credential.ts'
import { isAuthkeepError } from '../errors.ts'
import type { Provider } from '../provider.ts'
import { type CredentialInfo, type CredentialStore, describeCredential } from '../store/store.ts'
import { BorrowedLogins } from './borrowed.ts'
import { labelled } from './owner.ts'

/** Names to values, as `process.env` has them. */
export type EnvironmentVariables = Readonly<Record<string, string | undefined>>

/** An entry that can serve: a stored one, or one of the environment. */
export interface EntryInfo extends CredentialInfo {
  /** The environment variable that it comes from, where it is not stored. */
  readonly variable?: string
}

/**
 * The credentials that the environment holds, in the order in which the provider declares their variables. They are
 * read anew each time, never stored, and go before stored ones.
 */
export function environmentEntries(
  provider: Provider,
  environment: EnvironmentVariables,
): readonly (EntryInfo & { readonly variable: string })[] {
  return Object.keys(provider.environment ?? {}).flatMap((variable) => {
    const credential = credentialIn(provider, variable, environment)
    return credential === null ? [] : [{ ...describeCredential(credential), variable }]
  })
}

/** The same object for the same value: another one means another credential. */
const made = new Map<string, { readonly value: string; readonly credential: Credential }>()

function credentialIn(provider: Provider, variable: string, environment: EnvironmentVariables): Credential | null {
  const kind = provider.environment?.[variable]
  const value = environment[variable]?.trim() ?? ''
  if (kind === undefined || value === '') return null
  const key = { provider: provider.id, account: environmentAccount(variable) }
  const name = `${kind} ${keyName(key)}`
  const known = made.get(name)
  if (known?.value === value) return known.credential
  const secret = new Secret(value)
  const credential: Credential =
    kind === 'api_key' ? { type: kind, ...key, key: secret } : { type: 'token', ...key, token: secret, expiresAt: null }
  made.set(name, { value, credential })
  return credential
}

/** What is stored, together with what the environment and other programs hold: read only. */
export class Entries {
  readonly #store: CredentialStore
  readonly #providers: readonly Provider[]
  readonly #environment: EnvironmentVariables
  readonly #borrowed = new BorrowedLogins()

  constructor(store: CredentialStore, providers: readonly Provider[], environment: EnvironmentVariables) {
    this.#store = store
    this.#providers = providers
    this.#environment = environment
  }

  /** @throws AuthkeepError as `CredentialStore.read` */
  async read(key: CredentialKey): Promise<Credential | null> {
    const held = this.#held(key)
    if (held !== null) return held
    const stored = await this.#store.read(key)
    const provider = this.#providers.find(({ id }) => id === key.provider)
    if (stored === null || provider === undefined) return stored
    return this.#borrowed.follow(labelled(stored, provider), provider)
  }

  /** @throws AuthkeepError as `CredentialStore.list` */
  async list(options: { readonly provider?: string } = {}): Promise<readonly EntryInfo[]> {
    const { provider: wanted } = options
    const held = this.#providers
      .filter(({ id }) => wanted === undefined || id === wanted)
      .flatMap((provider) => environmentEntries(provider, this.#environment))
    try {
      return [...held, ...(await this.#store.list(options))]
    } catch (error) {
      // What the environment holds serves whatever has become of the store.
      if (held.length === 0 || !isAuthkeepError(error)) throw error
      return held
    }
  }

  #held({ provider: id, account }: CredentialKey): Credential | null {
    const variable = variableOf(account)
    if (variable === undefined) return null
    const provider = this.#providers.find((one) => one.id === id)
    return provider === undefined ? null : credentialIn(provider, variable, this.#environment)
  }
}
