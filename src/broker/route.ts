import type { CredentialKey } from '../credential.ts'
import {
  baseUrlOf,
  type CredentialKind,
  compilePattern,
  declaredHosts,
  type Endpoint,
  matchEndpoint,
} from '../endpoint.ts'
import { AuthkeepError, isAuthkeepError } from '../errors.ts'
import { nearestName } from '../nearest.ts'
import type { Provider } from '../provider.ts'
import type { AccessToken, BrokeredToken, HeadersRequest } from './access-token.ts'
import { type Candidate, candidatesFor, loginNeeded } from './candidates.ts'
import type { EntryInfo } from './environment.ts'
import type { Rest } from './order.ts'
import { type DeclaredRoute, type Route, routesToService } from './target.ts'
import type { Verdict } from './verdict.ts'

/** A service, and how it is to be reached. */
export interface ServiceTarget {
  /** The name that its endpoints share, `openai-responses` for one. */
  readonly service: string
  /** Only by routes that have this model. */
  readonly model?: string
  readonly account?: string
  /** Where the caller's configuration wants the requests to go, whatever the endpoints say. */
  readonly baseUrl?: string
  /** Whether a credential may go to a `baseUrl` that its provider does not declare. Default false. */
  readonly trustBaseUrl?: boolean
}

/** The way to a service: where to send requests, and with what. */
export interface ServiceRoute {
  readonly provider: string
  readonly account: string
  readonly kind: CredentialKind
  /** The pattern of the endpoint that it was chosen for. */
  readonly endpoint: string
  /** Without a slash at the end. */
  readonly baseUrl: string
  readonly token: AccessToken
  /** Why this one, in a sentence. */
  readonly reason: string
  /** The routes before it, in their order, and why they do not serve. */
  readonly passedOver: readonly PassedOver[]
  /**
   * The headers that carry the credential, with those that the endpoint declares.
   *
   * @throws AuthkeepError `host_not_bound` when `request` goes elsewhere; as `AccessToken.headers`
   */
  headers(request?: HeadersRequest): Promise<Record<string, string>>
  /**
   * Says what came of a request by this route, which the caller has made itself: its response, before the body is read,
   * or what it was rejected with. A limit of the account's is remembered, so that the next route is by another.
   */
  report(outcome: unknown): Promise<Verdict>
}

/** A route that does not serve. Nothing in here is secret. */
export interface PassedOver {
  readonly provider: string
  readonly account?: string
  readonly endpoint: string
  readonly baseUrl: string
  readonly reason: string
}

/** A route to a service, and where its requests go. */
export interface ServiceStep extends DeclaredRoute {
  readonly baseUrl: string
}

/** A candidate that serves, with its token. */
export interface Served {
  readonly candidate: Candidate<ServiceStep>
  readonly token: BrokeredToken
}

/** What a search for a route needs of the broker. */
export interface RouteSource {
  infosFor(routes: readonly Route[]): Promise<readonly EntryInfo[]>
  /** The accounts of a provider in the order in which to try them; null where a caller has to name one. */
  arrange(provider: string, names: readonly string[]): Promise<readonly string[] | null>
  /** Why an account is left alone for now, or null. */
  restOf(key: CredentialKey): Promise<Rest | null>
  /** @throws AuthkeepError where the candidate does not serve */
  tokenOf(candidate: Candidate): Promise<BrokeredToken>
}

/**
 * The routes that requests to a service may take, in order. A base URL of the caller's is always honoured: those routes
 * are left that may go there, and go there.
 *
 * @throws AuthkeepError `endpoint_unknown` for a service or a model that no endpoint has; `host_not_bound` for a base URL
 *   that no provider of the service declares, unless it is trusted; TypeError for one that could not be declared either
 */
export function serviceRoutes(wanted: ServiceTarget, providers: readonly Provider[]): readonly ServiceStep[] {
  const { service, model, account, baseUrl } = wanted
  const all = routesToService(service, providers, account)
  if (all.length === 0) throw unknownService(service, providers)
  const routes = all.filter(({ declared }) => model === undefined || hasModel(declared, model))
  if (routes.length === 0) throw new AuthkeepError('endpoint_unknown', { asked: `${service} with ${model ?? ''}` })
  if (baseUrl !== undefined) return routesOver(baseUrl, routes, wanted.trustBaseUrl === true)
  return routes.map((route) => ({ ...route, baseUrl: baseUrlOf(route.declared) }))
}

function unknownService(service: string, providers: readonly Provider[]): AuthkeepError {
  const known = providers.flatMap(({ endpoints }) => (endpoints ?? []).flatMap((endpoint) => endpoint.service ?? []))
  const near = nearestName(service, known)
  return new AuthkeepError('endpoint_unknown', { asked: service, ...(near === undefined ? {} : { nearest: near }) })
}

function hasModel({ models }: Endpoint, model: string): boolean {
  return models === undefined || models.some((pattern) => matchesModel(pattern, model))
}

/** With `*` for any run of characters. */
function matchesModel(pattern: string, model: string): boolean {
  const literal = pattern.split('*').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`))
  return new RegExp(`^${literal.join('.*')}$`, 's').test(model)
}

function routesOver(override: string, routes: readonly DeclaredRoute[], isTrusted: boolean): readonly ServiceStep[] {
  const { problem = override.includes('*') ? 'has a star in it' : undefined } = compilePattern(override)
  if (problem !== undefined) throw new TypeError(`a base URL ${problem}`)
  const baseUrl = override.replace(/\/+$/, '')
  // Most endpoints match only what is below their base.
  const covers = (endpoints: readonly Endpoint[]): boolean =>
    [baseUrl, `${baseUrl}/x`].some((url) => matchEndpoint(endpoints, new URL(url)) !== undefined)
  const moved = routes.map((route) => ({ ...route, baseUrl }))
  const own = moved.filter(({ declared }) => baseUrlOf(declared) === baseUrl || covers([declared]))
  if (own.length > 0) return own
  const bound = moved.filter(({ provider }) => covers(provider.endpoints ?? []))
  if (bound.length > 0) return bound
  if (isTrusted) return moved.map((route) => ({ ...route, trusted: baseUrl }))
  const ids = [...new Set(routes.map(({ provider }) => provider.id))]
  const declared = declaredHosts(routes.flatMap(({ provider }) => provider.endpoints ?? []))
  throw new AuthkeepError('host_not_bound', { host: new URL(baseUrl).host, provider: ids.join(' and '), declared })
}

/** Errors of the store are about no credential in particular, and no other route mends them. */
export const isAboutTheStore = ({ code }: AuthkeepError): boolean => /^(store|write|key|keychain)_/.test(code)

/** The routes that serve, each with its token, one after the other; and those that do not, with the reason. */
export class RouteSearch {
  readonly passedOver: PassedOver[] = []
  /** The endpoints that a request was sent to, and that did not serve. */
  readonly tried: Set<string> = new Set()
  readonly #routes: readonly ServiceStep[]
  readonly #source: RouteSource
  #error: AuthkeepError | undefined

  constructor(routes: readonly ServiceStep[], source: RouteSource) {
    this.#routes = routes
    this.#source = source
  }

  /** Why nothing serves: the reason of the first thing that is stored; where nothing is, the login that would help. */
  get error(): AuthkeepError {
    return this.#error ?? loginNeeded(this.#routes)
  }

  /** @throws AuthkeepError for what no other route mends: a store that cannot be used, several accounts */
  async *served(): AsyncGenerator<Served, void> {
    const infos = await this.#source.infosFor(this.#routes)
    for (const route of this.#routes) {
      const candidates = await this.#arranged(route, candidatesFor([route], infos))
      if (candidates.length === 0) this.#pass(route, route.account, 'nobody has logged in')
      for (const candidate of candidates) {
        const token = await this.#tokenOf(candidate).catch((error: unknown) => {
          if (!isAuthkeepError(error) || isAboutTheStore(error)) throw error
          this.#error ??= error
          this.#pass(route, candidate.info.account, error.message)
        })
        if (token !== undefined) yield { candidate, token }
      }
    }
  }

  async #tokenOf({ route, info }: Candidate<ServiceStep>): Promise<BrokeredToken> {
    const rest = await this.#source.restOf(info)
    if (rest === null) return this.#source.tokenOf({ route, info })
    const { provider, account } = info
    throw new AuthkeepError('account_resting', { provider, account, reason: rest.reason, until: rest.until })
  }

  /** @throws AuthkeepError `account_ambiguous` where nobody has said which of several accounts may be used */
  async #arranged(
    route: ServiceStep,
    found: readonly Candidate<ServiceStep>[],
  ): Promise<readonly Candidate<ServiceStep>[]> {
    const readable = found.filter(({ info }) => info.type !== 'unreadable')
    if (readable.length < 2) return readable.length === 0 ? found : readable
    const names = readable.map(({ info }) => info.account)
    const arranged = await this.#source.arrange(route.provider.id, names)
    if (arranged !== null) return arranged.flatMap((name) => readable.filter(({ info }) => info.account === name))
    throw new AuthkeepError('account_ambiguous', { provider: route.provider.id, accounts: names.sort() })
  }

  /** Notes that a candidate that seemed to serve does not. */
  pass({ route, info }: Candidate<ServiceStep>, reason: string): void {
    this.tried.add(route.declared.url)
    this.#pass(route, info.account, reason)
  }

  #pass({ provider, declared, baseUrl }: ServiceStep, account: string | undefined, reason: string): void {
    const named = account === undefined ? {} : { account }
    this.passedOver.push({ provider: provider.id, ...named, endpoint: declared.url, baseUrl, reason })
  }
}

/** What a caller is given of a route that serves. */
export function presentRoute(
  { candidate, token }: Served,
  passedOver: readonly PassedOver[],
  report: ServiceRoute['report'],
): ServiceRoute {
  const { route, info } = candidate
  const { provider, declared, baseUrl, requirement } = route
  const needs = requirement.scopes.length === 0 ? '' : ` with ${requirement.scopes.join(' ')}`
  return {
    provider: provider.id,
    account: info.account,
    kind: info.type as CredentialKind,
    endpoint: declared.url,
    baseUrl,
    token,
    reason: `${provider.id} "${info.account}" is what ${declared.url} takes: ${requirement.accepts.join(' or ')}${needs}`,
    passedOver,
    headers: (request) => token.headers(request),
    report,
  }
}
