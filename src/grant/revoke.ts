import type { Secret } from '../credential.ts'
import type { AuthorizationServerMetadata, Provider } from '../provider.ts'
import { configure } from './configuration.ts'
import { watchPost } from './token-endpoint.ts'

export interface RevocationRequest {
  readonly provider: Provider
  readonly metadata: AuthorizationServerMetadata
  readonly token: Secret
  /** RFC 7009 §2.1; only a hint. */
  readonly hint: 'refresh_token' | 'access_token'
  readonly fetch: typeof fetch
  readonly timeoutMs: number
}

/**
 * Revokes a token at the server (RFC 7009). `revoked` is true only when the server has confirmed it; otherwise the token
 * may still work, and `reason` says in one word why. No answer of the server and no failure of the network throws.
 */
export async function revokeToken(request: RevocationRequest): Promise<{ revoked: boolean; reason?: string }> {
  const { provider, metadata, token, hint, timeoutMs } = request
  if (metadata.revocation_endpoint === undefined) return { revoked: false, reason: 'no_revocation_endpoint' }
  const client = await import('openid-client')
  const post = watchPost({
    fetch: request.fetch,
    now: Date.now,
    timeoutMs,
    secrets: [token.reveal(), provider.client.secret ?? ''],
  })
  const config = await configure(provider, metadata, post.fetch)
  try {
    await client.tokenRevocation(config, token.reveal(), { token_type_hint: hint })
  } catch (error) {
    const exchange = post.exchange()
    if (exchange.stage === 'failed') return { revoked: false, reason: exchange.failure.cause }
    if (exchange.stage !== 'answered') throw error
    // RFC 7009 §2.2: the body of a 200 means nothing, so one that is no JSON object is as good as any.
    if (exchange.status === 200) return { revoked: true }
    const { answer, status } = exchange
    if (answer.kind === 'object') return { revoked: false, reason: `http_${status}` }
    return { revoked: false, reason: 'cause' in answer ? answer.cause : answer.error }
  }
  return { revoked: true }
}
