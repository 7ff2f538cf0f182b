import type { Evidence } from '../credential.ts'
import type { AuthorizationServerMetadata, Provider } from '../provider.ts'
import { unionScopes } from '../scope.ts'
import type { TokenAnswer } from './flow.ts'
import { introspectScopes } from './introspection.ts'

/** What was asked for, of whom. */
export interface GrantScopesRequest {
  readonly provider: Provider
  readonly metadata: AuthorizationServerMetadata
  readonly scopes: readonly string[]
  readonly resources: readonly string[]
  readonly fetch: typeof fetch
  readonly timeoutMs: number
}

/**
 * What the whole grant covers. Servers leave `openid` and `offline_access` out of the `scope` of a token for a
 * resource; the ID token and the refresh token prove them. With several resources that `scope` is the first resource's
 * share only (RFC 8707 §2.2): about scopes that the provider's endpoints declare for that resource alone it is final.
 * For the rest the server is asked about the refresh token, which carries them all; if it does not tell, what was
 * asked for is assumed, and `evidence` says so.
 */
export async function grantedScopes(
  token: TokenAnswer,
  request: GrantScopesRequest,
): Promise<{ readonly scopes: readonly string[]; readonly evidence: Evidence }> {
  const { provider, metadata, scopes: requested, resources, fetch } = request
  if (token.evidence === 'assumed') return { scopes: token.scopes, evidence: 'assumed' }
  const shown = new Set(token.scopes)
  if (token.idToken !== null && requested.includes('openid')) shown.add('openid')
  if (token.refreshToken !== null && requested.includes('offline_access')) shown.add('offline_access')
  const elsewhere = new Set(resources.slice(1).flatMap((resource) => declaredScopes(provider, resource)))
  const final = declaredScopes(provider, resources[0]).filter((scope) => !elsewhere.has(scope))
  const open = resources.length <= 1 ? [] : requested.filter((scope) => !shown.has(scope) && !final.includes(scope))
  if (open.length === 0) return { scopes: unionScopes([...shown]), evidence: 'response' }
  if (token.refreshToken !== null) {
    const question = { provider, metadata, token: token.refreshToken, hint: 'refresh_token', fetch } as const
    const told = await introspectScopes({ ...question, timeoutMs: Math.min(request.timeoutMs, 5000) })
    if (told !== null) return { scopes: unionScopes([...shown], told), evidence: 'introspection' }
  }
  return { scopes: unionScopes([...shown], open), evidence: 'assumed' }
}

/** The scopes that the provider's endpoints need at a resource. */
function declaredScopes(provider: Provider, resource: string | undefined): readonly string[] {
  return (provider.endpoints ?? []).flatMap((endpoint) =>
    endpoint.resource === resource ? (endpoint.scopes ?? []) : [],
  )
}
