import type { TokenEndpointResponse, TokenEndpointResponseHelpers } from 'openid-client'
import type { JsonObject, Secret } from '../credential.ts'
import type { AuthorizationServerMetadata, Provider } from '../provider.ts'
import { formatScope } from '../scope.ts'
import { configure, keepKeys } from './discovery.ts'
import type { DpopKey } from './dpop.ts'
import type { TokenAnswer } from './flow.ts'
import { tokenAnswer } from './token-answer.ts'
import { type Exchange, watchPost } from './token-endpoint.ts'

/** One refresh (RFC 6749 §6): what is sent, and the two moments at which the caller is asked. */
export interface RefreshRequest {
  readonly provider: Provider
  /** Discovered before, so that nothing but the POST happens here. */
  readonly metadata: AuthorizationServerMetadata
  readonly refreshToken: Secret
  /** Sent only when given, to narrow. */
  readonly scopes?: readonly string[]
  /** What the new token may be assumed to have when the answer leaves `scope` out (RFC 6749 §5.1, §6). */
  readonly requestedScopes: readonly string[]
  /** RFC 8707. */
  readonly resource: string | null
  /** Proven with the request; the key of a refresh token that is bound to one (RFC 9449 §5). */
  readonly dpopKey?: DpopKey | undefined
  /** A new ID token must be about this subject (OpenID Connect Core §12.2). */
  readonly expectedSubject: string | null
  readonly fetch: typeof fetch
  /** Unix milliseconds. */
  readonly now: () => number
  /** For the whole request including its body; tied to nobody's signal. */
  readonly timeoutMs: number
  /**
   * Called in the same tick immediately before `fetch`. If it throws, nothing was sent and the error is passed on. It is
   * called again before the second POST of a proof with a nonce; a throw there is a `limited` outcome.
   */
  readonly beforeSend: () => void
  /**
   * Awaited with the object of any 2xx answer before anything about it is judged: persist first, judge second. If it
   * rejects, that is what `refresh` rejects with.
   */
  readonly onAnswer: (body: JsonObject) => Promise<void>
}

/** What became of a refresh, in terms of the refresh token that was sent. */
export type RefreshOutcome =
  | { readonly kind: 'served'; readonly answer: TokenAnswer }
  /** Certainly unspent: nothing left this machine, or nobody was there to take it. */
  | { readonly kind: 'not_sent'; readonly cause: string }
  /** Unspent: the server, or an edge in front of it, asks for patience. */
  | { readonly kind: 'limited'; readonly status: number; readonly cause: string; readonly retryAfterMs?: number }
  /** The server says that the refresh token is dead. */
  | { readonly kind: 'rejected'; readonly status: number; readonly error: string; readonly description?: string }
  /** Unspent: the request is wrong, not the token. */
  | { readonly kind: 'refused'; readonly status: number; readonly error: string; readonly description?: string }
  /** Sent, and whether it was spent is not known. */
  | { readonly kind: 'ambiguous'; readonly status?: number; readonly cause: string }
  /** Answered and handed to `onAnswer`, but the answer cannot be trusted. */
  | { readonly kind: 'invalid'; readonly status: number; readonly what: string }

type Granted = TokenEndpointResponse & TokenEndpointResponseHelpers

/**
 * Spends a refresh token: one POST, no redirect followed, never repeated but for a refused DPoP proof. Every answer of the server and every failure
 * of the network is an outcome; it rejects only with what `beforeSend` or `onAnswer` threw, or before anything is sent
 * (AuthkeepError `not_supported`, `response_invalid` for metadata that must not be used).
 */
export async function refresh(request: RefreshRequest): Promise<RefreshOutcome> {
  const client = await import('openid-client')
  const { provider, metadata, refreshToken, scopes, resource } = request
  const post = watchPost({
    fetch: request.fetch,
    now: request.now,
    timeoutMs: request.timeoutMs,
    encoding: provider.refresh?.encoding ?? 'form',
    secrets: [refreshToken.reveal(), provider.client.secret ?? ''],
    dpopKey: request.dpopKey,
    beforeSend: request.beforeSend,
    onAnswer: request.onAnswer,
  })
  const config = await configure(provider, metadata, post.fetch)
  config.timeout = request.timeoutMs / 1000
  const parameters = {
    ...(scopes === undefined ? {} : { scope: formatScope(scopes) }),
    ...(resource === null ? {} : { resource }),
  }
  let granted: Granted | undefined
  let complaint: unknown
  try {
    granted = await client.refreshTokenGrant(config, refreshToken.reveal(), parameters)
    await keepKeys(config, metadata)
  } catch (error) {
    complaint = error
  }
  const exchange = post.exchange()
  if (exchange.stage === 'unsent') throw complaint
  return conclude(exchange, granted, complaint, request)
}

function conclude(
  exchange: Exclude<Exchange, { stage: 'unsent' }>,
  granted: Granted | undefined,
  complaint: unknown,
  request: RefreshRequest,
): RefreshOutcome {
  if (exchange.stage === 'stopped') throw exchange.error
  if (exchange.stage === 'failed') {
    const { failure, status } = exchange
    if (!failure.sent) return { kind: 'not_sent', cause: failure.cause }
    return { kind: 'ambiguous', ...(status === undefined ? {} : { status }), cause: failure.cause }
  }
  const { answer } = exchange
  if (answer.kind === 'ambiguous') return { kind: 'ambiguous', status: answer.status, cause: answer.cause }
  if (answer.kind !== 'object') return { ...answer }
  const { status } = exchange
  if (granted === undefined) return { kind: 'invalid', status, what: complaintOf(complaint, answer.body) }
  const subject = granted.claims()?.sub ?? null
  if (subject !== null && request.expectedSubject !== null && subject !== request.expectedSubject) {
    return { kind: 'invalid', status, what: 'its ID token is about another subject' }
  }
  const { requestedScopes, resource } = request
  const token = tokenAnswer(answer.body, {
    requestedScopes,
    resource,
    subject,
    obtainedAt: exchange.at,
    headers: exchange.headers,
  })
  const what = wrongBinding(token, request)
  return what === undefined ? { kind: 'served', answer: token } : { kind: 'invalid', status, what }
}

/** What is wrong with how a token is bound (RFC 9449 §5): to a key that nobody here has, or not to the one it has to be. */
export function wrongBinding(
  token: TokenAnswer,
  { provider, dpopKey }: { readonly provider: Provider; readonly dpopKey?: DpopKey | undefined },
): string | undefined {
  const isBound = token.tokenType === 'DPoP'
  if (isBound && dpopKey === undefined) return 'its token is bound to a key, and the request named none'
  return !isBound && provider.dpop === 'required' ? 'its token is not bound to our key' : undefined
}

/** openid-client's complaints about a token answer, by code; its messages may quote the answer, so none is passed on. */
const complaints: Readonly<Record<string, string>> = {
  OAUTH_JWT_CLAIM_COMPARISON_FAILED: 'its ID token is for somebody else, by somebody else, or not for this login',
  OAUTH_JWT_TIMESTAMP_CHECK_FAILED: 'its ID token is not valid at this time',
  OAUTH_KEY_SELECTION_FAILED: 'its ID token is signed with an unknown key',
  OAUTH_UNSUPPORTED_OPERATION: 'it uses a token type or signature algorithm that is not supported',
  OAUTH_RESPONSE_IS_NOT_CONFORM: 'its status is not the one that the protocol asks for',
  OAUTH_MISSING_SERVER_METADATA: 'its ID token cannot be checked, because the server metadata names no keys',
}

/** Says what openid-client holds against an answer, without quoting from it. */
export function complaintOf(complaint: unknown, body: JsonObject): string {
  const { code, cause } = complaint as { code?: unknown; cause?: { message?: unknown } }
  if (code === 'OAUTH_INVALID_RESPONSE') {
    const member = wrongMember(body)
    if (member !== undefined) return `its ${member} is missing or malformed`
    const message = typeof cause?.message === 'string' ? cause.message : ''
    return /signature/.test(message) ? 'its ID token has a wrong signature' : 'it does not follow the protocol'
  }
  if (typeof code === 'string' && complaints[code] !== undefined) return complaints[code]
  return body['id_token'] === undefined ? 'it does not follow the protocol' : 'its ID token could not be checked'
}

/** The member that makes a token answer malformed (RFC 6749 §5.1), or undefined. */
function wrongMember(body: JsonObject): string | undefined {
  const filled = (member: string): boolean => typeof body[member] === 'string' && body[member] !== ''
  const optional = (member: string): boolean => body[member] === undefined || filled(member)
  if (!filled('access_token')) return 'access_token'
  if (!filled('token_type')) return 'token_type'
  if (!optional('refresh_token')) return 'refresh_token'
  if (!optional('id_token')) return 'id_token'
  if (body['scope'] !== undefined && typeof body['scope'] !== 'string') return 'scope'
  const lifetime = body['expires_in']
  const seconds = typeof lifetime === 'string' ? Number.parseFloat(lifetime) : lifetime
  return seconds === undefined || (typeof seconds === 'number' && seconds >= 0) ? undefined : 'expires_in'
}
