import { compilePattern, type Endpoint } from './endpoint.ts'
import { AuthkeepError } from './errors.ts'
import type { Implications } from './scope.ts'

/** Authorization server metadata under its RFC 8414 (and OIDC discovery) member names. */
export interface AuthorizationServerMetadata {
  readonly issuer: string
  readonly authorization_endpoint?: string
  readonly device_authorization_endpoint?: string
  readonly token_endpoint?: string
  readonly revocation_endpoint?: string
  readonly introspection_endpoint?: string
  readonly jwks_uri?: string
  readonly [member: string]: unknown
}

/** A private key as a JWK (RFC 7517). `alg` says what to sign with, where the key could be used for several. */
export interface PrivateJwk {
  readonly kty: string
  readonly alg?: string
  readonly kid?: string
  readonly [member: string]: unknown
}

/** Our registration at the authorization server. */
export interface ProviderClient {
  readonly id: string
  readonly secret?: string
  /** What `private_key_jwt` signs with (RFC 7523 §2.2). */
  readonly privateKey?: PrivateJwk
  /**
   * Default: with a secret `client_secret_post`, unless the server's metadata knows only `client_secret_basic`; with a
   * private key `private_key_jwt`; else `none`.
   */
  readonly authentication?: 'none' | 'client_secret_post' | 'client_secret_basic' | 'private_key_jwt'
}

/** What the server does with `scope` at refresh; RFC 6749 §6 asks for `honoured`. */
export type Narrowing = 'honoured' | 'ignored' | 'destructive' | 'silent'

/**
 * An authorization server, our registration there, its endpoints and its quirks: data only. A difference between
 * servers is a documented member whose default is what the RFC says. Most users load one with `loadProvider(file)`.
 */
export interface Provider {
  /** Our name for it; no colon. */
  readonly id: string
  /** Compared byte by byte with what discovery returns (RFC 8414 §3.3). https, or http on a loopback host. */
  readonly issuer: string
  /** For servers without discovery; with a `token_endpoint` here nothing is fetched. */
  readonly metadata?: Partial<AuthorizationServerMetadata>
  readonly client: ProviderClient
  /** Asked for at login when the caller names none. */
  readonly scopes?: readonly string[]
  /** Where the browser is sent back to (RFC 8252 §7.3). Default: 127.0.0.1, an ephemeral port, `/callback`. */
  readonly redirect?: {
    readonly host?: '127.0.0.1' | '[::1]' | 'localhost'
    readonly ports?: readonly number[]
    readonly path?: string
  }
  /** Extra parameters of the authorization request. */
  readonly authorization?: Readonly<Record<string, string>>
  readonly endpoints?: readonly Endpoint[]
  readonly refresh?: {
    /** Body of the refresh request; default `form` (RFC 6749 §6). */
    readonly encoding?: 'form' | 'json'
    /** Whether a refresh token is spent by its use. Default `strict`: the only safe guess. */
    readonly rotation?: 'none' | 'strict' | { readonly graceMs: number }
    /**
     * What the server does with a narrower `scope` at refresh. Only with `honoured` is a narrower scope asked for;
     * else the grant's whole scope set is requested, which no server can misread. When nothing is declared, it is found
     * out where rotation is `none`, so that a mistake costs nothing. What was seen counts for more than this.
     */
    readonly narrowing?: Narrowing
  }
  /**
   * What the server's access tokens are: JWTs that can be checked against its keys (RFC 9068), or opaque. Default
   * `opaque`: a token that only looks like a JWT may be any server's private business. One that names another issuer
   * (`iss`) is used only where they are opaque.
   */
  readonly accessTokens?: 'opaque' | 'jwt'
  /** Whether the server exchanges an access token for a narrower one (RFC 8693). Default false. */
  readonly tokenExchange?: boolean
  /**
   * Whether the authorization request is pushed to the server before the browser is shown it (RFC 9126). Default: where
   * its metadata says `require_pushed_authorization_requests`.
   */
  readonly pushedAuthorization?: boolean
  /**
   * Whether tokens are bound to a key (RFC 9449). With `true` a proof is sent with every token request, and a server
   * that ignores it is tolerated; with `required` a token that is not bound is refused. Default false.
   */
  readonly dpop?: boolean | 'required'
  /** Scope → the scopes it brings. */
  readonly implies?: Implications
}

const loopbackHosts: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '[::1]'])

/** Whether a URL may be talked to: https anywhere, http on this machine only. */
export function isSecureUrl(url: URL): boolean {
  return url.protocol === 'https:' || (url.protocol === 'http:' && loopbackHosts.has(url.hostname))
}

/**
 * Refuses a provider that would break a safety rule, without loading a schema library. The full schema, with a
 * message for every member, is `parseProvider`; this is what every broker checks of every provider it is given.
 *
 * @throws AuthkeepError `provider_invalid`
 */
export function checkProvider(provider: Provider, source = 'a provider'): void {
  const problems = [...problemsOf(provider)]
  if (problems.length > 0) throw new AuthkeepError('provider_invalid', { source, problems })
}

function* problemsOf(provider: Provider): Generator<string> {
  // Typed as unknown on purpose: a provider may come from JavaScript or from a file.
  const { id, issuer, client, endpoints, metadata } = provider as { [M in keyof Provider]: unknown }
  if (typeof id !== 'string' || !/^[^:\s]+$/.test(id)) yield 'id: must be a word without a colon'
  if (!isUrl(issuer)) yield 'issuer: must be an https URL (http only on loopback)'
  if (typeof (client as { id?: unknown } | undefined)?.id !== 'string') yield 'client.id: must be a string'
  if (endpoints !== undefined && !Array.isArray(endpoints)) {
    yield 'endpoints: must be a list'
    return
  }
  for (const [index, endpoint] of ((endpoints ?? []) as readonly (Partial<Endpoint> | null)[]).entries()) {
    const problem = typeof endpoint?.url === 'string' ? compilePattern(endpoint.url).problem : 'must be a string'
    if (problem !== undefined) yield `endpoints.${index}.url: ${problem}`
  }
  for (const [name, value] of Object.entries(metadata ?? {})) {
    if (/(_endpoint|^jwks_uri)$/.test(name) && !isUrl(value)) yield `metadata.${name}: must be an https URL`
  }
}

function isUrl(value: unknown): boolean {
  return typeof value === 'string' && URL.canParse(value) && isSecureUrl(new URL(value))
}

/** The `redirect.ports` to try in order; 0 lets the system choose one (RFC 8252 §7.3). */
export function redirectPorts(provider: Provider): readonly number[] {
  return provider.redirect?.ports ?? [0]
}
