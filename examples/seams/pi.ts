// pi-ai with its credentials in authkeep: the models of `demo` with tokens of the broker, those of `own` with a login that
// only pi knows how to refresh. A line is `demo <prompt>`, `own <prompt>`, or `login <refresh token>` for `own`.
import { join } from 'node:path'
import { type Api, createModels, createProvider, type Model, type OAuthAuth } from '@earendil-works/pi-ai'
import { openAIResponsesApi } from '@earendil-works/pi-ai/api/openai-responses.lazy'
import { homeDirectory, loadProviders, openStore, TokenBroker } from 'authkeep'
import { piCredentialStore } from 'authkeep/pi'
import { converse } from './conversation.ts'

const baseURL = process.env['BASE_URL'] ?? 'https://api.openai.com/v1'
const tokenEndpoint = process.env['TOKEN_ENDPOINT'] ?? 'https://login.example/token'
const clientId = process.env['CLIENT_ID'] ?? 'my-registered-client'

const store = await openStore()
const { providers } = await loadProviders(join(homeDirectory(), 'providers'))
const broker = new TokenBroker({ store, providers })

const credentials = piCredentialStore({
  store,
  broker,
  providers: { demo: { provider: 'demo', url: `${baseURL}/responses` } },
})
const models = createModels({ credentials })

/** What a provider of pi brings with it. */
const oauth: OAuthAuth = {
  name: 'Own',
  login: async ({ prompt }) => ({
    ...{ type: 'oauth', refresh: await prompt({ type: 'secret', message: 'A refresh token' }), access: '', expires: 0 },
  }),
  async refresh({ refresh }) {
    const body = new URLSearchParams({ grant_type: 'refresh_token', refresh_token: refresh, client_id: clientId })
    const response = await fetch(tokenEndpoint, { method: 'POST', body })
    if (!response.ok) throw new Error(`the token endpoint of pi's provider says HTTP ${response.status}`)
    const answer = (await response.json()) as { access_token: string; refresh_token: string; expires_in: number }
    const expires = Date.now() + answer.expires_in * 1000
    return { type: 'oauth', access: answer.access_token, refresh: answer.refresh_token, expires }
  },
  toAuth: async ({ access }) => ({ apiKey: access }),
}
/** It must never be asked: the broker refreshes. */
const never: OAuthAuth = { ...oauth, refresh: async () => Promise.reject(new Error('pi has refreshed by itself')) }

for (const [id, auth] of Object.entries({ demo: never, own: oauth })) {
  const model: Model<Api> = {
    ...{ id: 'gpt-5', name: 'GPT-5', api: 'openai-responses', provider: id, baseUrl: baseURL, reasoning: false },
    ...{ input: ['text'], contextWindow: 100_000, maxTokens: 1_000 },
    cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 },
  }
  models.setProvider(createProvider({ id, auth: { oauth: auth }, models: [model], api: openAIResponsesApi() }))
}

await converse(async (line) => {
  const [word = '', content = ''] = line.split(' ', 2)
  if (word === 'login') {
    await models.login('own', 'oauth', { prompt: async () => content, notify: () => undefined })
    return 'logged in'
  }
  const model = models.getModel(word, 'gpt-5')
  if (model === undefined) throw new Error(`there is no ${word}`)
  const answer = await models.complete(model, { messages: [{ role: 'user', content, timestamp: Date.now() }] })
  if (answer.stopReason === 'error') throw new Error(answer.errorMessage)
  return answer.content.map((part) => (part.type === 'text' ? part.text : '')).join('')
})
await credentials.close()
await broker.close()
await store.close()
