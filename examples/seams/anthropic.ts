// The Anthropic package with brokered tokens. BASE_URL defaults to Anthropic's own.
import { join } from 'node:path'
import Anthropic from '@anthropic-ai/sdk'
import { anthropicCredentials, homeDirectory, loadProviders, openStore, TokenBroker } from 'authkeep'
import { converse } from './conversation.ts'

const baseURL = process.env['BASE_URL'] ?? 'https://api.anthropic.com'
const store = await openStore()
const { providers } = await loadProviders(join(homeDirectory(), 'providers'))
const broker = new TokenBroker({ store, providers })
const anthropic = new Anthropic({
  baseURL,
  credentials: anthropicCredentials(broker.source(`${baseURL}/v1/messages`)),
})

await converse(async (content) => {
  const message = await anthropic.messages.create({
    model: 'claude-sonnet-5',
    max_tokens: 100,
    messages: [{ role: 'user', content }],
  })
  return message.content.map((block) => (block.type === 'text' ? block.text : '')).join('')
})
await broker.close()
await store.close()
