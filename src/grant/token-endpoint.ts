import type { CustomFetch } from 'openid-client'
import { abortable } from '../abort.ts'
import type { JsonObject } from '../credential.ts'
import { type AnswerClass, classifyAnswer, classifyFailure, type Failure, type HttpAnswer } from './classify.ts'
import { type DpopKey, dpopNonces, dpopProof } from './dpop.ts'

/** One request to the token endpoint, and what we watch while it is made. */
export interface TokenPost {
  readonly fetch: typeof fetch
  readonly now: () => number
  readonly timeoutMs: number
  /** Default `form` (RFC 6749 §4.1.3, §6). */
  readonly encoding?: 'form' | 'json'
  /** What error descriptions must not repeat. */
  readonly secrets: readonly string[]
  /** Errors by which the server says that what was sent is dead, besides `invalid_grant`. */
  readonly deadErrors?: readonly string[] | undefined
  /** Proven with the request (RFC 9449 §5). */
  readonly dpopKey?: DpopKey | undefined
  /** Called in the same tick immediately before the request; a throw means that nothing was sent. */
  readonly beforeSend?: () => void
  /** Awaited with a 2xx object body before anybody judges it. */
  readonly onAnswer?: (body: JsonObject) => Promise<void>
}

/** How far a request got. */
export type Exchange =
  | { readonly stage: 'unsent' }
  | { readonly stage: 'failed'; readonly failure: Failure; readonly status?: number }
  | {
      readonly stage: 'answered'
      readonly answer: AnswerClass
      readonly status: number
      readonly headers: Headers
      readonly at: number
    }
  /** One of our hooks threw; the caller gets exactly that. */
  | { readonly stage: 'stopped'; readonly error: unknown }

/** A `fetch` for openid-client that makes one POST, plus what became of it. */
export interface WatchedPost {
  readonly fetch: CustomFetch
  readonly exchange: () => Exchange
  /** Whether the server answered and its signing keys could not be fetched. */
  readonly isWithoutKeys: () => boolean
  /** A `fetch` that gives the answer once more and sends nothing. */
  readonly again: CustomFetch
}

/**
 * Puts us between openid-client and the network for one POST: it is sent once, followed nowhere and read to its end
 * here, so that a 2xx body can be kept before it is judged, and so that what happened is known even where
 * openid-client would only say that something went wrong. Later GETs (signing keys) pass through.
 *
 * With a DPoP key there may be a second POST, after `use_dpop_nonce` only: a server cannot issue a token bound to a key
 * before it has accepted the proof, so what this refuses is unspent (RFC 9449 §5, §8). Both share the time allowed.
 */
export function watchPost(post: TokenPost): WatchedPost {
  let exchange: Exchange = { stage: 'unsent' }

  const attempt = async (url: string, init: RequestInit): Promise<Exchange> => {
    const headers = new Headers(init.headers)
    const { dpopKey: key } = post
    if (key !== undefined) {
      const nonce = dpopNonces.get(url)
      headers.set('dpop', await dpopProof({ key, method: 'POST', url, nonce, now: post.now() }))
    }
    try {
      post.beforeSend?.()
    } catch (error) {
      return { stage: 'stopped', error }
    }
    const answered = await readAnswer(post.fetch, url, { ...init, headers })
    if ('failure' in answered) return { stage: 'failed', ...answered }
    const at = post.now()
    const answer = classifyAnswer(answered, at, post.secrets, post.deadErrors)
    return { stage: 'answered', answer, status: answered.status, headers: answered.headers, at }
  }

  const send: CustomFetch = async (url, options) => {
    const init = options as RequestInit
    if (init.method !== 'POST') return lookUp(url, init)
    if (exchange.stage !== 'unsent') throw new Error('a token request is sent once')
    const signal = AbortSignal.timeout(post.timeoutMs)
    const request = { ...encode(init, post.encoding), redirect: 'manual', signal } as const
    exchange = await attempt(url, request)
    const first = exchange
    if (post.dpopKey !== undefined && first.stage === 'answered') {
      const nonce = dpopNonces.keep(url, first.headers)
      if (nonce !== undefined && isNonceWanted(first.answer))
        exchange = unspentUnlessSent(first, await attempt(url, request))
      if (exchange.stage === 'answered') dpopNonces.keep(url, exchange.headers)
    }
    switch (exchange.stage) {
      case 'unsent':
      case 'stopped':
        throw new Error('not sent')
      case 'failed':
        throw new Error('no answer')
      case 'answered':
        break
    }
    const { answer } = exchange
    if (answer.kind !== 'object') throw new Error('no token answer')
    try {
      await post.onAnswer?.(answer.body)
    } catch (error) {
      exchange = { stage: 'stopped', error }
      throw new Error('not kept')
    }
    return repeated(answer.body, exchange.status)
  }

  let isWithoutKeys = false
  const lookUp = async (url: string, init: RequestInit): Promise<Response> => {
    isWithoutKeys = true
    const response = await post.fetch(url, init)
    isWithoutKeys = response.status !== 200
    return response
  }

  const again: CustomFetch = async () => {
    if (exchange.stage !== 'answered' || exchange.answer.kind !== 'object') throw new Error('there is no answer')
    return repeated(exchange.answer.body, exchange.status)
  }

  return { fetch: send, exchange: () => exchange, isWithoutKeys: () => isWithoutKeys, again }
}

function repeated(body: JsonObject, status: number): Response {
  return new Response(JSON.stringify(body), { status, headers: { 'content-type': 'application/json' } })
}

function isNonceWanted(answer: AnswerClass): boolean {
  return answer.kind === 'refused' && answer.error === 'use_dpop_nonce'
}

/** A second POST that was stopped, or reached nobody, leaves things as the first has: refused and unspent, for now. */
function unspentUnlessSent(first: Extract<Exchange, { stage: 'answered' }>, second: Exchange): Exchange {
  if (second.stage === 'answered' || (second.stage === 'failed' && second.failure.sent)) return second
  return { ...first, answer: { kind: 'limited', status: first.status, cause: 'use_dpop_nonce' } }
}

export async function readAnswer(
  fetch: TokenPost['fetch'],
  url: string,
  request: RequestInit,
): Promise<HttpAnswer | { failure: Failure; status?: number }> {
  let status: number | undefined
  try {
    const answered = async (): Promise<HttpAnswer> => {
      const response = await fetch(url, request)
      status = response.status
      return { status, headers: response.headers, text: await response.text() }
    }
    // The time-out is ours, whether or not the `fetch` we were given looks at the signal.
    return await abortable(answered(), request.signal ?? undefined)
  } catch (error) {
    const failure = classifyFailure(error)
    // Headers have come, so the request has been there, whatever broke afterwards.
    return status === undefined ? { failure } : { failure: { ...failure, sent: true }, status }
  }
}

function encode(init: RequestInit, encoding: 'form' | 'json' = 'form'): RequestInit {
  const form = init.body as URLSearchParams
  const headers = new Headers(init.headers)
  if (encoding === 'form') return { method: 'POST', headers, body: form.toString() }
  headers.set('content-type', 'application/json')
  return { method: 'POST', headers, body: JSON.stringify(Object.fromEntries(form)) }
}
