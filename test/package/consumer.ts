import { type AccessToken, isAuthkeepError, openStore, type Provider, Secret, TokenBroker } from 'authkeep'
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

// @ts-expect-error: a secret is not a string
export const leak: string = new Secret('x')
export { testing }
