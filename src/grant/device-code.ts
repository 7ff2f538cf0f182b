import { setTimeout as delay } from 'node:timers/promises'
import type { DeviceAuthorizationResponse } from 'openid-client'
import { abortable } from '../abort.ts'
import { AuthkeepError } from '../errors.ts'
import { type AuthorizationServerMetadata, isSecureUrl, type Provider } from '../provider.ts'
import { formatScope } from '../scope.ts'
import { configure } from './configuration.ts'
import { discover } from './discovery.ts'
import { dpopKeyFor } from './dpop.ts'
import type { GrantAnswer, GrantFlow, GrantRequest } from './flow.ts'
import { grantedScopes } from './granted-scopes.ts'
import { nextPoll } from './polling.ts'
import { watchPost } from './token-endpoint.ts'
import { tokenError } from './token-error.ts'
import { requestToken, unserved } from './token-request.ts'

/** What a person needs in order to log in on another device (RFC 8628 §3.2). */
export interface DeviceCode {
  readonly userCode: string
  readonly verificationUri: string
  /** Has the code in it already, for a QR code: the person still compares the code. */
  readonly verificationUriComplete?: string
  /** Unix milliseconds. */
  readonly expiresAt: number
}

export interface DeviceOptions {
  /**
   * Shows the code to the person, who should be told to enter it only where they began the login themselves (RFC 8628
   * §5.4). If it fails, the login ends: nobody has seen the code.
   */
  readonly show: (code: DeviceCode) => void | Promise<void>
  /** How polling waits, for those who have a clock of their own; default: the system's timer. */
  readonly sleep?: (ms: number, signal: AbortSignal | undefined) => Promise<unknown>
}

const requestMs = 20_000

/**
 * Login on another device (RFC 8628). The server is asked as often as it allows, and less often while it says
 * `slow_down` or cannot be reached (§3.5); no failure of the network ends the login before the code expires.
 *
 * `run` rejects with AuthkeepError `authorization_required` (`denied`, `timed_out`), `response_invalid`,
 * `server_rejected`, `server_unavailable` (before there is a code), `edge_challenge`, with whatever `show` throws, or
 * with `signal.reason`.
 */
export function deviceFlow(options: DeviceOptions): GrantFlow {
  return { name: 'device', run: (request) => login(request, options) }
}

async function login(request: GrantRequest, { show, sleep = timer }: DeviceOptions): Promise<GrantAnswer> {
  const { provider, account, scopes, resources, fetch, now, signal } = request
  signal?.throwIfAborted()
  const metadata = await discover(provider, { fetch, signal })
  const dpopKey = await dpopKeyFor(request)
  const authorization = await abortable(begin(request, metadata), signal)
  const expiresAt = now() + authorization.expires_in * 1000
  await abortable(Promise.resolve(show(shown(provider, authorization, expiresAt))), signal)

  const deviceCode = authorization.device_code
  const resource = resources[0] ?? null
  const parameters = { device_code: deviceCode, ...(resource === null ? {} : { resource }) }
  const common = { provider, metadata, fetch, timeoutMs: requestMs }
  const late = (): AuthkeepError =>
    new AuthkeepError('authorization_required', { provider: provider.id, account, reason: 'timed_out' })
  let waitMs = (authorization.interval ?? 5) * 1000
  for (;;) {
    // What would come too late is not waited for.
    if (now() + waitMs >= expiresAt) throw late()
    await abortable(sleep(waitMs, signal), signal)
    const poll = requestToken(
      { ...common, dpopKey, now, requestedScopes: scopes, resource, secrets: [deviceCode] },
      (client, config) => client.genericGrantRequest(config, grantType, parameters),
    )
    const outcome = await abortable(poll, signal)
    if (outcome.kind === 'served') {
      const { answer: token } = outcome
      const granted = await grantedScopes(token, { ...common, scopes, resources })
      return { type: 'oauth', ...granted, resources, token, ...(dpopKey === undefined ? {} : { dpopKey }) }
    }
    const next = nextPoll(outcome, waitMs)
    if (next.kind === 'wait') waitMs = next.ms
    else if (next.kind === 'expired') throw late()
    else if (next.kind === 'denied')
      throw new AuthkeepError('authorization_required', { provider: provider.id, account, reason: 'denied' })
    else throw tokenError({ provider, metadata }, outcome)
  }
}

const grantType = 'urn:ietf:params:oauth:grant-type:device_code'

function timer(ms: number, signal: AbortSignal | undefined): Promise<unknown> {
  return delay(ms, undefined, signal === undefined ? {} : { signal })
}

/** The device authorization request (RFC 8628 §3.1). */
async function begin(
  request: GrantRequest,
  metadata: AuthorizationServerMetadata,
): Promise<DeviceAuthorizationResponse> {
  const client = await import('openid-client')
  const { provider, scopes, resources } = request
  if (metadata.device_authorization_endpoint === undefined)
    throw invalid(provider, 'its metadata has no device_authorization_endpoint')
  const post = watchPost({
    ...request,
    dpopKey: undefined,
    timeoutMs: requestMs,
    secrets: [provider.client.secret ?? ''],
  })
  const config = await configure(provider, metadata, post.fetch)
  const parameters = new URLSearchParams(resources.map((resource) => ['resource', resource] as [string, string]))
  if (scopes.length > 0) parameters.set('scope', formatScope(scopes))
  if (request.acrValues !== undefined) parameters.set('acr_values', request.acrValues.join(' '))
  if (request.maxAge !== undefined) parameters.set('max_age', String(request.maxAge))
  try {
    return await client.initiateDeviceAuthorization(config, parameters)
  } catch (complaint) {
    throw tokenError({ provider, metadata }, unserved(post.exchange(), complaint), 'device_authorization_endpoint')
  }
}

/** What the person is shown comes from the server, and goes to a terminal and a browser. */
function shown(provider: Provider, answer: DeviceAuthorizationResponse, expiresAt: number): DeviceCode {
  const { user_code: userCode, verification_uri: verificationUri, verification_uri_complete: complete } = answer
  if (!/^[\x21-\x7E]([\x20-\x7E]*[\x21-\x7E])?$/.test(userCode))
    throw invalid(provider, 'its user code cannot be shown')
  for (const uri of [verificationUri, ...(complete === undefined ? [] : [complete])]) {
    if (!URL.canParse(uri) || !isSecureUrl(new URL(uri)))
      throw invalid(provider, 'its verification address is neither an https URL nor on this machine')
  }
  const more = complete === undefined ? {} : { verificationUriComplete: new URL(complete).href }
  return { userCode, verificationUri: new URL(verificationUri).href, ...more, expiresAt }
}

function invalid(provider: Provider, what: string): AuthkeepError {
  return new AuthkeepError('response_invalid', { provider: provider.id, status: null, what })
}
