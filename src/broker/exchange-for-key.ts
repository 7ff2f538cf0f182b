import { claimsOf } from '../claims.ts'
import type { Credential, CredentialKey, Secret } from '../credential.ts'
import { AuthkeepError } from '../errors.ts'
import { discover } from '../grant/discovery.ts'
import { exchangeForApiKey } from '../grant/key-exchange.ts'
import type { KeyExchange, Provider } from '../provider.ts'
import type { CredentialStore } from '../store/store.ts'

const timeoutMs = 20_000
/** How long an ID token must live on to be shown. */
const marginMs = 30_000

export interface KeyExchangeSource {
  readonly store: CredentialStore
  readonly fetch: typeof fetch
  /** Unix milliseconds. */
  readonly now: () => number
  /** Sees to a token of the login; with `renew` to one that was not there before. */
  token(renew: boolean): Promise<Secret>
}

/** Obtains an API key with a login, and stores it where none is. */
export async function exchangeForKey(
  key: CredentialKey,
  target: CredentialKey,
  { provider, exchange }: { readonly provider: Provider; readonly exchange: KeyExchange },
  source: KeyExchangeSource,
): Promise<Credential> {
  const { store, fetch, now } = source
  // A server may make a key with each request: whether there is a place for it is asked first.
  assertVacant(await store.read(target), target)
  const subjectToken = exchange.subject === 'access_token' ? await source.token(false) : await freshIdToken(key, source)
  const metadata = await discover(provider, { fetch })
  const apiKey = await exchangeForApiKey({
    ...{ provider, exchange, metadata, account: key.account, subjectToken, fetch, now, timeoutMs },
  })
  const credential: Credential = { ...target, type: 'api_key', key: apiKey }
  await store.update(target, (current) => {
    assertVacant(current, target)
    return credential
  })
  return credential
}

function assertVacant(current: Credential | null, { provider, account }: CredentialKey): void {
  if (current === null) return
  const reason = current.type === 'api_key' ? 'other_key' : 'other_kind'
  throw new AuthkeepError('account_ambiguous', { provider, accounts: [account], reason })
}

/** @throws AuthkeepError `authorization_required` where no refresh brings one */
async function freshIdToken(key: CredentialKey, source: KeyExchangeSource): Promise<Secret> {
  const stored = await idTokenOf(key, source)
  if (stored !== null) return stored
  await source.token(true)
  const renewed = await idTokenOf(key, source)
  if (renewed !== null) return renewed
  throw new AuthkeepError('authorization_required', { ...key, reason: 'no_id_token' })
}

async function idTokenOf(key: CredentialKey, { store, now }: KeyExchangeSource): Promise<Secret | null> {
  const credential = await store.read(key)
  const idToken = credential?.type === 'oauth' ? credential.idToken : undefined
  const expiry = idToken === undefined ? undefined : claimsOf(idToken)?.['exp']
  return idToken !== undefined && typeof expiry === 'number' && expiry * 1_000 > now() + marginMs ? idToken : null
}
