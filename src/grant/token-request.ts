import type * as openidClient from 'openid-client'
import type { Configuration, TokenEndpointResponse, TokenEndpointResponseHelpers } from 'openid-client'
import type { JsonObject, Secret } from '../credential.ts'
import type { AuthorizationServerMetadata, Provider } from '../provider.ts'
import { formatScope } from '../scope.ts'
import { complaintOf } from './complaint.ts'
import { configure, keepKeys } from './configuration.ts'
import type { DpopKey } from './dpop.ts'
import type { Edge } from './edge.ts'
import type { TokenAnswer } from './flow.ts'
import { tokenAnswer } from './token-answer.ts'
import { type Exchange, watchPost } from './token-endpoint.ts'

/** What every request to a token endpoint comes with. */
export interface TokenRequest {
  readonly provider: Provider
  /** Discovered before, so that nothing but the POST happens here. */
  readonly metadata: AuthorizationServerMetadata
  /** What the new token may be assumed to have when the answer leaves `scope` out (RFC 6749 §5.1, §6). */
  readonly requestedScopes: readonly string[]
  /** RFC 8707. */
  readonly resource: string | null
  /** Proven with the request; the key of a refresh token that is bound to one (RFC 9449 §5). */
  readonly dpopKey?: DpopKey | undefined
  readonly fetch: typeof fetch
  /** Unix milliseconds. */
  readonly now: () => number
  /** For the whole request including its body; tied to nobody's signal. */
  readonly timeoutMs: number
}

/** One refresh (RFC 6749 §6): what is sent, and the two moments at which the caller is asked. */
export interface RefreshRequest extends TokenRequest {
  readonly refreshToken: Secret
  /** Sent only when given, to narrow. */
  readonly scopes?: readonly string[]
  /** A new ID token must be about this subject (OpenID Connect Core §12.2). */
  readonly expectedSubject: string | null
  /** If a new ID token names a nonce, then this one (OpenID Connect Core §12.2). */
  readonly expectedNonce?: string | undefined
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

/** What became of a token request, in terms of the refresh token, code or subject token that was sent. */
export type TokenOutcome =
  | { readonly kind: 'served'; readonly answer: TokenAnswer }
  /** Certainly unspent: nothing left this machine, or nobody was there to take it. */
  | { readonly kind: 'not_sent'; readonly cause: string; readonly proxy?: string }
  /** Unspent: the server, or an edge in front of it, asks for patience. */
  | {
      readonly kind: 'limited'
      readonly status: number
      readonly cause: string
      readonly retryAfterMs?: number
      /** Who has answered in place of the server. */
      readonly edge?: Edge
    }
  /** The server says that what was sent is dead. */
  | { readonly kind: 'rejected'; readonly status: number; readonly error: string; readonly description?: string }
  /** Unspent: the request is wrong, not the token. */
  | { readonly kind: 'refused'; readonly status: number; readonly error: string; readonly description?: string }
  /** Sent, and whether it was spent is not known. `error` is the OAuth error code, where there is one. */
  | {
      readonly kind: 'ambiguous'
      readonly status?: number
      readonly cause: string
      readonly error?: string
      readonly description?: string
    }
  /** Answered and handed to `onAnswer`, but the answer cannot be trusted. */
  | { readonly kind: 'invalid'; readonly status: number; readonly what: string }

/** What became of a refresh. */
export type RefreshOutcome = TokenOutcome

/**
 * Spends a refresh token: one POST, no redirect followed, never repeated but for a refused DPoP proof. Every answer of
 * the server and every failure of the network is an outcome; it rejects only with what `beforeSend` or `onAnswer` threw,
 * or before anything is sent (AuthkeepError `response_invalid` for metadata that must not be used).
 */
export async function refresh(request: RefreshRequest): Promise<RefreshOutcome> {
  const { refreshToken, scopes, resource, provider } = request
  const { encoding = 'form', deadErrors } = provider.refresh ?? {}
  const parameters = {
    ...(scopes === undefined ? {} : { scope: formatScope(scopes) }),
    ...(resource === null ? {} : { resource }),
  }
  return requestToken({ ...request, encoding, deadErrors, secrets: [refreshToken.reveal()] }, (client, config) =>
    client.refreshTokenGrant(config, refreshToken.reveal(), parameters),
  )
}

/** What one kind of grant adds to a request. */
export interface GrantedRequest extends TokenRequest, Partial<Pick<RefreshRequest, 'beforeSend' | 'onAnswer'>> {
  readonly expectedSubject?: string | null
  readonly expectedNonce?: string | undefined
  readonly encoding?: 'form' | 'json'
  readonly deadErrors?: readonly string[] | undefined
  /** What error descriptions must not repeat, besides the client's secret. */
  readonly secrets: readonly string[]
}

type Granted = TokenEndpointResponse & TokenEndpointResponseHelpers
type Client = typeof openidClient

/**
 * Makes one token request with one of openid-client's grants, and says what became of it. Rejects with what
 * `beforeSend` or `onAnswer` threw, or with whatever came before anything was sent.
 */
export async function requestToken(
  request: GrantedRequest,
  grant: (client: Client, config: Configuration) => Promise<Granted>,
): Promise<TokenOutcome> {
  const client = await import('openid-client')
  const { provider, metadata } = request
  const post = watchPost({ ...request, secrets: [...request.secrets, provider.client.secret ?? ''] })
  const config = await configure(provider, metadata, post.fetch)
  config.timeout = request.timeoutMs / 1000
  let granted: Granted | undefined
  let complaint: unknown
  try {
    granted = await grant(client, config)
    await keepKeys(config, metadata)
  } catch (error) {
    complaint = error
  }
  // OpenID Connect Core §3.1.3.7, 6: of an ID token that comes straight from the token endpoint, TLS may vouch for the
  // issuer in place of the signature. It does where the keys cannot be had; everything else is checked as ever.
  if (granted === undefined && post.isWithoutKeys()) {
    try {
      granted = await grant(client, await configure(provider, metadata, post.again, true))
    } catch (error) {
      complaint = error
    }
  }
  return conclude(post.exchange(), granted, complaint, request)
}

function conclude(
  exchange: Exchange,
  granted: Granted | undefined,
  complaint: unknown,
  request: GrantedRequest,
): TokenOutcome {
  if (granted === undefined || exchange.stage !== 'answered' || exchange.answer.kind !== 'object')
    return unserved(exchange, complaint)
  const { answer, status } = exchange
  const subject = granted.claims()?.sub ?? null
  const { expectedSubject = null } = request
  if (subject !== null && expectedSubject !== null && subject !== expectedSubject) {
    return { kind: 'invalid', status, what: 'its ID token is about another subject' }
  }
  const nonce = granted.claims()?.nonce
  if (nonce !== undefined && request.expectedNonce !== undefined && nonce !== request.expectedNonce) {
    return { kind: 'invalid', status, what: 'its ID token is of another login' }
  }
  const { requestedScopes, resource } = request
  const token = tokenAnswer(answer.body, {
    requestedScopes,
    resource,
    subject,
    obtainedAt: exchange.at,
    scopeSeparator: request.provider.scopeSeparator,
    headers: exchange.headers,
  })
  const what = wrongBinding(token, request)
  return what === undefined ? { kind: 'served', answer: token } : { kind: 'invalid', status, what }
}

/**
 * What became of a request that has not brought what was asked for. Throws what stopped it, or, if it was never sent,
 * the complaint.
 */
export function unserved(exchange: Exchange, complaint: unknown): Exclude<TokenOutcome, { kind: 'served' }> {
  switch (exchange.stage) {
    case 'unsent':
      throw complaint
    case 'stopped':
      throw exchange.error
    case 'failed': {
      const { failure, status } = exchange
      const { sent, ...unsent } = failure
      if (!sent) return { kind: 'not_sent', ...unsent }
      return { kind: 'ambiguous', ...(status === undefined ? {} : { status }), cause: failure.cause }
    }
    case 'answered': {
      const { answer, status } = exchange
      if (answer.kind !== 'object') return { ...answer }
      return { kind: 'invalid', status, what: complaintOf(complaint, answer.body) }
    }
  }
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
