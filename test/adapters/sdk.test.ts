import { describe, expect, it } from 'vitest'
import { anthropicCredentials, apiKeyFunction, sdkFetch } from '../../src/adapters/sdk.ts'
import type { AccessToken } from '../../src/broker/access-token.ts'
import type { TokenSource } from '../../src/broker/broker.ts'
import type { GetTokenOptions } from '../../src/broker/request.ts'

function sourceOf(
  tokens: readonly Partial<AccessToken>[],
): TokenSource & { readonly asked: (GetTokenOptions | undefined)[] } {
  const asked: (GetTokenOptions | undefined)[] = []
  return {
    asked,
    async getToken(options) {
      const token = tokens[asked.length]
      asked.push(options)
      return { type: 'Bearer', expiresAt: null, reveal: () => `token-${asked.length}`, ...token } as AccessToken
    },
  }
}

describe('what SDKs are handed', () => {
  it('apiKeyFunction asks each time', async () => {
    const source = sourceOf([{}, {}])
    const apiKey = apiKeyFunction(source)
    expect([await apiKey(), await apiKey()]).toEqual(['token-1', 'token-2'])
  })

  it('anthropicCredentials counts in whole seconds, never later than the token lives', async () => {
    const credentials = anthropicCredentials(sourceOf([{ expiresAt: 1_790_000_000_999 }, {}]))
    expect(await credentials()).toEqual({ token: 'token-1', expiresAt: 1_790_000_000 })
    expect(await credentials()).toEqual({ token: 'token-2', expiresAt: null })
  })

  it('anthropicCredentials names the token it gave last as refused, and none before it gave one', async () => {
    const source = sourceOf([{}, {}, {}])
    const credentials = anthropicCredentials(source)
    await credentials({ forceRefresh: true })
    await credentials()
    await credentials({ forceRefresh: true })
    expect(source.asked).toEqual([{}, {}, { rejected: 'token-2' }])
  })

  it.each([apiKeyFunction, anthropicCredentials])('a DPoP token is no string: %o', async (adapter) => {
    await expect(adapter(sourceOf([{ type: 'DPoP' }]))()).rejects.toMatchObject({ code: 'not_supported' })
  })

  it('sdkFetch takes off whatever the SDK took for its credential, and nothing else', async () => {
    const sent: Headers[] = []
    const send = sdkFetch({
      fetch: async (_, init) => {
        sent.push(new Headers(init?.headers))
        return new Response()
      },
    })
    const headers = {
      Authorization: 'Bearer x',
      'X-Api-Key': 'x',
      'api-key': 'x',
      'x-goog-api-key': 'x',
      'x-kept': 'y',
    }
    await send('https://api.example/', { headers })
    await send(new Request('https://api.example/', { headers }))
    expect(sent.map((each) => [...each])).toEqual([[['x-kept', 'y']], [['x-kept', 'y']]])
  })
})
