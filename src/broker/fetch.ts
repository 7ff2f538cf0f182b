import { isAuthkeepError } from '../errors.ts'
import { type Refusal, readChallenges } from '../grant/challenge.ts'
import { dpopNonces } from '../grant/dpop.ts'
import { edgeOf } from '../grant/edge.ts'
import { missingScopes } from '../scope.ts'
import type { BrokeredToken } from './access-token.ts'
import { beginningOf } from './beginning.ts'
import type { EdgeCookies } from './edge-cookies.ts'
import type { Learned } from './requirement.ts'

/** What a call needs of the broker. */
export interface CallSource {
  /** `needs`: what an API has just said it wants, to be there without fail. */
  getToken(options: { readonly rejected?: string; readonly needs?: Learned }): Promise<BrokeredToken>
  /** Remembers what the endpoint of a token turned out to need. */
  learn(token: BrokeredToken, lesson: Learned): Promise<void>
  /** Those that endpoints declare; they go where the token goes. */
  readonly cookies: EdgeCookies
}

/** A call as it was asked for, taken apart so that it can be made again. */
export interface Call {
  readonly url: string
  readonly method: string
  readonly signal: AbortSignal
  /** As the caller gave them; the content type of a body that is sent again has to be made again, too. */
  readonly headers: Headers
  readonly redirect: Request['redirect']
  /** Whether the body is still there once it was sent: a string, bytes, a form, a blob, or none at all. */
  readonly isRepeatable: boolean
  /** The request anew; of a body that is not repeatable, once. */
  readonly build: (over: { url: string; method: string; headers: Headers; body: boolean }) => Request
}

/** @throws TypeError as `new Request` does, and for one that carries an Authorization header already */
export function readCall(input: string | URL | Request, init: RequestInit = {}): Call {
  const first = new Request(input, init)
  if (first.headers.has('authorization')) throw new TypeError('the request carries an Authorization header already')
  const body = init.body ?? null
  const isRepeatable = first.body === null || isKept(body)
  const { url, method, signal, redirect } = first
  const headers = new Headers(init.headers ?? (input instanceof Request ? input.headers : undefined))
  // The one that a server goes by is that of the URL, whatever `fetch` the broker was given.
  headers.delete('host')
  return {
    ...{ url, method, signal, redirect, isRepeatable },
    headers,
    build: (over) => {
      const common = { method: over.method, headers: over.headers, redirect: 'manual', signal } as const
      if (!isRepeatable && over.body) return new Request(first, common)
      return new Request(over.url, { ...init, ...common, body: over.body ? body : null })
    },
  }
}

/** Whether a body is still there once it was sent. */
export function isKept(body: unknown): boolean {
  const kinds = [URLSearchParams, FormData, Blob, ArrayBuffer]
  return typeof body === 'string' || ArrayBuffer.isView(body) || kinds.some((kind) => body instanceof kind)
}

/**
 * A call with the right token. What an API refuses is tried once more with what it asks for: another token in place of
 * one that it calls invalid, more scopes, a stronger login, a DPoP proof with its nonce; each of these once.
 *
 * A body that can be read only once is sent once; then the refusal is the answer, and what it says is remembered.
 */
export async function brokeredFetch(source: CallSource, send: typeof fetch, call: Call): Promise<Response> {
  const tried = new Set<string>()
  let token = await source.getToken({})
  for (;;) {
    const { response, url, isWithToken } = await follow(source.cookies, send, call, token)
    dpopNonces.keep(url, response.headers)
    if (!isWithToken || (response.status !== 401 && response.status !== 403)) return response
    const { status, headers } = response
    const text = await beginningOf(response, { bytes: readAtMost, ms: readForMs })
    // Nobody who knows the token has seen it: what is wrong is in front of the API.
    if (edgeOf({ status, headers, text }) !== null) return response
    const refusal = readChallenges(headers, text)
    const answer = answerTo(refusal, status, token)
    if (answer === null || tried.has(answer.kind)) return response
    tried.add(answer.kind)
    if (answer.kind === 'more') await source.learn(token, answer.needs)
    if (!call.isRepeatable) return response
    if (answer.kind !== 'nonce') {
      const next = await replacement(source, token, answer)
      if (next === null) return response
      token = next
    }
    await response.body?.cancel()
  }
}

/** How much of a refusal is read, and for how long, for what it says. */
const readAtMost = 16_384
const readForMs = 10_000

type Answer =
  | { readonly kind: 'nonce' }
  | { readonly kind: 'another' }
  | { readonly kind: 'more'; readonly needs: Learned }

/** What can be done about a refusal, by what it says; null: nothing, it is the caller's. */
function answerTo(refusal: Refusal, status: number, token: BrokeredToken): Answer | null {
  const { error, scopes = [], acrValues, maxAge } = refusal
  if (error === 'use_dpop_nonce') return token.type === 'DPoP' ? { kind: 'nonce' } : null
  // RFC 9470 §3
  if (error === 'insufficient_user_authentication') {
    const needs = { ...(acrValues === undefined ? {} : { acrValues }), ...(maxAge === undefined ? {} : { maxAge }) }
    return { kind: 'more', needs: { scopes: [], ...needs } }
  }
  // RFC 6750 §3.1 has a code for it; some APIs only say which scopes are missing.
  if (error !== 'invalid_token' && missingScopes(scopes, token.scopes).length > 0) {
    return { kind: 'more', needs: { scopes } }
  }
  return status === 401 && (error === undefined || error === 'invalid_token') ? { kind: 'another' } : null
}

/**
 * Another token, or null where there is none to be had now.
 *
 * @throws AuthkeepError when a person has to log in
 */
async function replacement(source: CallSource, token: BrokeredToken, answer: Answer): Promise<BrokeredToken | null> {
  const refused = token.reveal()
  try {
    const next = await source.getToken(answer.kind === 'more' ? { needs: answer.needs } : { rejected: refused })
    return next.reveal() === refused ? null : next
  } catch (error) {
    if (!isAuthkeepError(error) || error.remedy === 'authorize') throw error
    return null
  }
}

interface Followed {
  readonly response: Response
  /** Where it comes from, after redirects. */
  readonly url: string
  /** Whether the token went there. */
  readonly isWithToken: boolean
}

const mostRedirects = 20
const redirects: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])

/**
 * Redirects as in the Fetch standard (HTTP-redirect fetch), followed here because `fetch` would take only the
 * Authorization header off on the way to another origin: the token goes, the proof for it and the headers that its
 * endpoint declares go with it, as do cookies that are kept, and none of them comes back.
 */
async function follow(cookies: EdgeCookies, send: typeof fetch, call: Call, token: BrokeredToken): Promise<Followed> {
  let { url, method } = call
  const headers = new Headers(call.headers)
  let body = true
  let isWithToken = true
  for (let hops = 0; ; hops++) {
    const sent = new Headers(headers)
    if (isWithToken) {
      const carried = await token.headers({ method, url })
      for (const [name, value] of Object.entries(carried)) sent.set(name, value)
      await cookies.attach(token.provider, url, sent)
    }
    const response = await send(call.build({ url, method, headers: sent, body }))
    if (isWithToken) await cookies.keep(token.provider, url, response.headers)
    const location = redirects.has(response.status) ? response.headers.get('location') : null
    if (location === null || call.redirect === 'manual') {
      if (hops > 0) Object.defineProperty(response, 'redirected', { value: true })
      return { response, url, isWithToken }
    }
    await response.body?.cancel()
    const next = new URL(location, url)
    if (call.redirect === 'error') throw new TypeError('the answer is a redirect')
    if (hops === mostRedirects) throw new TypeError('too many redirects')
    if (!/^https?:$/.test(next.protocol)) throw new TypeError('a redirect leads out of HTTP')
    const { status } = response
    const becomesGet = status === 303 ? method !== 'HEAD' : status < 303 && method === 'POST'
    if (becomesGet) {
      method = 'GET'
      body = false
      for (const name of ['content-encoding', 'content-language', 'content-location', 'content-type']) {
        headers.delete(name)
      }
    } else if (!call.isRepeatable) {
      throw new TypeError('a body that can be read only once cannot follow a redirect')
    }
    if (next.origin !== new URL(url).origin) {
      isWithToken = false
      for (const name of ['authorization', 'proxy-authorization', 'cookie']) headers.delete(name)
    }
    isWithToken &&= token.isFor(next)
    url = next.href
  }
}
