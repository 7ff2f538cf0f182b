import type { Secret } from '../credential.ts'
import type { AuthorizationServerMetadata, Provider } from '../provider.ts'
import { retryAfter } from './classify.ts'
import { configure } from './configuration.ts'
import { type Exchange, watchPost } from './token-endpoint.ts'

export interface RevocationRequest {
  readonly provider: Provider
  readonly metadata: AuthorizationServerMetadata
  readonly token: Secret
  /** RFC 7009 §2.1; only a hint. */
  readonly hint: 'refresh_token' | 'access_token'
  readonly fetch: typeof fetch
  readonly timeoutMs: number
}

export type RevocationOutcome =
  /** The server says that the token is of no use any more. */
  | { readonly kind: 'confirmed' }
  /** The token may still work, and `reason` says in one word why. After `retryAfterMs`, if the server names a time. */
  | { readonly kind: 'unconfirmed'; readonly reason: string; readonly status?: number; readonly retryAfterMs?: number }
  /** The server revokes nothing, or no tokens of this kind. */
  | { readonly kind: 'not_supported' }

/**
 * Revokes a token at the server (RFC 7009). Only what the server has confirmed is so: whoever keeps the token must keep
 * it until then, because a 503 means that it still exists (§2.2.1). No answer of the server and no failure of the network
 * throws.
 */
export async function revokeToken(request: RevocationRequest): Promise<RevocationOutcome> {
  const { provider, metadata, token, hint, timeoutMs } = request
  if (metadata.revocation_endpoint === undefined) return { kind: 'not_supported' }
  const client = await import('openid-client')
  const post = watchPost({
    fetch: request.fetch,
    now: Date.now,
    timeoutMs,
    encoding: provider.revocation?.encoding ?? 'form',
    secrets: [token.reveal(), provider.client.secret ?? ''],
  })
  const config = await configure(provider, metadata, post.fetch)
  try {
    await client.tokenRevocation(config, token.reveal(), { token_type_hint: hint })
  } catch (complaint) {
    return conclude(post.exchange(), complaint)
  }
  return { kind: 'confirmed' }
}

function conclude(exchange: Exchange, complaint: unknown): RevocationOutcome {
  switch (exchange.stage) {
    case 'unsent':
      throw complaint
    case 'stopped':
      throw exchange.error
    case 'failed':
      return { kind: 'unconfirmed', reason: exchange.failure.cause }
    case 'answered':
      break
  }
  const { answer, status, headers, at } = exchange
  if ('error' in answer && answer.error === 'unsupported_token_type') return { kind: 'not_supported' }
  const reason = answer.kind === 'object' ? `http_${status}` : 'cause' in answer ? answer.cause : answer.error
  // RFC 7009 §2.2: what a 200 brings besides means nothing, but a page that is not the server's own is no 200 of it.
  if (status === 200 && ['http_200', 'empty', 'not_json'].includes(reason)) return { kind: 'confirmed' }
  return { kind: 'unconfirmed', reason, status, ...retryAfter(headers, at) }
}
