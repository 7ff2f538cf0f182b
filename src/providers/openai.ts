import type { Provider } from '../provider.ts'
import type { Product } from './options.ts'

/** The OpenAI API, with an API key. */
export const openai = ({ product = 'authkeep' }: Product = {}): Provider => ({
  id: 'openai',
  issuer: 'https://api.openai.com',
  client: { id: product },
  endpoints: [{ url: 'https://api.openai.com/v1/*', accepts: ['api_key'], service: 'openai-responses' }],
  environment: { OPENAI_API_KEY: 'api_key' },
})
