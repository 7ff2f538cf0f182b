// The openai package with brokered tokens. BASE_URL defaults to OpenAI's own.
import { join } from 'node:path'
import { apiKeyFunction, homeDirectory, loadProviders, openStore, sdkFetch, TokenBroker } from 'authkeep'
import OpenAI from 'openai'
import { converse } from './conversation.ts'

const baseURL = process.env['BASE_URL'] ?? 'https://api.openai.com/v1'
const store = await openStore()
const { providers } = await loadProviders(join(homeDirectory(), 'providers'))
const broker = new TokenBroker({ store, providers })
const openai = new OpenAI({
  baseURL,
  apiKey: apiKeyFunction(broker.source(`${baseURL}/responses`)),
  fetch: sdkFetch(broker),
})

await converse(async (input) => (await openai.responses.create({ model: 'gpt-5', input })).output_text)
await broker.close()
await store.close()
