import { type Json, type JsonObject, Secret } from '../credential.ts'
import { type AuthorizationServerMetadata, isSecureUrl, type ProviderClient } from '../provider.ts'
import { formatScope } from '../scope.ts'
import { type AnswerClass, classifyAnswer, retryAfter } from './classify.ts'
import { readAnswer } from './token-endpoint.ts'

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
  const { clientIdUrl, initialAccessToken, timeoutMs = 20_000 } = request
  if (clientIdUrl !== undefined) assertClientIdUrl(clientIdUrl)
  if (clientIdUrl !== undefined && metadata['client_id_metadata_document_supported'] === true) {
    const client = { id: clientIdUrl, secret: null, secretExpiresAt: null, management: null }
    return { kind: 'registered', client: { ...client, authentication: request.authentication ?? 'none' } }
  }
  const { registration_endpoint: endpoint } = metadata
  if (endpoint === undefined) return { kind: 'not_supported' }
  if (typeof endpoint !== 'string' || !URL.canParse(endpoint) || !isSecureUrl(new URL(endpoint))) {
    const what = 'its registration_endpoint is neither an https URL nor on this machine'
    return { kind: 'invalid', status: null, what }
  }
  const token = initialAccessToken?.reveal()
  const answered = await readAnswer(request.fetch ?? fetch, endpoint, {
    method: 'POST',
    headers: {
      accept: 'application/json',
      'content-type': 'application/json',
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify(describe(request)),
    redirect: 'manual',
    signal: AbortSignal.timeout(timeoutMs),
  })
  if ('failure' in answered) {
    const { failure, status } = answered
    return { kind: 'unavailable', ...(status === undefined ? {} : { status }), ...failure }
  }
  const now = Date.now()
  const answer = classifyAnswer(answered, now, token === undefined ? [] : [token])
  // RFC 7591 §3.2.1 says 201; some servers say 200.
  return answer.kind === 'object'
    ? read(answer.body, answered.status, request)
    : failed(answer, retryAfter(answered.headers, now))
}

/**
 * The document of a client whose id is a URL (OAuth Client ID Metadata Document), to be published at that URL.
 *
 * @throws TypeError for a URL that cannot be a client id
 */
export function clientMetadataDocument(clientIdUrl: string, client: ClientDescription): JsonObject {
  assertClientIdUrl(clientIdUrl)
  return { ...describe(client), client_id: clientIdUrl }
}

/** https, with a path, and spelt in one way only: servers compare it as text. */
function assertClientIdUrl(text: string): void {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const isPlain = url?.href === text && url.username === '' && url.password === '' && !text.includes('#')
  if (url?.protocol !== 'https:' || !isPlain || url.pathname === '/')
    throw new TypeError('a client id is an https URL with a path, without credentials, fragment or dot segments')
}

function describe(client: ClientDescription): JsonObject {
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

function read(body: JsonObject, status: number, request: RegistrationRequest): RegistrationOutcome {
  const text = (member: string): string | undefined => {
    const value = body[member]
    return typeof value === 'string' && value !== '' ? value : undefined
  }
  const invalid = (what: string): RegistrationOutcome => ({ kind: 'invalid', status, what })
  const id = text('client_id')
  if (id === undefined) return invalid('it names no client_id')
  const uris: Json = body['redirect_uris'] ?? request.redirectUris
  if (!Array.isArray(uris) || request.redirectUris.some((uri) => !uris.includes(uri)))
    return invalid('it leaves out a redirect URI')
  const method = text('token_endpoint_auth_method')
  const authentication = methods.find((known) => known === method)
  if (method !== undefined && authentication === undefined)
    return invalid('it wants a client authentication that is not supported')
  const secret = text('client_secret')
  if (authentication?.startsWith('client_secret') === true && secret === undefined)
    return invalid('it names no client_secret')
  const ends = body['client_secret_expires_at']
  const [url, token] = [text('registration_client_uri'), text('registration_access_token')]
  return {
    kind: 'registered',
    client: {
      id,
      secret: secret === undefined ? null : new Secret(secret),
      secretExpiresAt: typeof ends === 'number' && ends > 0 ? ends * 1000 : null,
      authentication,
      management: url === undefined || token === undefined ? null : { url, token: new Secret(token) },
    },
  }
}

const methods = ['none', 'client_secret_post', 'client_secret_basic', 'private_key_jwt'] as const

function failed(
  answer: Exclude<AnswerClass, { kind: 'object' }>,
  wait: { readonly retryAfterMs?: number },
): RegistrationOutcome {
  const { status } = answer
  if (answer.kind === 'limited' || status >= 500)
    return { kind: 'unavailable', status, cause: 'cause' in answer ? answer.cause : answer.error, sent: true, ...wait }
  const error = 'error' in answer ? answer.error : undefined
  const isRefusal = status >= 400 || error !== undefined
  if (!isRefusal) return { kind: 'invalid', status, what: 'it is no JSON object' }
  const said = 'description' in answer ? { description: answer.description } : {}
  return { kind: 'refused', status, error: error ?? `http_${status}`, ...said }
}
