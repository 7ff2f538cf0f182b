import { type Credential, type CredentialKey, type DpopKey, fingerprint, type OAuthCredential } from '../credential.ts'
import type { Requirement } from '../endpoint.ts'
import { AuthkeepError, isAuthkeepError } from '../errors.ts'
import { discover } from '../grant/discovery.ts'
import type { GrantAnswer } from '../grant/flow.ts'
import { revokeToken } from '../grant/revoke.ts'
import type { Provider } from '../provider.ts'
import { missingScopes, unionScopes } from '../scope.ts'
import type { CredentialInfo, CredentialStore } from '../store/store.ts'
import { keeps, withToken } from './changes.ts'
import { arrivalOf, type Holder, holderOf, isSameHolder } from './other-account.ts'

/** What a login should ask for. */
export interface LoginPlan {
  readonly scopes: readonly string[]
  /** Those without which the login is less than was asked for. */
  readonly requiredScopes: readonly string[]
  readonly resources: readonly string[]
  /** The key of the grant that is there, which may go on with the new one. */
  readonly dpopKey?: DpopKey | undefined
  readonly acrValues?: readonly string[]
  /** Seconds. */
  readonly maxAge?: number
}

/**
 * Never what a login is refused for: they are about the ID token, its claims and the refresh token (OpenID Connect Core
 * §3.1.2.1, §5.4, §11), and many servers leave them out of the `scope` of an answer that has brought all of it.
 */
const unlistedScopes: ReadonlySet<string> = new Set('openid offline_access profile email address phone'.split(' '))

/**
 * What to ask for at a login. Pure. The scopes that the caller names, else the provider's; together with what the
 * account has been granted already, so that a login for one more scope never takes another away; and the resource of
 * every endpoint that these scopes can serve. Of these scopes the provider's own are required unless it says otherwise.
 */
export function planLogin(provider: Provider, requirement: Requirement, existing: Credential | null): LoginPlan {
  // What another issuer granted has no meaning here.
  const login = existing?.type === 'oauth' && existing.issuer === provider.issuer ? existing : null
  const before = login?.grant
  const named = requirement.endpoint === undefined && requirement.scopes.length > 0
  const usual = named ? [] : (provider.scopes ?? [])
  const wished = usual.filter((scope) => provider.optionalScopes?.includes(scope) !== true)
  const certain = unionScopes(requirement.scopes, before?.scopes ?? [])
  const scopes = unionScopes(usual, certain)
  const reachable = (provider.endpoints ?? [])
    .filter((endpoint) => missingScopes(endpoint.scopes ?? [], scopes, provider.implies).length === 0)
    .flatMap(({ resource }) => (resource === undefined ? [] : [resource]))
  const wanted = requirement.resource === null ? [] : [requirement.resource]
  const { acrValues, maxAge } = requirement
  return {
    scopes,
    requiredScopes: unionScopes(wished, certain).filter((scope) => !unlistedScopes.has(scope)),
    dpopKey: login?.dpopKey,
    resources: [...new Set([...wanted, ...reachable, ...(before?.resources ?? [])])],
    ...(acrValues === undefined ? {} : { acrValues }),
    ...(maxAge === undefined ? {} : { maxAge }),
  }
}

/**
 * The entry that a login makes, given what is there now. Pure, and run inside the store's update, so that it sees the
 * entry as it is when it is replaced. `replaces` is who may lose their place to it: of what was theirs nothing goes on.
 *
 * @throws AuthkeepError `account_ambiguous` when the entry belongs to another subject, or is of another kind
 */
export function credentialFrom(
  answer: GrantAnswer,
  key: CredentialKey,
  provider: Provider,
  stored: Credential | null,
  now: number,
  replaces?: Holder,
): Credential {
  const { account } = key
  const holder = stored === null ? null : holderOf(stored)
  const isOther = holder !== null && !isSameHolder(holder, arrivalOf(answer))
  if (isOther && (holder.type !== replaces?.type || holder.subject !== replaces.subject)) {
    const reason = holder.type === answer.type ? 'other_person' : 'other_kind'
    throw new AuthkeepError('account_ambiguous', { provider: provider.id, accounts: [account], reason })
  }
  const current = isOther ? null : stored
  const metadata = current?.metadata === undefined ? {} : { metadata: current.metadata }
  const common = { provider: provider.id, account, ...metadata }
  switch (answer.type) {
    case 'api_key':
      return { type: 'api_key', ...common, key: answer.key }
    case 'token':
      return { type: 'token', ...common, token: answer.token, expiresAt: answer.expiresAt }
    case 'oauth':
      return oauthCredential(answer, common, provider, current?.type === 'oauth' ? current : null, now)
  }
}

function oauthCredential(
  answer: GrantAnswer & { type: 'oauth' },
  common: Pick<OAuthCredential, 'provider' | 'account'>,
  provider: Provider,
  before: OAuthCredential | null,
  now: number,
): OAuthCredential {
  const { token } = answer
  // Some servers send a refresh token at the first consent only: the one that this person has there is still good. Two
  // issuers may have the same subject (OpenID Connect Core §2), and none is sent the refresh token of the other.
  const isSameLogin = before?.issuer === provider.issuer && before.clientId === provider.client.id
  const isSamePerson = isSameLogin && token.subject !== null && token.subject === before.subject
  const refreshToken = token.refreshToken ?? (isSamePerson ? before.grant.refreshToken : null)
  return withToken(
    {
      type: 'oauth',
      ...common,
      issuer: provider.issuer,
      clientId: provider.client.id,
      subject: token.subject ?? before?.subject ?? null,
      grant: {
        scopes: answer.scopes,
        evidence: answer.evidence,
        resources: answer.resources,
        refreshToken,
        ...(answer.reissue === undefined ? {} : { reissue: answer.reissue }),
        refreshExpiresAt: token.refreshExpiresAt,
        generation: (before?.grant.generation ?? 0) + 1,
        obtainedAt: now,
        state: 'live',
        ...(refreshToken === null ? {} : { stateFor: fingerprint(refreshToken) }),
        replays: 0,
      },
      tokens: [],
      lease: null,
      ...(answer.dpopKey === undefined ? {} : { dpopKey: answer.dpopKey }),
    },
    token,
    now,
  )
}

/**
 * A login that was not stored is revoked: nobody has it, and it should not stay valid. Not where another entry may be
 * of the same person, which some servers would end with it, or has this very refresh token. What fails here is no news:
 * the caller hears why the login was not stored.
 */
export async function takeBack(
  answer: GrantAnswer,
  { provider, store, fetch: send }: { provider: Provider; store: CredentialStore; fetch: typeof fetch },
): Promise<void> {
  if (answer.type !== 'oauth') return
  const { refreshToken, accessToken, subject } = answer.token
  try {
    const infos = await store.list()
    const isSamePerson = (info: CredentialInfo): boolean =>
      info.issuer === provider.issuer && (subject === null || info.subject == null || info.subject === subject)
    if (infos.some(isSamePerson)) return
    for (const info of infos.filter(({ type }) => type === 'oauth')) {
      if (refreshToken !== null && keeps(await store.read(info), refreshToken)) return
    }
    await revokeToken({
      ...{ provider, metadata: await discover(provider, { fetch: send }), fetch: send, timeoutMs: 5_000 },
      ...{ token: refreshToken ?? accessToken, hint: refreshToken === null ? 'access_token' : 'refresh_token' },
    })
  } catch (error) {
    if (!isAuthkeepError(error)) throw error
  }
}
