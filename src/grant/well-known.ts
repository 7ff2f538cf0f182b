import { abortable } from '../abort.ts'
import type { JsonObject } from '../credential.ts'
import { classifyFailure } from './classify.ts'

export interface DiscoverOptions {
  /** By which everything is sent. */
  readonly fetch: typeof fetch
  readonly signal?: AbortSignal | undefined
  /** For each document asked for; default 10 seconds. */
  readonly timeoutMs?: number
}

/** What is at one URL. */
export type Document =
  | { readonly kind: 'object'; readonly body: JsonObject }
  /** Not there, or not a JSON object; the next place may have it. */
  | { readonly kind: 'absent'; readonly status: number; readonly what: string }
  /** Nobody can say for now what is there. */
  | { readonly kind: 'unavailable'; readonly status?: number; readonly cause: string; readonly proxy?: string }

/**
 * Fetches a metadata document. A redirect counts as absent: whoever can send us elsewhere could be anybody. Rejects with
 * `signal.reason` only.
 */
export async function fetchDocument(url: string, options: DiscoverOptions): Promise<Document> {
  const limit = AbortSignal.timeout(options.timeoutMs ?? 10_000)
  const signal = options.signal === undefined ? limit : AbortSignal.any([options.signal, limit])
  const get = async (): Promise<{ status: number; text: string }> => {
    const response = await options.fetch(url, { headers: { accept: 'application/json' }, redirect: 'manual', signal })
    return { status: response.status, text: await response.text() }
  }
  let answer: { status: number; text: string }
  try {
    answer = await abortable(get(), signal)
  } catch (error) {
    options.signal?.throwIfAborted()
    const { sent: _, ...said } = classifyFailure(error)
    return { kind: 'unavailable', ...said }
  }
  const { status, text } = answer
  if (status === 429) return { kind: 'unavailable', status, cause: 'rate_limited' }
  if (status >= 500) return { kind: 'unavailable', status, cause: `http_${status}` }
  if (status !== 200) return { kind: 'absent', status, what: `HTTP ${status}` }
  const body = parseObject(text)
  return body === null ? { kind: 'absent', status, what: 'not JSON metadata' } : { kind: 'object', body }
}

function parseObject(text: string): JsonObject | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : null
  } catch {
    return null
  }
}

/** A well-known name between host and path (RFC 8414 §3.1, RFC 9728 §3.1); a path of `/` alone is none. */
export function insertWellKnown(url: URL, name: string): string {
  return `${url.origin}/.well-known/${name}${url.pathname === '/' ? '' : url.pathname}${url.search}`
}
