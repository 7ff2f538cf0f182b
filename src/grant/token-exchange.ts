import type { Secret } from '../credential.ts'
import { AuthkeepError } from '../errors.ts'
import { formatScope } from '../scope.ts'
import { requestToken, type TokenOutcome, type TokenRequest } from './token-request.ts'

const grantType = 'urn:ietf:params:oauth:grant-type:token-exchange'
const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token'

/** Token types of RFC 8693 §3 that can be used as an access token. A server may call one a JWT because it is one. */
const usable: ReadonlySet<unknown> = new Set([accessTokenType, 'urn:ietf:params:oauth:token-type:jwt'])

/** One exchange: an access token for another that can do less, or the same elsewhere (RFC 8693). */
export interface TokenExchangeRequest extends Omit<TokenRequest, 'requestedScopes'> {
  /** The access token that is exchanged. It stays valid. */
  readonly subjectToken: Secret
  readonly scopes: readonly string[]
  /** Logical name of where the token is for, for servers that go by names instead of URLs (RFC 8693 §2.1). */
  readonly audience?: string | undefined
}

/**
 * Exchanges an access token for one of its own scopes, resource or audience (RFC 8693). The subject token is not spent
 * by it, so asking again is safe, whatever became of it. An answer is `invalid` if it brings anything but an access
 * token; whether it brings the scopes asked for is the caller's to compare, as ever.
 *
 * Rejects with AuthkeepError `not_supported` where the provider does not declare `tokenExchange`, `response_invalid` for
 * metadata that must not be used.
 */
export async function exchangeToken(request: TokenExchangeRequest): Promise<TokenOutcome> {
  const { provider, subjectToken, scopes, resource, audience } = request
  if (provider.tokenExchange !== true) {
    throw new AuthkeepError('not_supported', { feature: `Token exchange at ${provider.id}` })
  }
  const parameters = new URLSearchParams({
    subject_token: subjectToken.reveal(),
    subject_token_type: accessTokenType,
    requested_token_type: accessTokenType,
    ...(scopes.length === 0 ? {} : { scope: formatScope(scopes) }),
    ...(resource === null ? {} : { resource }),
    ...(audience === undefined ? {} : { audience }),
  })
  let issued: unknown
  const outcome = await requestToken(
    { ...request, requestedScopes: scopes, secrets: [subjectToken.reveal()] },
    async (client, config) => {
      const granted = await client.genericGrantRequest(config, grantType, parameters)
      issued = granted['issued_token_type']
      return granted
    },
  )
  if (outcome.kind !== 'served') return outcome
  const { tokenType } = outcome.answer
  const isUsable = (issued === undefined || usable.has(issued)) && (tokenType === 'Bearer' || tokenType === 'DPoP')
  return isUsable ? outcome : { kind: 'invalid', status: 200, what: 'it brings something else than an access token' }
}
