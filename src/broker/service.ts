import { AuthkeepError, isAuthkeepError } from '../errors.ts'
import { diagnose } from './diagnose.ts'
import { brokeredFetch, type Call, type CallSource, readCall } from './fetch.ts'
import { isAboutTheStore, type RouteSearch, type Served } from './route.ts'
import { conclude, type Verdict, type VerdictCode } from './verdict.ts'

/** What another route may do where one could not: none of them can mean that the request was carried out. */
const anotherMayServe: ReadonlySet<VerdictCode> = new Set([
  'edge_challenge',
  'region_blocked',
  'captive_portal',
  'proxy_failed',
  'dns_failed',
  'tls_failed',
  'connection_refused',
  'scope_missing',
  'audience_wrong',
  'token_expired',
  'token_revoked',
  'token_rejected',
  'account_mismatch',
  'not_entitled',
  'step_up_required',
  'rate_limited',
  'usage_limited',
  'overloaded',
])

/** What a call to a service needs of the broker. */
export interface ServiceSource {
  readonly send: typeof fetch
  readonly now: () => number
  /** Tokens for one candidate, and what is learned of its endpoint. */
  callSource(served: Served, call: Call): CallSource
  /** Remembers what came of a request. */
  note(served: Served, verdict: Verdict): Promise<void>
}

/** What came of a call by one route. `verdict` is null where the broker itself has refused. */
type Outcome =
  | { readonly response: Response; readonly verdict: Verdict }
  | { readonly error: unknown; readonly verdict: Verdict | null }

/**
 * A call to a service by the first route that serves it. Where the answer says that the route or its credential is why
 * it was refused, or nothing was sent at all, the next one is tried. A body that can be read only once is sent once.
 *
 * @throws AuthkeepError `edge_challenge` where the last route ends at one; what the search ends with where none serves;
 *   TypeError for a path that is none
 */
export async function fetchService(
  search: RouteSearch,
  path: string,
  init: RequestInit | undefined,
  source: ServiceSource,
): Promise<Response> {
  let last: Outcome | undefined
  for await (const served of search.served()) {
    if (last !== undefined && 'response' in last) await last.response.body?.cancel()
    const call = readCall(urlBelow(served.candidate.route.baseUrl, path), init)
    last = await outcomeOf(served, call, source)
    const { verdict } = last
    if (verdict !== null) {
      await source.note(served, verdict)
      if (!anotherMayServe.has(verdict.code)) break
      search.pass(served.candidate, verdict.message)
    }
    if (!call.isRepeatable) break
  }
  if (last === undefined) throw search.error
  if (!('response' in last)) throw last.error
  const { response, verdict } = last
  if (verdict.code !== 'edge_challenge') return response
  await response.body?.cancel()
  const { host, vendor = 'Something', ray } = verdict
  const named = { host: host ?? new URL(response.url).host, vendor, ...(ray === undefined ? {} : { ray }) }
  throw new AuthkeepError('edge_challenge', { ...named, alternatives: [] })
}

/** @throws AuthkeepError store errors, which no other route mends */
async function outcomeOf(served: Served, call: Call, source: ServiceSource): Promise<Outcome> {
  const context = { url: call.url, now: source.now(), secrets: [served.token.reveal()] }
  try {
    const response = await brokeredFetch(source.callSource(served, call), source.send, call)
    // A success is handed on as it comes, unread, unless it is a page in place of an answer.
    const isPage = /^\s*text\/html\b/i.test(response.headers.get('content-type') ?? '')
    const { host } = new URL(call.url)
    // Who is somewhere else, where a redirect led without the token, has nothing to say about it.
    if (!served.token.isFor(new URL(response.url === '' ? call.url : response.url))) {
      return { response, verdict: conclude({ code: 'unknown', host }) }
    }
    const isPlain = response.ok && !isPage
    return { response, verdict: isPlain ? conclude({ code: 'ok', host }) : await diagnose(response, context) }
  } catch (error) {
    if (isAuthkeepError(error) && isAboutTheStore(error)) throw error
    return { error, verdict: isAuthkeepError(error) ? null : await diagnose(error, context) }
  }
}

/** The path may not lead out of the base URL. */
function urlBelow(baseUrl: string, path: string): string {
  const url = `${baseUrl}${path}`
  if (
    !path.startsWith('/') ||
    !URL.canParse(url) ||
    !new URL(url).href.startsWith(`${new URL(baseUrl).href.replace(/\/+$/, '')}/`)
  ) {
    throw new TypeError('a path begins with a slash and stays below the base URL')
  }
  return url
}
