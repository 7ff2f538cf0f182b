import type { Secret } from '../credential.ts'
import type { AuthorizationServerMetadata, Provider } from '../provider.ts'
import { parseScope } from '../scope.ts'
import { configure } from './configuration.ts'
import { watchPost } from './token-endpoint.ts'

export interface IntrospectionRequest {
  readonly provider: Provider
  readonly metadata: AuthorizationServerMetadata
  readonly token: Secret
  /** RFC 7662 §2.1; only a hint. */
  readonly hint: 'refresh_token' | 'access_token'
  readonly fetch: typeof fetch
  readonly timeoutMs: number
}

/**
 * The scopes that the server says a token has (RFC 7662), or null where it does not say: no introspection endpoint,
 * no answer, not for us, not active. Never throws for what a server or the network does.
 */
export async function introspectScopes(request: IntrospectionRequest): Promise<readonly string[] | null> {
  const { provider, metadata, token, hint, timeoutMs } = request
  if (metadata.introspection_endpoint === undefined) return null
  const client = await import('openid-client')
  const post = watchPost({ fetch: request.fetch, now: Date.now, timeoutMs, secrets: [] })
  const config = await configure(provider, metadata, post.fetch)
  try {
    const { active, scope } = await client.tokenIntrospection(config, token.reveal(), { token_type_hint: hint })
    return active && typeof scope === 'string' ? parseScope(scope) : null
  } catch {
    return null
  }
}
