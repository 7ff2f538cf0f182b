import type { Endpoint } from '../endpoint.ts'
import type { Provider, ProviderClient } from '../provider.ts'
import type { RegistrationRequest } from './registration.ts'

/** What is known beforehand about a server that nobody has declared, and how to become a client there. */
export interface DiscoverProviderOptions {
  /** Of the answer that refused us: its challenge says where the metadata is and which scopes are needed. */
  readonly challenge?: Headers
  /**
   * Those that are known. One that has an endpoint for this resource is extended; from another one of the same issuer
   * the client and the peculiarities are taken over, but not the credential: who gives us the address of a server has
   * no claim to what was granted for another.
   */
  readonly providers?: readonly Provider[]
  /** Our name for a provider that is new; default: one for every pair of issuer and resource. */
  readonly id?: string
  /** A registration made beforehand. */
  readonly client?: ProviderClient
  /**
   * How to become a client where there is none: `clientIdUrl`, at servers that read such documents, else a registration
   * (RFC 7591) with a name for people to see. Its redirect URIs are by default those that a login uses.
   */
  readonly registration?: Partial<Omit<RegistrationRequest, 'fetch'>>
  readonly redirect?: Provider['redirect']
  /** Default: the global one. */
  readonly fetch?: typeof fetch
  readonly signal?: AbortSignal
}

/**
 * The provider of a URL that none is known for: for a program that is given the address of a server and nothing else.
 * Reads the metadata of the resource (RFC 9728) and of its authorization server (RFC 8414), and becomes a client there
 * by the first of these that there is: `client`, the client of a known provider of that issuer, a client ID metadata
 * document, a registration (RFC 7591). A registration comes last of all, once everything else is in order; keep what is
 * returned (`saveProvider`), or every start makes another one.
 *
 * Tokens go to the resource and what is below it, and nowhere else. A login asks for the scopes of the challenge, which
 * the endpoint then needs; without them for `scopes_supported`, which it may be granted a part of; without those for
 * none; and for `offline_access` besides, where the server has that.
 *
 * @throws AuthkeepError `response_invalid` for metadata that is missing, about another resource or issuer, or without
 * PKCE by S256 (RFC 7636); `provider_invalid` where there is no way to become a client; `server_unavailable`,
 * `server_rejected`; TypeError for what is no URL; `signal.reason` when aborted
 */
export async function discoverProvider(url: string | URL, options: DiscoverProviderOptions = {}): Promise<Provider> {
  const found = await import('./provider-of-server.ts')
  return found.providerOfResource(url, options)
}

/** What an issuer does not say of itself. */
export interface DiscoverIssuerOptions
  extends Pick<DiscoverProviderOptions, 'client' | 'registration' | 'redirect' | 'fetch' | 'signal'> {
  /** Our name for it; default: its host. */
  readonly id?: string
  /** Where its tokens may go. An issuer does not say that. */
  readonly endpoints: readonly Endpoint[]
  /** Asked for at a login; default: `offline_access`, where the server has it, and what the endpoints need. */
  readonly scopes?: readonly string[]
}

/**
 * The provider of an authorization server, by its issuer and nothing else: reads its metadata (RFC 8414, OpenID Connect
 * Discovery) and becomes a client there as `discoverProvider` does.
 *
 * @param issuer exactly as the server spells it
 * @throws AuthkeepError as `discoverProvider`; `provider_invalid` also for an endpoint that cannot be one
 */
export async function discoverIssuer(issuer: string, options: DiscoverIssuerOptions): Promise<Provider> {
  const found = await import('./provider-of-server.ts')
  return found.providerOfIssuer(issuer, options)
}
