import type { AccessToken } from '../broker/access-token.ts'
import type { TokenBroker, TokenSource } from '../broker/broker.ts'
import { AuthkeepError } from '../errors.ts'

/** Where SDKs put what they take for their credential. */
const credentialHeaders = ['authorization', 'x-api-key', 'api-key', 'x-goog-api-key']

/**
 * The `fetch` of an SDK: `new OpenAI({ fetch: sdkFetch(broker), … })`. Whatever credential the SDK attaches is taken off,
 * and what follows is `broker.fetch`: the right token for the URL, to declared hosts only, and one that the API refuses
 * is replaced and the request made again, once.
 *
 * @throws what `broker.fetch` rejects with; SDKs wrap it as the `cause` of an error of their own
 */
export function sdkFetch(broker: Pick<TokenBroker, 'fetch'>): typeof fetch {
  return async (input, init) => {
    const headers = new Headers(init?.headers ?? (input instanceof Request ? input.headers : undefined))
    for (const name of credentialHeaders) headers.delete(name)
    return broker.fetch(input, { ...init, headers })
  }
}

/**
 * For SDKs that ask for a string before every request, as `apiKey` of `openai` does. A cached token costs well under a
 * microsecond. The SDK decides where the string goes: `fetch: sdkFetch(broker)` beside it keeps it to declared hosts,
 * and is what helps when the API refuses it.
 *
 * @returns a function that rejects as `getToken` does; `not_supported` for a token that is more than a string (DPoP)
 */
export function apiKeyFunction(source: TokenSource): () => Promise<string> {
  return async () => plain(await source.getToken())
}

/** What `@anthropic-ai/sdk` takes as `credentials`; `expiresAt` in Unix seconds. */
export type AnthropicCredentials = (options?: {
  forceRefresh?: boolean
}) => Promise<{ token: string; expiresAt: number | null }>

/**
 * The `credentials` of `@anthropic-ai/sdk`, which keeps what it is given until shortly before it expires. When the API
 * refuses it the SDK asks with `forceRefresh`; that replaces the refused token once, however many clients hold it.
 *
 * @returns a function that rejects as `getToken` does; `not_supported` for a token that is more than a string (DPoP)
 */
export function anthropicCredentials(source: TokenSource): AnthropicCredentials {
  let last: AccessToken | undefined
  return async ({ forceRefresh = false } = {}) => {
    const token = await source.getToken(forceRefresh && last !== undefined ? { rejected: last.reveal() } : {})
    last = token
    const { expiresAt } = token
    return { token: plain(token), expiresAt: expiresAt === null ? null : Math.floor(expiresAt / 1000) }
  }
}

/**
 * A token as a string.
 *
 * @throws AuthkeepError `not_supported` for one that is more than that (DPoP)
 */
export function plain(token: AccessToken): string {
  if (token.type !== 'DPoP') return token.reveal()
  throw new AuthkeepError('not_supported', { feature: 'A DPoP token as a string, without a proof for each request' })
}
