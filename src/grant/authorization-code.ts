import { Secret } from '../credential.ts'
import { AuthkeepError, isAuthkeepError } from '../errors.ts'
import type { AuthorizationServerMetadata, Provider } from '../provider.ts'
import { formatScope } from '../scope.ts'
import { configure, endpointOf } from './configuration.ts'
import type { DpopKey } from './dpop.ts'
import type { GrantAnswer } from './flow.ts'
import { grantedScopes } from './granted-scopes.ts'
import { exchangeForKey, isSent, keyLoginUrl } from './key-login.ts'
import { printable } from './printable.ts'
import { watchPost } from './token-endpoint.ts'
import { rejection, tokenError } from './token-error.ts'
import { requestToken, unserved } from './token-request.ts'

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
  /** The code, and the tokens that it brings, are bound to this key (RFC 9449 §10). */
  readonly dpopKey?: DpopKey | undefined
  /** For a pushed request (RFC 9126). */
  readonly fetch: typeof fetch
  /** Unix milliseconds. */
  readonly now: () => number
  readonly timeoutMs: number
}

/** An authorization request ready to be shown, and what its answer will be checked against. */
export interface PreparedAuthorization extends AuthorizationRequest {
  readonly url: URL
  /** Null where the server sends none back. */
  readonly state: string | null
  /** Null where no ID token is asked for. */
  readonly nonce: string | null
  readonly codeVerifier: Secret
}

/**
 * Builds the authorization URL: PKCE with S256 (RFC 7636), a fresh state, and a nonce whenever `openid` is asked for.
 * The provider's extra parameters cannot replace any of these. Where the server or the provider wants it, all of this is
 * pushed to the server first, and the URL only names it (RFC 9126).
 *
 * @throws AuthkeepError `response_invalid` when the metadata has no usable endpoint; for a pushed request also
 * `server_rejected`, `server_unavailable`, `edge_challenge`
 */
export async function prepareAuthorization(request: AuthorizationRequest): Promise<PreparedAuthorization> {
  const client = await import('openid-client')
  const { provider, metadata, scopes, resources, redirectUri, dpopKey } = request
  const isPushed = provider.pushedAuthorization ?? metadata.require_pushed_authorization_requests === true
  for (const endpoint of ['authorization_endpoint', ...(isPushed ? ['pushed_authorization_request_endpoint'] : [])]) {
    if (metadata[endpoint] !== undefined) continue
    const what = `its metadata has no ${endpoint}`
    throw new AuthkeepError('response_invalid', { provider: provider.id, status: null, what })
  }
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
  if (dpopKey !== undefined) parameters.set('dpop_jkt', dpopKey.jkt)
  if (resources.length > 0) parameters.delete('resource')
  for (const resource of resources) parameters.append('resource', resource)
  const prepared = { ...request, nonce, codeVerifier: new Secret(codeVerifier) }
  const { keyLogin } = provider
  if (keyLogin !== undefined) {
    const url = keyLoginUrl(keyLogin, endpointOf(provider, metadata, 'authorization_endpoint'), parameters)
    return { ...prepared, url, state: isSent(keyLogin, 'state') ? state : null }
  }
  const url = isPushed
    ? await push(request, parameters)
    : client.buildAuthorizationUrl(await configure(provider, metadata, request.fetch), parameters)
  return { ...prepared, url, state }
}

async function push(request: AuthorizationRequest, parameters: URLSearchParams): Promise<URL> {
  const client = await import('openid-client')
  const { provider, metadata } = request
  const post = watchPost({ ...request, secrets: [provider.client.secret ?? ''] })
  const config = await configure(provider, metadata, post.fetch)
  try {
    return await client.buildAuthorizationUrlWithPAR(config, parameters)
  } catch (complaint) {
    throw tokenError(request, unserved(post.exchange(), complaint), 'pushed_authorization_request_endpoint')
  }
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
 * and of the ID token the signature, issuer, audience and nonce. The first resource is the one the token is for. Where the
 * provider has a login that brings an API key (`keyLogin`), the code is exchanged for that.
 *
 * @throws AuthkeepError `authorization_required` (`denied`), `server_rejected`, `response_invalid`,
 * `server_unavailable`, `edge_challenge`
 */
export async function exchangeCode(exchange: CodeExchange): Promise<GrantAnswer> {
  const { prepared, callback, fetch, now, timeoutMs } = exchange
  const { provider, metadata, scopes, resources, dpopKey } = prepared
  checkRedirect(exchange)
  if (provider.keyLogin !== undefined) return exchangeForKey(exchange, provider.keyLogin)
  const currentUrl = new URL(prepared.redirectUri)
  currentUrl.search = callback.toString()
  const checks = {
    ...(prepared.state === null ? {} : { expectedState: prepared.state }),
    pkceCodeVerifier: prepared.codeVerifier.reveal(),
    ...(prepared.nonce === null ? {} : { expectedNonce: prepared.nonce }),
  }
  const resource = resources[0] ?? null
  const secrets = [prepared.codeVerifier.reveal(), callback.get('code') ?? '']
  const common = { provider, metadata, dpopKey, fetch, now, timeoutMs }
  const outcome = await requestToken({ ...common, requestedScopes: scopes, resource, secrets }, (client, config) =>
    client.authorizationCodeGrant(config, currentUrl, checks, resource === null ? {} : { resource }),
  ).catch((error: unknown) => {
    // Nothing has been sent: what is left to have thrown are openid-client's own checks of the redirect.
    if (isAuthkeepError(error) || error instanceof TypeError) throw error
    throw new AuthkeepError('response_invalid', {
      provider: provider.id,
      status: null,
      what: 'the redirect is malformed',
    })
  })
  if (outcome.kind !== 'served') throw tokenError(prepared, outcome)
  const { answer: token } = outcome
  const granted = await grantedScopes(token, { provider, metadata, scopes, resources, fetch, timeoutMs })
  return { type: 'oauth', ...granted, resources, token, ...(dpopKey === undefined ? {} : { dpopKey }) }
}

function checkRedirect({ prepared, callback, account }: CodeExchange): void {
  const { provider } = prepared
  const refuse = (what: string): never => {
    throw new AuthkeepError('response_invalid', { provider: provider.id, status: null, what })
  }
  if (prepared.state !== null && callback.get('state') !== prepared.state) refuse('the redirect carries another state')
  const issuer = callback.get('iss')
  if (issuer !== null && issuer !== provider.issuer) refuse('the redirect comes from another issuer')
  const error = callback.get('error')
  if (error === 'access_denied') {
    const description = printable(callback.get('error_description'))
    const said = description === undefined ? {} : { description }
    throw new AuthkeepError('authorization_required', { provider: provider.id, account, reason: 'denied', ...said })
  }
  if (error !== null) throw rejection(provider, null, error, callback.get('error_description'))
}
