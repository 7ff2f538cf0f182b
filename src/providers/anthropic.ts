import type { Provider } from '../provider.ts'
import type { Product } from './options.ts'

/** The Anthropic API, with an API key in a header of its own, or with a static bearer token. */
export const anthropic = ({ product = 'authkeep' }: Product = {}): Provider => ({
  id: 'anthropic',
  issuer: 'https://api.anthropic.com',
  client: { id: product },
  apiKeyHeader: 'x-api-key',
  endpoints: [
    {
      url: 'https://api.anthropic.com/*',
      accepts: ['api_key', 'token'],
      service: 'anthropic-messages',
      headers: { 'anthropic-version': '2023-06-01' },
    },
  ],
  environment: { ANTHROPIC_API_KEY: 'api_key', ANTHROPIC_AUTH_TOKEN: 'token' },
})
