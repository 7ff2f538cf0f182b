import type { CredentialKind, Endpoint, Requirement, Target } from '../endpoint.ts'
import { compilePattern, matchEndpoint, requirementOf, urlOf } from '../endpoint.ts'
import { AuthkeepError } from '../errors.ts'
import { nearestName } from '../nearest.ts'
import type { Provider } from '../provider.ts'
import { scopeSet } from '../scope.ts'

/** One way to serve a target: a provider and what its endpoint needs. */
export interface Route {
  readonly provider: Provider
  readonly requirement: Requirement
  readonly account: string | undefined
  readonly headers: Readonly<Record<string, string>>
  /** The endpoint that it leads to, unless the target spelt its requirement out. */
  readonly declared?: Endpoint
  /** A base URL that its provider does not declare, and that the caller trusts with the token. */
  readonly trusted?: string
}

/** A route to a declared endpoint. */
export interface DeclaredRoute extends Route {
  readonly declared: Endpoint
}

/**
 * The routes to a target, the most specific first. A URL is matched against every provider's endpoints.
 *
 * @throws AuthkeepError `endpoint_unknown`, `provider_unknown`; TypeError for what is no target, or as `urlOf`
 */
export function routesTo(target: Target, providers: readonly Provider[], account?: string): readonly Route[] {
  if (typeof target === 'string' || target instanceof URL) return routesToUrl(target, providers, account)
  return [routeTo(account === undefined ? target : { ...target, account }, providers)]
}

function routesToUrl(
  target: URL | string,
  providers: readonly Provider[],
  account: string | undefined,
): readonly Route[] {
  if (!URL.canParse(String(target))) throw new TypeError('a target is a URL or names a provider')
  const url = urlOf(target)
  const matches = providers.flatMap((provider) => {
    const endpoint = matchEndpoint(provider.endpoints ?? [], url)
    return endpoint === undefined ? [] : [{ provider, endpoint }]
  })
  if (matches.length === 0) {
    const asked = `${url.origin}${url.pathname}`
    const near = nearestEndpoint(url, providers)
    throw new AuthkeepError('endpoint_unknown', { asked, ...(near === undefined ? {} : { nearest: near }) })
  }
  return matches
    .sort((a, b) => compilePattern(b.endpoint.url).weight - compilePattern(a.endpoint.url).weight)
    .map(({ provider, endpoint }) => routeOf(provider, endpoint, account))
}

function routeOf(provider: Provider, endpoint: Endpoint, account: string | undefined): DeclaredRoute {
  const headers = endpoint.headers ?? {}
  return { provider, requirement: requirementOf(endpoint), account, headers, declared: endpoint }
}

/** Every route to a service, in the order in which providers and their endpoints are given. */
export function routesToService(
  service: string,
  providers: readonly Provider[],
  account: string | undefined,
): readonly DeclaredRoute[] {
  return providers.flatMap((provider) =>
    (provider.endpoints ?? [])
      .filter((endpoint) => endpoint.service === service)
      .map((endpoint) => routeOf(provider, endpoint, account)),
  )
}

const anyKind: readonly CredentialKind[] = ['oauth', 'token', 'api_key']

function routeTo(target: Exclude<Target, URL | string>, providers: readonly Provider[]): Route {
  const provider = findProvider(target.provider, providers)
  const { acrValues, maxAge } = target
  const requirement = {
    scopes: scopeSet(target.scopes ?? []),
    resource: target.resource ?? null,
    accepts: anyKind,
    ...(acrValues === undefined ? {} : { acrValues }),
    ...(maxAge === undefined ? {} : { maxAge }),
  }
  return { provider, requirement, account: target.account, headers: {} }
}

/** @throws AuthkeepError `provider_unknown` */
export function findProvider(id: string, providers: readonly Provider[]): Provider {
  const provider = providers.find((one) => one.id === id)
  if (provider !== undefined) return provider
  const near = nearestName(
    id,
    providers.map((one) => one.id),
  )
  throw new AuthkeepError('provider_unknown', { asked: id, ...(near === undefined ? {} : { nearest: near }) })
}

function nearestEndpoint(url: URL, providers: readonly Provider[]): string | undefined {
  const declared = providers.flatMap(({ endpoints }) => (endpoints ?? []).map((endpoint) => endpoint.url))
  const sameHost = declared.filter((pattern) => URL.canParse(pattern) && new URL(pattern).host === url.host)
  return nearestName(url.href, sameHost.length > 0 ? sameHost : declared, Infinity)
}
