import { type AccessToken, isAuthkeepError, openStore, type Provider, Secret, TokenBroker } from 'authkeep'
import type { McpClientProvider, McpServers } from 'authkeep/mcp'
import * as testing from 'authkeep/testing'

const provider: Provider = {
  id: 'acme',
  issuer: 'https://as.example',
  client: { id: 'cli' },
  endpoints: [{ url: 'https://api.example/*', scopes: ['files:read'], accepts: ['oauth'] }],
}

export async function bearer(url: string): Promise<string> {
  const store = await openStore({ path: '/tmp/auth.json' })
  await store.update({ provider: 'acme', account: 'default' }, (current) => current ?? undefined)
  const broker = new TokenBroker({ store, providers: [provider] })
  try {
    const token: AccessToken = await broker.getToken(url, { minTtlMs: 60_000 })
    return `Bearer ${token.reveal()}`
  } catch (error) {
    if (isAuthkeepError(error, 'scope_missing')) throw new Error(`ask for ${error.detail.missing.join(' ')}`)
    // @ts-expect-error: a code that does not exist
    if (isAuthkeepError(error, 'scope_mising')) return ''
    throw error
  }
}

export function mcpProvider(servers: McpServers): McpClientProvider {
  const options = { redirectUrl: 'http://127.0.0.1:8080/callback', redirectToAuthorization: (): void => undefined }
  return servers.clientProvider('https://mcp.example/mcp', options)
}

// @ts-expect-error: a secret is not a string
export const leak: string = new Secret('x')
export { testing }
