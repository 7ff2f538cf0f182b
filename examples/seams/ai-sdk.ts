// The AI SDK with brokered tokens, streamed. BASE_URL defaults to OpenAI's own.
import { join } from 'node:path'
import { createOpenAI } from '@ai-sdk/openai'
import { streamText } from 'ai'
import { homeDirectory, loadProviders, openStore, sdkFetch, TokenBroker } from 'authkeep'
import { converse } from './conversation.ts'

const baseURL = process.env['BASE_URL'] ?? 'https://api.openai.com/v1'
const store = await openStore()
const { providers } = await loadProviders(join(homeDirectory(), 'providers'))
const broker = new TokenBroker({ store, providers })
// The SDK wants a key to be there; it never leaves this process.
const openai = createOpenAI({ baseURL, apiKey: 'kept by authkeep', fetch: sdkFetch(broker) })

await converse(async (prompt) => {
  let failure: unknown
  const { textStream } = streamText({
    model: openai('gpt-5'),
    prompt,
    onError: ({ error }) => {
      failure = error
    },
  })
  let answer = ''
  for await (const text of textStream) answer += text
  if (failure !== undefined) throw failure
  return answer
})
await broker.close()
await store.close()
