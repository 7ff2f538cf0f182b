import type { Provider } from '../provider.ts'
import type { Product } from './options.ts'

/** OpenRouter, whose login brings an API key. */
export const openrouter = ({ product = 'authkeep' }: Product = {}): Provider => ({
  id: 'openrouter',
  issuer: 'https://openrouter.ai',
  metadata: {
    authorization_endpoint: 'https://openrouter.ai/auth',
    token_endpoint: 'https://openrouter.ai/api/v1/auth/keys',
  },
  client: { id: product },
  redirect: { host: 'localhost' },
  keyLogin: {
    encoding: 'json',
    authorizationParameters: [],
    exchangeParameters: ['code_challenge_method'],
    members: { redirect_uri: ['callback_url'] },
  },
  endpoints: [{ url: 'https://openrouter.ai/api/v1/*', accepts: ['api_key'], service: 'openrouter' }],
  environment: { OPENROUTER_API_KEY: 'api_key' },
})
