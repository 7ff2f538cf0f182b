import { compilePattern, cookieName, type Endpoint } from './endpoint.ts'
import { AuthkeepError } from './errors.ts'
import { type Implications, missingScopes } from './scope.ts'

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
  /** Every scope that this registration can be given (RFC 7591 §2, `scope`), where that is known. Default: any. */
  readonly scopes?: readonly string[]
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

/** What goes to and fro in a device login, under the names of RFC 8628, RFC 6749 and RFC 7636. */
export type DeviceLoginMember =
  | 'client_id'
  | 'scope'
  | 'device_code'
  | 'user_code'
  | 'verification_uri'
  | 'verification_uri_complete'
  | 'expires_in'
  | 'interval'
  | 'code'
  | 'code_verifier'

/**
 * A login on another device that is not the one of RFC 8628: the server gives a code to show, and answers a poll not with
 * tokens but with an authorization code and the verifier of it, which are exchanged as any code is (RFC 6749 §4.1.3).
 * Beyond the statuses declared here, the errors of RFC 8628 §3.5 mean what they mean there.
 */
export interface DeviceLogin {
  /** Where a code to show is asked for: on the origin of the issuer, or on one of `origins`. So the other addresses. */
  readonly codeEndpoint: string
  /** Where is asked whether the person is done. */
  readonly pollEndpoint: string
  /** The `redirect_uri` that the authorization code was issued for. Nothing is sent there. */
  readonly redirectUri: string
  /** The page on which the person enters the code, where the server does not name it (`verification_uri`). */
  readonly verificationUri?: string
  /** Other origins that this login may use. */
  readonly origins?: readonly string[]
  /** Body of both requests; default `form`. */
  readonly encoding?: 'form' | 'json'
  /** What is sent for a code; default `client_id` and `scope` (RFC 8628 §3.1). */
  readonly codeParameters?: readonly ('client_id' | 'scope')[]
  /** What is sent with a poll; default `client_id` and `device_code` (RFC 8628 §3.4). */
  readonly pollParameters?: readonly ('client_id' | 'device_code' | 'user_code')[]
  /** What the server calls a member. Of several names the first is sent, and whichever is there is read. */
  readonly members?: { readonly [Member in DeviceLoginMember]?: readonly string[] }
  /** HTTP statuses of a poll that mean "not yet". */
  readonly pendingStatuses?: readonly number[]
  /** HTTP statuses of `codeEndpoint` that mean that the server, or the client there, has no such login. */
  readonly disabledStatuses?: readonly number[]
  /** How long a code lives where the server does not say (`expires_in`); default 15 minutes. */
  readonly lifetimeMs?: number
}

/**
 * A login in a browser that brings an API key instead of tokens: an authorization request and the exchange of its code,
 * with PKCE (RFC 7636), at the `authorization_endpoint` and the `token_endpoint` of the metadata. The challenge and its
 * method, the redirect URI, the code and its verifier are always sent.
 */
export interface KeyLogin {
  /** Body of the request that brings the key; default `form`. */
  readonly encoding?: 'form' | 'json'
  /** What else the authorization request has; default all of these. Without `state` the redirect URI has a random path. */
  readonly authorizationParameters?: readonly ('client_id' | 'response_type' | 'scope' | 'state')[]
  /** What else is sent for the key; default the first three. */
  readonly exchangeParameters?: readonly ('client_id' | 'grant_type' | 'redirect_uri' | 'code_challenge_method')[]
  /** What the server calls a member, where it does not use the name of the RFC; the key is `key`. */
  readonly members?: { readonly [Member in 'redirect_uri' | 'code' | 'key']?: readonly string[] }
}

/**
 * An exchange of a token of a login for an API key, at the token endpoint (RFC 8693). Best effort: many a server gives
 * one to some of its accounts only.
 */
export interface KeyExchange {
  /** The id of the provider that the key is for. */
  readonly provider: string
  /** Which token is shown; default `id_token`. */
  readonly subject?: 'id_token' | 'access_token'
  /** What the server wants besides the grant type, the client id and the subject token with its type. */
  readonly parameters?: Readonly<Record<string, string>>
}

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
  /** Which of `scopes` a login may come without. */
  readonly optionalScopes?: readonly string[]
  /** What stands between two scopes of an answer of the server, where that is no space (RFC 6749 §3.3). */
  readonly scopeSeparator?: ','
  /** Where the browser is sent back to (RFC 8252 §7.3). Default: 127.0.0.1, an ephemeral port, `/callback`. */
  readonly redirect?: {
    readonly host?: '127.0.0.1' | '[::1]' | 'localhost'
    readonly ports?: readonly number[]
    readonly path?: string
  }
  /** Extra parameters of the authorization request. */
  readonly authorization?: Readonly<Record<string, string>>
  /** Where a login brings an API key. */
  readonly keyLogin?: KeyLogin
  /** Where a login can be exchanged for an API key of another provider. */
  readonly apiKeyExchange?: KeyExchange
  /** Where the device login of the server is not the one of RFC 8628. */
  readonly deviceLogin?: DeviceLogin
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
    /** Errors that mean that the refresh token is dead, besides `invalid_grant` (RFC 6749 §5.2). */
    readonly deadErrors?: readonly string[]
  }
  /** The header that carries an API key; default `Authorization`, as a bearer token. */
  readonly apiKeyHeader?: string
  readonly revocation?: {
    /** Body of the revocation request; default `form` (RFC 7009 §2.1). */
    readonly encoding?: 'form' | 'json'
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
  /**
   * Environment variables that may hold a credential, and of which kind. What one holds is used as it is, before
   * anything stored, and never written anywhere.
   */
  readonly environment?: Readonly<Record<string, 'api_key' | 'token'>>
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
  const { id, issuer, client, endpoints, metadata, deviceLogin } = provider as { [M in keyof Provider]: unknown }
  if (typeof id !== 'string' || !/^[^:\s]+$/.test(id)) yield 'id: must be a word without a colon'
  if (!isUrl(issuer)) yield 'issuer: must be an https URL (http only on loopback)'
  if (typeof (client as { id?: unknown } | undefined)?.id !== 'string') yield 'client.id: must be a string'
  if (typeof deviceLogin === 'object' && deviceLogin !== null) yield* problemsOfDeviceLogin(deviceLogin, issuer)
  if (endpoints !== undefined && !Array.isArray(endpoints)) {
    yield 'endpoints: must be a list'
    return
  }
  for (const [index, endpoint] of ((endpoints ?? []) as readonly (Partial<Endpoint> | null)[]).entries()) {
    const problem = typeof endpoint?.url === 'string' ? compilePattern(endpoint.url).problem : 'must be a string'
    if (problem !== undefined) yield `endpoints.${index}.url: ${problem}`
    const cookies: unknown = endpoint?.cookies ?? []
    const isNames = Array.isArray(cookies) && cookies.every((each) => typeof each === 'string' && cookieName.test(each))
    if (!isNames) yield `endpoints.${index}.cookies: must be names of cookies, with a star only at their end`
    else if (endpoint !== null) yield* problemsOfBaseUrl(endpoint as Endpoint, `endpoints.${index}.baseUrl`)
  }
  for (const [name, value] of Object.entries(metadata ?? {})) {
    if (/(_endpoint|^jwks_uri)$/.test(name) && !isUrl(value)) yield `metadata.${name}: must be an https URL`
  }
}

/** A client is told to send its token there. */
function* problemsOfBaseUrl({ url, baseUrl, service }: Endpoint, member: string): Generator<string> {
  const { isAt, host } = compilePattern(url)
  if (baseUrl === undefined && service !== undefined && host.includes('*')) {
    yield `${member}: is needed where the host of the url has a star`
  } else if (baseUrl !== undefined && !(isUrl(baseUrl) && isAt(new URL(baseUrl)))) {
    yield `${member}: must be an https URL on the host of the url`
  }
}

/** What is sent there brings a login home, and a person is led there: nowhere but where the provider's file says. */
function* problemsOfDeviceLogin(login: { [M in keyof DeviceLogin]?: unknown }, issuer: unknown): Generator<string> {
  const { origins } = login
  const allowed = [issuer, ...(Array.isArray(origins) ? (origins as readonly unknown[]) : [])]
    .filter(isUrl)
    .map((url) => new URL(url).origin)
  for (const name of ['codeEndpoint', 'pollEndpoint', 'verificationUri'] as const) {
    const url = login[name]
    if (url === undefined && name === 'verificationUri') continue
    if (!isUrl(url)) yield `deviceLogin.${name}: must be an https URL`
    else if (!allowed.includes(new URL(url).origin))
      yield `deviceLogin.${name}: must be on the origin of the issuer or on one of deviceLogin.origins`
  }
}

function isUrl(value: unknown): value is string {
  return typeof value === 'string' && URL.canParse(value) && isSecureUrl(new URL(value))
}

/** The `redirect.ports` to try in order; 0 lets the system choose one (RFC 8252 §7.3). */
export function redirectPorts(provider: Provider): readonly number[] {
  return provider.redirect?.ports ?? [0]
}

/** Whether our registration can be given all of the scopes, as far as that is known. */
export function isObtainable({ client }: Pick<Provider, 'client'>, scopes: readonly string[]): boolean {
  return client.scopes === undefined || missingScopes(scopes, client.scopes).length === 0
}
