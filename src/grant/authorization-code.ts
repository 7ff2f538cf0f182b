import { Secret } from '../credential.ts'
import { AuthkeepError } from '../errors.ts'
import type { AuthorizationServerMetadata, Provider } from '../provider.ts'
import { formatScope, unionScopes } from '../scope.ts'
import { printable } from './classify.ts'
import { configure, keepKeys } from './discovery.ts'
import type { GrantAnswer, TokenAnswer } from './flow.ts'
import { introspectScopes } from './introspection.ts'
import { tokenAnswer } from './token-answer.ts'
import { type Exchange, watchPost } from './token-endpoint.ts'
import { complaintOf } from './token-request.ts'

/** What a person is asked to grant (RFC 6749 §4.1.1). */
export interface AuthorizationRequest {
  readonly provider: Provider
  readonly metadata: AuthorizationServerMetadata
  readonly scopes: readonly string[]
  /** RFC 8707 resources, each sent as a `resource` of its own. */
  readonly resources: readonly string[]
  readonly redirectUri: string
  /** RFC 9470 §4. */
  readonly acrValues?: readonly string[] | undefined
  /** Seconds (RFC 9470 §4). */
  readonly maxAge?: number | undefined
}

/** An authorization request ready to be shown, and what its answer will be checked against. */
export interface PreparedAuthorization extends AuthorizationRequest {
  readonly url: URL
  readonly state: string
  /** Null where no ID token is asked for. */
  readonly nonce: string | null
  readonly codeVerifier: Secret
}

/**
 * Builds the authorization URL: PKCE with S256 (RFC 7636), a fresh state, and a nonce whenever `openid` is asked for.
 * The provider's extra parameters cannot replace any of these.
 *
 * @throws AuthkeepError `response_invalid` when the metadata has no usable authorization endpoint
 */
export async function prepareAuthorization(request: AuthorizationRequest): Promise<PreparedAuthorization> {
  const client = await import('openid-client')
  const { provider, metadata, scopes, resources, redirectUri } = request
  if (metadata.authorization_endpoint === undefined) {
    const what = 'its metadata has no authorization_endpoint'
    throw new AuthkeepError('response_invalid', { provider: provider.id, status: null, what })
  }
  const config = await configure(provider, metadata, fetch)
  const codeVerifier = client.randomPKCECodeVerifier()
  const state = client.randomState()
  const nonce = scopes.includes('openid') ? client.randomNonce() : null
  const parameters = new URLSearchParams(provider.authorization)
  parameters.set('client_id', provider.client.id)
  parameters.set('response_type', 'code')
  parameters.set('redirect_uri', redirectUri)
  if (scopes.length > 0) parameters.set('scope', formatScope(scopes))
  parameters.set('state', state)
  if (nonce !== null) parameters.set('nonce', nonce)
  parameters.set('code_challenge', await client.calculatePKCECodeChallenge(codeVerifier))
  parameters.set('code_challenge_method', 'S256')
  if (request.acrValues !== undefined) parameters.set('acr_values', request.acrValues.join(' '))
  if (request.maxAge !== undefined) parameters.set('max_age', String(request.maxAge))
  if (resources.length > 0) parameters.delete('resource')
  for (const resource of resources) parameters.append('resource', resource)
  const url = client.buildAuthorizationUrl(config, parameters)
  return { ...request, url, state, nonce, codeVerifier: new Secret(codeVerifier) }
}

/** The redirect that came back, and what the exchange of its code needs. */
export interface CodeExchange {
  readonly prepared: PreparedAuthorization
  /** Query parameters of the redirect, and nothing else of it: not its host, not its path. */
  readonly callback: URLSearchParams
  readonly account: string
  readonly fetch: typeof fetch
  /** Unix milliseconds. */
  readonly now: () => number
  readonly timeoutMs: number
}

/**
 * Checks a redirect against the request it answers and exchanges its code (RFC 6749 §4.1.3): state, `iss` (RFC 9207),
 * and of the ID token the signature, issuer, audience and nonce. The first resource is the one the token is for.
 *
 * @throws AuthkeepError `authorization_required` (`denied`), `server_rejected`, `response_invalid`,
 * `server_unavailable`, `edge_challenge`
 */
export async function exchangeCode(exchange: CodeExchange): Promise<Extract<GrantAnswer, { type: 'oauth' }>> {
  const client = await import('openid-client')
  const { prepared, callback, now } = exchange
  const { provider, metadata, scopes, resources } = prepared
  checkRedirect(exchange)
  const post = watchPost({
    fetch: exchange.fetch,
    now,
    timeoutMs: exchange.timeoutMs,
    secrets: [prepared.codeVerifier.reveal(), callback.get('code') ?? '', provider.client.secret ?? ''],
  })
  const config = await configure(provider, metadata, post.fetch)
  config.timeout = exchange.timeoutMs / 1000
  const currentUrl = new URL(prepared.redirectUri)
  currentUrl.search = callback.toString()
  const checks = {
    expectedState: prepared.state,
    pkceCodeVerifier: prepared.codeVerifier.reveal(),
    ...(prepared.nonce === null ? {} : { expectedNonce: prepared.nonce }),
  }
  const resource = resources[0] ?? null
  let subject: string | null
  try {
    const granted = await client.authorizationCodeGrant(
      config,
      currentUrl,
      checks,
      resource === null ? {} : { resource },
    )
    subject = granted.claims()?.sub ?? null
    await keepKeys(config, metadata)
  } catch (complaint) {
    throw explain(provider, metadata, post.exchange(), complaint)
  }
  const answered = post.exchange()
  if (answered.stage !== 'answered' || answered.answer.kind !== 'object')
    throw new TypeError('an exchange has an answer')
  const { at: obtainedAt, headers } = answered
  const context = { requestedScopes: scopes, resource, subject, obtainedAt, headers }
  const token = tokenAnswer(answered.answer.body, context)
  return { type: 'oauth', ...(await grantedScopes(token, exchange)), resources, token }
}

type GrantedScopes = Pick<Extract<GrantAnswer, { type: 'oauth' }>, 'scopes' | 'evidence'>

/**
 * What the whole grant covers. Servers leave `openid` and `offline_access` out of the `scope` of a token for a
 * resource; the ID token and the refresh token prove them. With several resources that `scope` is the first resource's
 * share only (RFC 8707 §2.2): about scopes that the provider's endpoints declare for that resource alone it is final.
 * For the rest the server is asked about the refresh token, which carries them all; if it does not tell, what was
 * asked for is assumed, and `evidence` says so.
 */
async function grantedScopes(token: TokenAnswer, exchange: CodeExchange): Promise<GrantedScopes> {
  const { provider, metadata, scopes: requested, resources } = exchange.prepared
  if (token.evidence === 'assumed') return { scopes: token.scopes, evidence: 'assumed' }
  const shown = new Set(token.scopes)
  if (token.idToken !== null && requested.includes('openid')) shown.add('openid')
  if (token.refreshToken !== null && requested.includes('offline_access')) shown.add('offline_access')
  const elsewhere = new Set(resources.slice(1).flatMap((resource) => declaredScopes(provider, resource)))
  const final = declaredScopes(provider, resources[0]).filter((scope) => !elsewhere.has(scope))
  const open = resources.length <= 1 ? [] : requested.filter((scope) => !shown.has(scope) && !final.includes(scope))
  if (open.length === 0) return { scopes: unionScopes([...shown]), evidence: 'response' }
  if (token.refreshToken !== null) {
    const question = {
      provider,
      metadata,
      token: token.refreshToken,
      hint: 'refresh_token',
      fetch: exchange.fetch,
    } as const
    const told = await introspectScopes({ ...question, timeoutMs: Math.min(exchange.timeoutMs, 5000) })
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

function checkRedirect({ prepared, callback, account }: CodeExchange): void {
  const { provider } = prepared
  const refuse = (what: string): never => {
    throw new AuthkeepError('response_invalid', { provider: provider.id, status: null, what })
  }
  if (callback.get('state') !== prepared.state) refuse('the redirect carries another state')
  const issuer = callback.get('iss')
  if (issuer !== null && issuer !== provider.issuer) refuse('the redirect comes from another issuer')
  const error = callback.get('error')
  if (error === 'access_denied') {
    throw new AuthkeepError('authorization_required', { provider: provider.id, account, reason: 'denied' })
  }
  if (error !== null) throw rejection(provider, null, error, callback.get('error_description'))
}

function explain(
  provider: Provider,
  metadata: AuthorizationServerMetadata,
  exchange: Exchange,
  complaint: unknown,
): unknown {
  const id = provider.id
  switch (exchange.stage) {
    case 'stopped':
      return exchange.error
    case 'unsent':
      // Only openid-client's own checks of the redirect are left to have thrown.
      return new AuthkeepError('response_invalid', { provider: id, status: null, what: 'the redirect is malformed' })
    case 'failed':
      return new AuthkeepError('server_unavailable', { provider: id, ...exchange.failure })
    case 'answered':
      break
  }
  const { answer, status, headers } = exchange
  switch (answer.kind) {
    case 'object':
      return new AuthkeepError('response_invalid', { provider: id, status, what: complaintOf(complaint, answer.body) })
    case 'limited': {
      const { cause, retryAfterMs } = answer
      if (cause === 'edge_challenge') {
        const host = new URL(metadata.token_endpoint ?? provider.issuer).host
        const ray = printable(headers.get('cf-ray'))
        return new AuthkeepError('edge_challenge', {
          host,
          vendor: 'Cloudflare',
          ...(ray === undefined ? {} : { ray }),
          alternatives: [],
        })
      }
      const wait = retryAfterMs === undefined ? {} : { retryAfterMs }
      return new AuthkeepError('server_unavailable', { provider: id, status, cause, sent: true, ...wait })
    }
    case 'rejected':
    case 'refused':
      return rejection(provider, status, answer.error, answer.description)
    case 'ambiguous':
      if (status >= 500)
        return new AuthkeepError('server_unavailable', { provider: id, status, cause: answer.cause, sent: true })
      if (answer.error !== undefined) return rejection(provider, status, answer.error, answer.description)
      return new AuthkeepError('response_invalid', {
        provider: id,
        status,
        what: unusable[answer.cause] ?? answer.cause,
      })
  }
}

const unusable: Readonly<Record<string, string>> = {
  html: 'the token endpoint answered with a web page',
  empty: 'the token endpoint answered with nothing',
  not_json: 'the token endpoint answered with something that is not JSON',
}

function rejection(
  provider: Provider,
  status: number | null,
  error: string,
  description?: string | null,
): AuthkeepError {
  const said = printable(description)
  return new AuthkeepError('server_rejected', {
    provider: provider.id,
    status,
    error: printable(error) ?? 'unknown',
    ...(said === undefined ? {} : { description: said }),
  })
}
