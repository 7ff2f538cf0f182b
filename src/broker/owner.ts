import { type Credential, type CredentialKey, keyName, type OAuthCredential } from '../credential.ts'
import type { Provider } from '../provider.ts'
import { missingScopes, scopeSet } from '../scope.ts'
import type { CredentialStore } from '../store/store.ts'
import type { Moment } from './decide.ts'

// Logins in the file of another program: whose they are to renew, and what is assumed of those that it wrote.

/** Beside the file and not in the entry, which its owner writes anew whenever it refreshes. */
const takenOverName = (key: CredentialKey): string => `:taken-over:${keyName(key)}`

/**
 * The moment of a decision about a login in the file of another program. That renews it alone, unless it was taken over;
 * and has a use for tokens of all its scopes only, so none is asked for that can do less.
 */
export async function amongOwners(store: CredentialStore, credential: Credential, moment: Moment): Promise<Moment> {
  const isTakenOver = (await store.readState(takenOverName(credential))) !== null
  const owner = isTakenOver ? undefined : store.refreshOwner
  return { ...moment, narrowing: 'ignored', ...(owner === undefined ? {} : { owner }) }
}

export async function rememberTakeOver(store: CredentialStore, key: CredentialKey, at: number): Promise<void> {
  if (store.refreshOwner === undefined) return
  await store.updateState(takenOverName(key), (state) => (state === null ? { at } : undefined))
}

const assumed = new WeakMap<Credential, { readonly provider: Provider; readonly credential: OAuthCredential }>()
const isAssumed = new WeakSet<Credential>()

/**
 * What is made of an entry that says neither issuer nor client nor scopes, because another program wrote it: the login
 * of the provider of its name, with the scopes that this asks for. The same object for the same entry.
 */
export function labelled(credential: Credential, provider: Provider): Credential {
  if (credential.type !== 'oauth' || credential.issuer !== '') return credential
  const known = assumed.get(credential)
  if (known?.provider === provider) return known.credential
  const made = withLabels(credential, provider)
  assumed.set(credential, { provider, credential: made })
  isAssumed.add(made)
  return made
}

function withLabels(credential: OAuthCredential, provider: Provider): OAuthCredential {
  const { grant, tokens } = credential
  const scopes = grant.scopes.length > 0 ? grant.scopes : scopeSet(provider.scopes ?? [])
  const reachable = (provider.endpoints ?? []).flatMap(({ resource, scopes: needed = [] }) =>
    resource === undefined || missingScopes(needed, scopes, provider.implies).length > 0 ? [] : [resource],
  )
  return {
    ...credential,
    ...{ issuer: provider.issuer, clientId: provider.client.id },
    grant: { ...grant, scopes, resources: [...new Set([...grant.resources, ...reachable])] },
    tokens: tokens.map((token) => (token.scopes.length > 0 ? token : { ...token, scopes })),
  }
}

/**
 * Writes down what was assumed, before anything else is written into an entry. True: the entry is another one now, or
 * was already.
 */
export async function writeLabels(store: CredentialStore, credential: OAuthCredential): Promise<boolean> {
  if (!isAssumed.has(credential)) return false
  await store.update(credential, (current) => {
    if (current?.type !== 'oauth' || current.issuer !== '') return undefined
    const isSame = current.grant.refreshToken?.reveal() === credential.grant.refreshToken?.reveal()
    return isSame ? credential : undefined
  })
  return true
}
