import type { DeviceAuthorizationResponse } from 'openid-client'
import { AuthkeepError } from '../errors.ts'
import type { AuthorizationServerMetadata, DeviceLogin, DeviceLoginMember } from '../provider.ts'
import { formatScope } from '../scope.ts'
import type { GrantRequest } from './flow.ts'
import { findNamed, type NamedAnswer, postNamed, textNamed } from './named-post.ts'
import { nextPoll, type Unserved } from './polling.ts'
import { secondsOf } from './token-answer.ts'
import { tokenError } from './token-error.ts'

/** What a token request is made of, besides the client. */
export interface TokenGrant {
  readonly grantType: string
  readonly parameters: Readonly<Record<string, string>>
}

/** The two requests of a device login that a provider declares. */
export interface DeclaredLogin {
  /** Gets a code to show, in the shape of RFC 8628 §3.2. */
  begin(): Promise<DeviceAuthorizationResponse>
  /** Asks once whether the person is done. */
  ask(issued: DeviceAuthorizationResponse): Promise<{ kind: 'served'; answer: TokenGrant } | Unserved>
  readonly failed: (outcome: Unserved) => AuthkeepError
}

const defaultLifetimeMs = 15 * 60_000

export function declaredLogin(
  request: GrantRequest,
  metadata: AuthorizationServerMetadata,
  login: DeviceLogin,
  timeoutMs: number,
): DeclaredLogin {
  const { provider, scopes, fetch, now } = request
  const { members: names } = login
  const invalid = (what: string): AuthkeepError =>
    new AuthkeepError('response_invalid', { provider: provider.id, status: null, what })
  const failed = (outcome: Unserved, url: string): AuthkeepError =>
    tokenError({ provider, metadata: { ...metadata, device_login: url } }, outcome, 'device_login')

  const post = (
    url: string,
    members: Readonly<Partial<Record<DeviceLoginMember, string>>>,
    secrets: readonly string[],
  ): Promise<NamedAnswer> =>
    postNamed({ ...{ url, encoding: login.encoding, names, members, secrets }, ...{ fetch, now, timeoutMs } })

  return {
    failed: (outcome) => failed(outcome, login.pollEndpoint),

    async begin() {
      const parameters = login.codeParameters ?? ['client_id', 'scope']
      const answered = await post(
        login.codeEndpoint,
        {
          ...(parameters.includes('client_id') ? { client_id: provider.client.id } : {}),
          ...(parameters.includes('scope') && scopes.length > 0 ? { scope: formatScope(scopes) } : {}),
        },
        [],
      )
      const { body, status = 0 } = answered
      if (body === null) {
        const isDisabled = login.disabledStatuses?.includes(status) === true && answered.outcome.kind !== 'limited'
        throw isDisabled ? unavailable(request, metadata) : failed(answered.outcome, login.codeEndpoint)
      }
      const [deviceCode, userCode] = [textNamed(body, 'device_code', names), textNamed(body, 'user_code', names)]
      if (deviceCode === undefined || userCode === undefined) throw invalid('its device login brings no code')
      const verificationUri = login.verificationUri ?? textNamed(body, 'verification_uri', names)
      if (verificationUri === undefined) throw invalid('its device login names no page')
      const complete = textNamed(body, 'verification_uri_complete', names)
      return {
        device_code: deviceCode,
        user_code: userCode,
        verification_uri: verificationUri,
        ...(complete === undefined ? {} : { verification_uri_complete: complete }),
        expires_in: secondsOf(findNamed(body, 'expires_in', names)) ?? (login.lifetimeMs ?? defaultLifetimeMs) / 1000,
        interval: Math.max(secondsOf(findNamed(body, 'interval', names)) ?? 5, 1),
      }
    },

    async ask(issued) {
      const parameters = login.pollParameters ?? ['client_id', 'device_code']
      const members = { client_id: provider.client.id, device_code: issued.device_code, user_code: issued.user_code }
      const answered = await post(
        login.pollEndpoint,
        Object.fromEntries(parameters.map((each) => [each, members[each]])),
        [issued.device_code, issued.user_code],
      )
      const { body, status = 0 } = answered
      const isPending = login.pendingStatuses?.includes(status) === true
      // An error of RFC 8628, an edge, and a server in trouble say more than their status does.
      if (isPending && (body !== null || isUnexplained(answered.outcome)))
        return { kind: 'refused', status, error: 'authorization_pending' }
      if (body === null) return answered.outcome
      const [code, verifier] = [textNamed(body, 'code', names), textNamed(body, 'code_verifier', names)]
      if (code === undefined || verifier === undefined)
        return { kind: 'invalid', status, what: 'its device login brings no authorization code with a verifier' }
      return {
        kind: 'served',
        answer: {
          grantType: 'authorization_code',
          parameters: { code, redirect_uri: login.redirectUri, code_verifier: verifier },
        },
      }
    },
  }
}

function isUnexplained(outcome: Unserved): boolean {
  return outcome.kind !== 'limited' && nextPoll(outcome, 0).kind === 'failed'
}

/** This server, or this client there, has no login on another device; a browser somewhere will do instead. */
export function unavailable(
  { provider, account }: GrantRequest,
  metadata: AuthorizationServerMetadata,
): AuthkeepError<'flow_unavailable'> {
  const alternatives = metadata.authorization_endpoint === undefined ? [] : ['paste', 'browser']
  return new AuthkeepError('flow_unavailable', { provider: provider.id, account, unavailable: 'device', alternatives })
}
