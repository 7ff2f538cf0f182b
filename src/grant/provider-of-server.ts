import type { Endpoint } from '../endpoint.ts'
import { AuthkeepError } from '../errors.ts'
import { createHash } from '../on-demand.ts'
import { type AuthorizationServerMetadata, checkProvider, type Provider, type ProviderClient } from '../provider.ts'
import { unionScopes } from '../scope.ts'
import { type Refusal, readChallenges } from './challenge.ts'
import type { DiscoverIssuerOptions, DiscoverProviderOptions } from './discover-provider.ts'
import { discover } from './discovery.ts'
import { registerClient } from './registration.ts'
import { discoverResource, type ProtectedResource } from './resource-discovery.ts'

/** What `discoverProvider` does. */
export async function providerOfResource(url: string | URL, options: DiscoverProviderOptions): Promise<Provider> {
  const web = { fetch: options.fetch ?? fetch, signal: options.signal }
  const refusal = readChallenges(options.challenge ?? new Headers())
  const resource = await resourceAt(new URL(url), refusal, options.id, web)
  const draft = draftOf(resource, options)
  const { id, issuer } = draft
  const metadata = await discover({ ...draft, client: { id } }, web)
  checkPkce(id, metadata)
  const provider = describe({ ...draft, client: { id } }, resource, refusal, metadata)
  checkProvider(provider, `what ${issuer} says of itself`)
  return { ...provider, client: await clientAt(draft, metadata, options, web) }
}

/** What `discoverIssuer` does. */
export async function providerOfIssuer(issuer: string, options: DiscoverIssuerOptions): Promise<Provider> {
  const { endpoints, redirect, scopes } = options
  const web = { fetch: options.fetch ?? fetch, signal: options.signal }
  const kept = redirect === undefined ? {} : { redirect }
  const draft: Draft = { id: options.id ?? new URL(issuer).host.replaceAll(':', '-'), issuer, endpoints, ...kept }
  checkProvider({ ...draft, client: { id: draft.id } }, `a provider of ${issuer}`)
  const metadata = await discover({ ...draft, client: { id: draft.id } }, web)
  checkPkce(draft.id, metadata)
  const offline = names(metadata, 'scopes_supported', 'offline_access') ? ['offline_access'] : []
  const wanted = scopes ?? unionScopes(offline, ...endpoints.map((endpoint) => endpoint.scopes ?? []))
  return {
    ...draft,
    client: await clientAt(draft, metadata, options, web),
    ...(wanted.length === 0 ? {} : { scopes: wanted }),
    ...(wanted.includes('offline_access') ? { authorization: { prompt: 'consent' } } : {}),
  }
}

type Redirect = NonNullable<Provider['redirect']>

interface Web {
  readonly fetch: typeof fetch
  readonly signal: AbortSignal | undefined
}

async function resourceAt(url: URL, refusal: Refusal, id: string | undefined, web: Web): Promise<ProtectedResource> {
  const found = await discoverResource(url, { ...web, resourceMetadata: refusal.resourceMetadata })
  const provider = id ?? url.host
  switch (found.kind) {
    case 'found':
      return found.resource
    case 'unavailable': {
      const { kind: _, ...said } = found
      throw new AuthkeepError('server_unavailable', { provider, ...said, sent: false })
    }
    case 'none':
      throw new AuthkeepError('response_invalid', { provider, status: null, what: 'it does not say where to log in' })
    case 'invalid':
      throw new AuthkeepError('response_invalid', { provider, status: 200, what: found.what })
  }
}

type Draft = Omit<Provider, 'client'> & Partial<Pick<Provider, 'client'>>

/**
 * What is known before the authorization server is asked. Which one to use of those that the resource names is ours to
 * say (RFC 9728 §7.6): one that we are a client of, else the first.
 */
function draftOf(resource: ProtectedResource, { providers = [], id, redirect }: DiscoverProviderOptions): Draft {
  const issuers = resource.authorizationServers
  const ours = providers.filter(({ issuer }) => issuers.includes(issuer))
  const same = ours.find(({ endpoints }) => endpoints?.some((endpoint) => endpoint.resource === resource.resource))
  const kept = redirect === undefined ? {} : { redirect }
  if (same !== undefined) return { ...same, ...kept }
  const issuer = ours[0]?.issuer ?? issuers[0]
  if (issuer === undefined) {
    const what = 'the metadata of the resource names no authorization server'
    throw new AuthkeepError('response_invalid', { provider: resource.resource, status: 200, what })
  }
  const { endpoints: _, scopes: __, ...server } = ours[0] ?? { issuer }
  return { ...server, id: id ?? idOf(issuer, resource.resource), ...kept }
}

/** The resource as a word that can be a file name, and a hash: providers of one name would overwrite each other's credentials. */
function idOf(issuer: string, resource: string): string {
  const { host, pathname } = new URL(resource)
  const word = `${host}${pathname}`.replaceAll(/[^A-Za-z0-9.]+/g, '-').replaceAll(/^-|-$/g, '')
  return `${word}-${createHash('sha256').update(`${issuer} ${resource}`).digest('hex').slice(0, 8)}`
}

/** A code that anybody can redeem who sees it go by is not asked for. */
function checkPkce(provider: string, metadata: AuthorizationServerMetadata): void {
  if (metadata.authorization_endpoint === undefined || names(metadata, 'code_challenge_methods_supported', 'S256'))
    return
  const what = 'its metadata does not offer PKCE by S256'
  throw new AuthkeepError('response_invalid', { provider, status: 200, what })
}

async function clientAt(
  { id, client: known, redirect }: Draft,
  metadata: AuthorizationServerMetadata,
  options: Pick<DiscoverProviderOptions, 'client' | 'registration'>,
  web: Web,
): Promise<ProviderClient> {
  const client = options.client ?? known
  if (client !== undefined) return client
  const redirectUris = redirectUrisOf(redirect)
  const authentication = authenticationAt(metadata)
  web.signal?.throwIfAborted()
  const outcome = await registerClient(metadata, {
    ...{ redirectUris, authentication },
    ...options.registration,
    fetch: web.fetch,
  })
  switch (outcome.kind) {
    case 'registered': {
      const { id: clientId, secret, authentication: decided } = outcome.client
      return {
        id: clientId,
        ...(secret === null ? {} : { secret: secret.reveal() }),
        ...(decided === undefined ? {} : { authentication: decided }),
      }
    }
    case 'not_supported': {
      const problems = ['client: is needed, because the server registers nobody by itself']
      throw new AuthkeepError('provider_invalid', { source: metadata.issuer, problems })
    }
    case 'refused': {
      const { kind: _, ...said } = outcome
      throw new AuthkeepError('server_rejected', { provider: id, ...said })
    }
    case 'unavailable': {
      const { kind: _, ...said } = outcome
      throw new AuthkeepError('server_unavailable', { provider: id, ...said })
    }
    case 'invalid': {
      const { kind: _, what, status } = outcome
      throw new AuthkeepError('response_invalid', { provider: id, status, what: `of a registration, ${what}` })
    }
  }
}

/** Where a login will be sent back to; where the port is the system's to choose, the server takes any (RFC 8252 §7.3). */
function redirectUrisOf({ host = '127.0.0.1', path = '/callback', ports = [0] }: Redirect = {}): readonly string[] {
  return ports.map((port) => `http://${host}${port === 0 ? '' : `:${port}`}${path}`)
}

/** No secret, which a program that many people have cannot keep, unless the server wants one. */
function authenticationAt(metadata: AuthorizationServerMetadata): NonNullable<ProviderClient['authentication']> {
  const methods = ['none', 'client_secret_post', 'client_secret_basic'] as const
  return methods.find((method) => names(metadata, 'token_endpoint_auth_methods_supported', method)) ?? 'none'
}

function names(metadata: AuthorizationServerMetadata, list: string, value: string): boolean {
  const values = metadata[list]
  return Array.isArray(values) && values.includes(value)
}

/** What was found, as data. Pure. */
function describe(
  base: Provider,
  resource: ProtectedResource,
  refusal: Refusal,
  metadata: AuthorizationServerMetadata,
): Provider {
  const needed = refusal.scopes ?? []
  const offered = needed.length > 0 ? [] : resource.scopes
  const hasOffline = names(metadata, 'scopes_supported', 'offline_access')
  const offline = hasOffline && (needed.length > 0 || offered.length > 0) ? ['offline_access'] : []
  const scopes = unionScopes(base.scopes ?? [], offered, offline)
  return {
    ...base,
    ...(scopes.length === 0 ? {} : { scopes }),
    // `scopes_supported` is what somebody may be granted, not what everybody is.
    ...(offered.length === 0 ? {} : { optionalScopes: unionScopes(base.optionalScopes ?? [], offered) }),
    // OpenID Connect Core §11: without it offline_access is not granted.
    ...(offline.length === 0 ? {} : { authorization: { ...base.authorization, prompt: 'consent' } }),
    ...(base.dpop === undefined && isBound(refusal, resource, metadata) ? { dpop: 'required' } : {}),
    endpoints: withEndpoints(base.endpoints ?? [], resource.resource, needed),
  }
}

/**
 * Bound to a key where the resource takes nothing else (RFC 9449 §7.1, RFC 9728 §2) and the server says that it can. Where
 * both are taken, a token that is not bound is one that every program can send.
 */
function isBound({ challenges }: Refusal, resource: ProtectedResource, metadata: AuthorizationServerMetadata): boolean {
  if (!names(metadata, 'dpop_signing_alg_values_supported', 'ES256')) return false
  const asks = (name: string): boolean => challenges.some(({ scheme }) => scheme === name)
  return resource.metadata['dpop_bound_access_tokens_required'] === true || (asks('dpop') && !asks('bearer'))
}

/** The resource itself and everything below it, in place of what was declared for them; what those needed, they still need. */
function withEndpoints(
  declared: readonly Endpoint[],
  resource: string,
  needed: readonly string[],
): readonly Endpoint[] {
  const { origin, pathname } = new URL(resource)
  const at = pathname.replace(/\/$/, '')
  const urls = at === '' ? [`${origin}/*`] : [`${origin}${at}`, `${origin}${at}/*`]
  const found = urls.map((url) => {
    const before = declared.find((endpoint) => endpoint.url === url)
    const scopes = unionScopes(before?.scopes ?? [], needed)
    return { ...before, url, ...(scopes.length === 0 ? {} : { scopes }), resource }
  })
  return [...declared.filter(({ url }) => !urls.includes(url)), ...found]
}
