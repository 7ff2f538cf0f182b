import type { Target } from '../endpoint.ts'
import type { AccessToken } from './access-token.ts'

/** Whoever can hand out a token for a URL. */
interface Source {
  getToken(target: Target, options?: { signal?: AbortSignal }): Promise<AccessToken>
}

/**
 * One request with the token that its URL needs. The token is looked up for the URL that is asked for, and `fetch`
 * itself takes the Authorization header off when a redirect leaves the origin (Fetch standard, HTTP-redirect fetch).
 */
export async function brokeredFetch(
  source: Source,
  send: typeof fetch,
  input: string | URL | Request,
  init?: RequestInit,
): Promise<Response> {
  const request = new Request(input, init)
  if (request.headers.has('authorization')) throw new TypeError('the request carries an Authorization header already')
  const token = await source.getToken(request.url, { signal: request.signal })
  const headers = await token.headers({ method: request.method, url: request.url })
  for (const [name, value] of Object.entries(headers)) request.headers.set(name, value)
  return send(request)
}
