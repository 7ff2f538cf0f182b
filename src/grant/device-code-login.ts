import type { DeviceAuthorizationResponse } from 'openid-client'
import { abortable } from '../abort.ts'
import { AuthkeepError } from '../errors.ts'
import { type AuthorizationServerMetadata, isSecureUrl, type Provider } from '../provider.ts'
import { formatScope } from '../scope.ts'
import { configure } from './configuration.ts'
import type { DeviceCode, DeviceOptions } from './device-code.ts'
import { declaredLogin, type TokenGrant, unavailable } from './device-login.ts'
import { discover } from './discovery.ts'
import { dpopKeyFor } from './dpop.ts'
import type { GrantAnswer, GrantRequest, TokenAnswer } from './flow.ts'
import { grantedScopes } from './granted-scopes.ts'
import { type Polling, poll, timer } from './polling.ts'
import { watchPost } from './token-endpoint.ts'
import { tokenError } from './token-error.ts'
import { requestToken, unserved } from './token-request.ts'

const requestMs = 20_000
/** How long a code that was sent home is tried; RFC 6749 §4.1.2 lets it live for 10 minutes at most. */
const exchangeMs = 60_000

/** What `deviceFlow` does. */
export async function login(request: GrantRequest, { show, sleep = timer }: DeviceOptions): Promise<GrantAnswer> {
  const { provider, scopes, resources, fetch, now, signal } = request
  signal?.throwIfAborted()
  const metadata = await discover(provider, { fetch, signal })
  const dpopKey = await dpopKeyFor(request)
  const declared = provider.deviceLogin && declaredLogin(request, metadata, provider.deviceLogin, requestMs)
  const issued = await abortable(declared === undefined ? begin(request, metadata) : declared.begin(), signal)
  const expiresAt = now() + issued.expires_in * 1000
  await abortable(Promise.resolve(show(shown(provider, issued, expiresAt))), signal)

  const polling = { request, waitMs: (issued.interval ?? 5) * 1000, expiresAt, sleep }
  const common = { provider, metadata, fetch, timeoutMs: requestMs }
  const resource = resources[0] ?? null
  const obtain = ({ grantType, parameters }: TokenGrant, more: Omit<Polling, 'failed'>): Promise<TokenAnswer> => {
    const sent = { ...parameters, ...(resource === null ? {} : { resource }) }
    const asked = { ...common, dpopKey, now, requestedScopes: scopes, resource, secrets: Object.values(parameters) }
    return poll(() => requestToken(asked, (client, config) => client.genericGrantRequest(config, grantType, sent)), {
      ...more,
      failed: (outcome) => tokenError({ provider, metadata }, outcome),
    })
  }
  const token =
    declared === undefined
      ? await obtain({ grantType: deviceGrant, parameters: { device_code: issued.device_code } }, polling)
      : await obtain(await poll(() => declared.ask(issued), { ...polling, failed: declared.failed }), {
          ...{ request, sleep, waitMs: 0 },
          expiresAt: now() + exchangeMs,
        })
  const granted = await grantedScopes(token, { ...common, scopes, resources })
  return { type: 'oauth', ...granted, resources, token, ...(dpopKey === undefined ? {} : { dpopKey }) }
}

const deviceGrant = 'urn:ietf:params:oauth:grant-type:device_code'

/** The device authorization request (RFC 8628 §3.1). */
async function begin(
  request: GrantRequest,
  metadata: AuthorizationServerMetadata,
): Promise<DeviceAuthorizationResponse> {
  const client = await import('openid-client')
  const { provider, scopes, resources } = request
  if (metadata.device_authorization_endpoint === undefined) throw unavailable(request, metadata)
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
