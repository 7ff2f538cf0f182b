import { randomUUID } from 'node:crypto'
import {
  type Credential,
  type CredentialKey,
  fingerprint,
  type OAuthCredential,
  Secret,
  type StoredToken,
} from '../credential.ts'
import { AuthkeepError } from '../errors.ts'

/** What pi keeps for an API key. */
export interface PiApiKeyCredential {
  type: 'api_key'
  key?: string
  env?: Record<string, string>
}

/** What pi keeps for a login. A provider of pi may add members. */
export interface PiOAuthCredential {
  type: 'oauth'
  refresh: string
  access: string
  /** Unix milliseconds. */
  expires: number
  [member: string]: unknown
}

/** A credential as pi stores it. */
export type PiCredential = PiApiKeyCredential | PiOAuthCredential

/** What the entries of logins that pi refreshes say in the place of an issuer and a client: pi does not tell. */
export const byPi = { issuer: 'pi', clientId: 'pi' } as const

/** What stands in the place of a refresh token wherever pi is not to spend it. */
const kept = 'kept-by-authkeep'

/** Whether it comes from what pi was shown, and brings nothing new. */
export function isKept(credential: PiCredential): boolean {
  return credential.type === 'oauth' && credential.refresh === kept
}

/** The secret that an entry is about: the refresh token, or what there is where there is none. */
export function mainSecret(credential: Credential): Secret {
  if (credential.type === 'api_key') return credential.key
  if (credential.type === 'token') return credential.token
  const { grant, tokens } = credential
  return grant.refreshToken ?? tokens[0]?.accessToken ?? new Secret('')
}

/**
 * An entry for what pi wants kept, as it is: all of it but the refresh token is one secret, since members that nobody
 * here knows may be secret too.
 *
 * @throws TypeError for what is no credential of pi
 */
export function entryOf(credential: PiCredential, key: CredentialKey, now: number): Credential {
  if (credential.type === 'api_key') return { type: 'api_key', ...key, key: sealed(credential) }
  if (!isOAuth(credential)) throw new TypeError('a credential of pi has access, refresh and expires, or a key')
  const { refresh } = credential
  const refreshToken = refresh === '' ? null : new Secret(refresh)
  return {
    ...{ type: 'oauth', ...key, ...byPi },
    // A name for this login: what comes late from the one before it is not taken for a part of it.
    subject: randomUUID(),
    grant: {
      ...{ scopes: [], evidence: 'assumed', resources: [], refreshToken, refreshExpiresAt: null },
      ...{ generation: 1, obtainedAt: now, state: 'live', replays: 0 },
      ...(refreshToken === null ? {} : { stateFor: fingerprint(refreshToken) }),
    },
    tokens: [tokenOf(credential, now)],
    lease: null,
  }
}

/** What a login holds besides its refresh token, as an access token of ours. */
export function tokenOf(credential: PiOAuthCredential, obtainedAt: number): StoredToken {
  const accessToken = sealed(credential)
  const expiresAt = credential.expires
  return { accessToken, tokenType: 'pi', scopes: [], resource: null, evidence: 'assumed', expiresAt, obtainedAt }
}

/**
 * What pi is shown of an entry, without the refresh token.
 *
 * @throws AuthkeepError `store_corrupt`
 */
export function credentialOf(entry: OAuthCredential, location: string): PiOAuthCredential
export function credentialOf(entry: Credential, location: string): PiCredential
export function credentialOf(entry: Credential, location: string): PiCredential {
  const sealedMembers = entry.type === 'oauth' ? entry.tokens[0]?.accessToken : mainSecret(entry)
  const members = unsealed(sealedMembers)
  if (entry.type === 'api_key' && members !== undefined) return { ...members, type: 'api_key' }
  if (entry.type === 'oauth' && typeof members?.['access'] === 'string' && typeof members['expires'] === 'number') {
    const refresh = entry.grant.refreshToken === null ? '' : kept
    return { ...members, type: 'oauth', access: members['access'], expires: members['expires'], refresh }
  }
  const key = `${entry.provider}:${entry.account}`
  throw new AuthkeepError('store_corrupt', { path: location, what: 'it holds nothing that pi has stored', key })
}

/** What pi is shown of a brokered token: nothing that it could refresh with, and nothing that it has to. */
export function brokered(access: string, expires: number): PiOAuthCredential {
  return { type: 'oauth', access, refresh: kept, expires }
}

/** Whether it has what it must have, whatever its type says. */
export function isOAuth(credential: PiCredential): credential is PiOAuthCredential {
  const { type, access, refresh, expires } = credential as Partial<PiOAuthCredential>
  return type === 'oauth' && typeof access === 'string' && typeof refresh === 'string' && Number.isFinite(expires)
}

function sealed(credential: PiCredential): Secret {
  const members = Object.entries(credential).filter(([name]) => name !== 'type' && name !== 'refresh')
  return new Secret(JSON.stringify(Object.fromEntries(members)))
}

function unsealed(secret: Secret | undefined): Readonly<Record<string, unknown>> | undefined {
  try {
    const members: unknown = JSON.parse(secret?.reveal() ?? '')
    return typeof members === 'object' && members !== null ? (members as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}
