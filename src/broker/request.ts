import { type CredentialKey, fingerprint, Secret } from '../credential.ts'
import type { Target } from '../endpoint.ts'
import type { Learned } from './requirement.ts'
import type { Route } from './target.ts'

/** What a caller of `getToken` may ask for beyond the target. */
export interface GetTokenOptions {
  /**
   * How long the token must live on, in milliseconds. Default: 30 s, and at most a tenth of its lifetime; well before
   * that a new one is fetched in the background.
   */
  readonly minTtlMs?: number
  /** The token that an API has just refused. N callers holding the same one cause one refresh, not N. */
  readonly rejected?: string
  /** Which account's token, where a URL alone leaves a choice. */
  readonly account?: string
  /** What is going to be done there (an HTTP method): what refusals have taught is remembered for it. Default `GET`. */
  readonly method?: string
  /**
   * Whether the token may do more than the target requires, where the server gives none that does less. What it can do
   * is in its `scopes`. Default: as the broker was told.
   */
  readonly allowWider?: boolean
  /** Stops the waiting; it never interrupts a refresh that has been sent. */
  readonly signal?: AbortSignal
}

/** How a token is asked for inside: `needs` is what an API has just refused the last one for want of. */
export interface Request extends GetTokenOptions {
  readonly needs?: Learned
}

/** A flight: everything that decides how one request is answered. */
export interface Flight {
  readonly route: Route
  readonly key: CredentialKey
  readonly options: Request
  readonly startedAt: number
}

/** A target as it is now: its owner may change it before it is looked at, and what is found is cached by its name. */
export function kept(target: Target): Target {
  if (target instanceof URL) return target.href
  return typeof target === 'string' ? target : { ...target }
}

/** Requests with an ordinary wish are cached; one that names a refused token, a lifetime or an account wants a decision. */
export function cacheName(target: Target, options: GetTokenOptions): string | undefined {
  const { rejected, minTtlMs, account: named, allowWider, method = 'GET' } = options
  if (rejected !== undefined || minTtlMs !== undefined || named !== undefined || allowWider !== undefined) {
    return undefined
  }
  const prefix = method === 'GET' ? '' : `${method} `
  if (typeof target === 'string') return prefix + target
  if (target instanceof URL) return prefix + target.href
  const { provider, account, resource, scopes = none, acrValues = none, maxAge = '' } = target
  const which = `${measured(provider)}${measured(account)}${measured(resource)}`
  return `${prefix} ${which}${measuredAll(scopes)}${measuredAll(acrValues)}${maxAge}`
}

const none: readonly string[] = []

/** Whatever is in a text, its length tells where it ends: no two targets have one name. */
function measured(text: string | undefined): string {
  return text === undefined ? '-' : `${text.length}:${text}`
}

function measuredAll(texts: readonly string[]): string {
  let name = `${texts.length};`
  for (const text of texts) name += measured(text)
  return name
}

export function flightName({ route, options }: Flight): string {
  const { scopes, resource, endpoint, acrValues, maxAge } = route.requirement
  const rejected = options.rejected === undefined ? null : fingerprint(new Secret(options.rejected))
  return JSON.stringify([
    route.provider.id,
    endpoint,
    scopes,
    resource,
    acrValues,
    maxAge,
    options.minTtlMs ?? null,
    options.allowWider,
    rejected,
    route.trusted,
  ])
}

export function withoutLogin(needs: Learned | undefined): { readonly needs?: Learned } {
  return needs === undefined ? {} : { needs: { scopes: needs.scopes } }
}
