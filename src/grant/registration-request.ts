import { type Json, type JsonObject, Secret } from '../credential.ts'
import { type AuthorizationServerMetadata, isSecureUrl } from '../provider.ts'
import { type AnswerClass, classifyAnswer, retryAfter } from './classify.ts'
import { assertClientIdUrl, describe, type RegistrationOutcome, type RegistrationRequest } from './registration.ts'
import { readAnswer } from './token-endpoint.ts'

/** What `registerClient` does. */
export async function register(
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
