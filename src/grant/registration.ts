import type { JsonObject, Secret } from '../credential.ts'
import { type AuthorizationServerMetadata, isSecureUrl, type ProviderClient } from '../provider.ts'
import { formatScope } from '../scope.ts'

/** What a client says of itself (RFC 7591 §2). */
export interface ClientDescription {
  readonly redirectUris: readonly string[]
  readonly clientName?: string
  /** All that it may ever ask for. */
  readonly scopes?: readonly string[]
  /** Default: `authorization_code` and `refresh_token`. */
  readonly grantTypes?: readonly string[]
  /** Default `none`: a program that many people have cannot keep a secret. */
  readonly authentication?: NonNullable<ProviderClient['authentication']>
  /** More members under their RFC 7591 names; they win. */
  readonly members?: JsonObject
}

export interface RegistrationRequest extends ClientDescription {
  /**
   * Where a document of this client is published (`clientMetadataDocument`). At a server that reads such documents this
   * is the client id, and nothing is registered.
   */
  readonly clientIdUrl?: string | undefined
  /** For servers that do not let just anybody register (RFC 7591 §3). */
  readonly initialAccessToken?: Secret | undefined
  /** Default: the global one. */
  readonly fetch?: typeof fetch
  /** Default 20 seconds. */
  readonly timeoutMs?: number
}

/** A registration, for a provider's `client`. */
export interface RegisteredClient {
  readonly id: string
  readonly secret: Secret | null
  /** Unix milliseconds, or null where it does not end. */
  readonly secretExpiresAt: number | null
  /** As the server has decided; undefined where it does not say. */
  readonly authentication: ProviderClient['authentication']
  /** Where the registration can be changed, and the token for that (RFC 7592). */
  readonly management: { readonly url: string; readonly token: Secret } | null
}

/** What came of a registration (RFC 7591 §3.2). `retryAfterMs`: milliseconds. */
export type RegistrationOutcome =
  | { readonly kind: 'registered'; readonly client: RegisteredClient }
  /** The server neither registers clients nor reads their documents. */
  | { readonly kind: 'not_supported' }
  | { readonly kind: 'refused'; readonly status: number; readonly error: string; readonly description?: string }
  /** Nobody answered, or asks for patience. If the request was sent, the server may know a client that we do not. */
  | {
      readonly kind: 'unavailable'
      readonly status?: number
      readonly cause: string
      readonly sent: boolean
      readonly proxy?: string
      readonly retryAfterMs?: number
    }
  /** An answer that cannot be used. */
  | { readonly kind: 'invalid'; readonly status: number | null; readonly what: string }

/**
 * Makes this program known to an authorization server: by the URL of its own document where the server reads such
 * documents, else by dynamic registration (RFC 7591). What the server decides counts, not what was asked for; of the
 * redirect URIs, all must have been accepted.
 *
 * Every answer of the server and every failure of the network is an outcome. Rejects with TypeError for a `clientIdUrl`
 * that cannot be a client id.
 */
export async function registerClient(
  metadata: AuthorizationServerMetadata,
  request: RegistrationRequest,
): Promise<RegistrationOutcome> {
  const { register } = await import('./registration-request.ts')
  return register(metadata, request)
}

/**
 * The document of a client whose id is a URL (draft-ietf-oauth-client-id-metadata-document §4), to be published at that
 * URL.
 *
 * @throws TypeError for a URL that cannot be a client id
 */
export function clientMetadataDocument(clientIdUrl: string, client: ClientDescription): JsonObject {
  assertClientIdUrl(clientIdUrl)
  return { ...describe(client), client_id: clientIdUrl }
}

/** https, with a path, and spelt in one way only: servers compare it as text. */
export function assertClientIdUrl(text: string): void {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const isPlain = url?.href === text && url.username === '' && url.password === '' && !text.includes('#')
  if (url?.protocol !== 'https:' || !isPlain || url.pathname === '/')
    throw new TypeError('a client id is an https URL with a path, without credentials, fragment or dot segments')
}

/** The members of a registration request, or of a document. */
export function describe(client: ClientDescription): JsonObject {
  const { redirectUris, clientName, scopes, members } = client
  const grantTypes = client.grantTypes ?? ['authorization_code', 'refresh_token']
  return {
    redirect_uris: redirectUris,
    grant_types: grantTypes,
    response_types: grantTypes.includes('authorization_code') ? ['code'] : [],
    token_endpoint_auth_method: client.authentication ?? 'none',
    // OpenID Connect Registration §2: to `web`, the default, some servers refuse a redirect to this machine.
    application_type: redirectUris.every(isNative) ? 'native' : 'web',
    ...(clientName === undefined ? {} : { client_name: clientName }),
    ...(scopes === undefined ? {} : { scope: formatScope(scopes) }),
    ...members,
  }
}

/** RFC 8252 §7: a scheme of the program's own, or the loopback interface. */
function isNative(uri: string): boolean {
  const { protocol } = new URL(uri)
  return protocol !== 'https:' && (protocol !== 'http:' || isSecureUrl(new URL(uri)))
}
