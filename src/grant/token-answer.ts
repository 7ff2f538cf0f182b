import { type Json, type JsonObject, Secret } from '../credential.ts'
import { parseScope, scopeSet } from '../scope.ts'
import type { TokenAnswer } from './flow.ts'

/** What a token was asked for, which fills in what its answer may leave out. */
export interface TokenContext {
  /** Granted if the answer has no `scope` (RFC 6749 §5.1, §6). */
  readonly requestedScopes: readonly string[]
  readonly resource: string | null
  /** `sub` of the ID token that came along, already validated; null where there was none. */
  readonly subject: string | null
  /** When the answer arrived, Unix milliseconds; lifetimes count from here. */
  readonly obtainedAt: number
  /** What stands between two scopes of the answer; default a space (RFC 6749 §3.3). */
  readonly scopeSeparator?: ',' | undefined
  /** Headers of the answer. */
  readonly headers: Headers
}

/** Schemes as their RFCs spell them; a server may use any case (RFC 6749 §5.1). */
const tokenTypes: Readonly<Record<string, string>> = { bearer: 'Bearer', dpop: 'DPoP' }

/**
 * A token endpoint answer in our names. It does not validate: the body must have passed openid-client. `expires_in`
 * may be a numeric string, as some servers send it.
 */
export function tokenAnswer(body: JsonObject, context: TokenContext): TokenAnswer {
  const { scope, token_type: type } = body
  const { obtainedAt } = context
  const serverTime = Date.parse(context.headers.get('date') ?? '')
  const after = (seconds: number | null): number | null => (seconds === null ? null : obtainedAt + seconds * 1000)
  return {
    accessToken: secretOf(body['access_token']) ?? new Secret(''),
    tokenType: typeof type === 'string' ? (tokenTypes[type.toLowerCase()] ?? type) : 'Bearer',
    ...(typeof scope === 'string'
      ? { scopes: parseScope(scope.replaceAll(context.scopeSeparator ?? ' ', ' ')), evidence: 'response' as const }
      : { scopes: scopeSet(context.requestedScopes), evidence: 'assumed' as const }),
    resource: context.resource,
    expiresAt: after(secondsOf(body['expires_in'])),
    refreshToken: secretOf(body['refresh_token']),
    refreshExpiresAt: after(positive(body['refresh_token_expires_in']) ?? positive(body['refresh_expires_in'])),
    idToken: secretOf(body['id_token']),
    subject: context.subject,
    obtainedAt,
    ...(Number.isNaN(serverTime) ? {} : { serverTime }),
  }
}

function secretOf(value: Json | undefined): Secret | null {
  return typeof value === 'string' && value !== '' ? new Secret(value) : null
}

/** A number of seconds, which some servers send as a string; null if it is none. */
export function secondsOf(value: unknown): number | null {
  const seconds = typeof value === 'string' ? Number.parseFloat(value) : value
  return typeof seconds === 'number' && Number.isFinite(seconds) && seconds >= 0 ? seconds : null
}

/** Zero means "never" to the servers that send these members, so only a positive number is a limit. */
function positive(value: Json | undefined): number | null {
  const seconds = secondsOf(value)
  return seconds === null || seconds === 0 ? null : seconds
}
