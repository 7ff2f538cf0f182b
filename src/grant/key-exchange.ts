import { type JsonObject, Secret } from '../credential.ts'
import { AuthkeepError } from '../errors.ts'
import type { AuthorizationServerMetadata, KeyExchange, Provider } from '../provider.ts'
import { endpointOf } from './configuration.ts'
import { postNamed, textNamed } from './named-post.ts'
import { tokenError } from './token-error.ts'

/** One exchange of a token of a login for an API key. */
export interface KeyExchangeRequest {
  readonly provider: Provider
  readonly exchange: KeyExchange
  readonly metadata: AuthorizationServerMetadata
  /** The login, for messages. */
  readonly account: string
  /** The ID token or access token that is shown. It stays valid. */
  readonly subjectToken: Secret
  readonly fetch: typeof fetch
  /** Unix milliseconds. */
  readonly now: () => number
  readonly timeoutMs: number
}

/**
 * Exchanges a token for an API key (RFC 8693, with what the server wants besides): one POST to the token endpoint, not
 * repeated. Nothing of the login is spent.
 *
 * @throws AuthkeepError `not_entitled` where the server refuses this login, `server_rejected` where it refuses the
 *   client; `server_unavailable`, `edge_challenge`, `response_invalid`
 */
export async function exchangeForApiKey(request: KeyExchangeRequest): Promise<Secret> {
  const { provider, exchange, metadata, account, subjectToken, fetch, now, timeoutMs } = request
  const subject = exchange.subject ?? 'id_token'
  const answered = await postNamed({
    url: endpointOf(provider, metadata, 'token_endpoint').href,
    names: undefined,
    members: {
      ...exchange.parameters,
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      client_id: provider.client.id,
      subject_token: subjectToken.reveal(),
      subject_token_type: `urn:ietf:params:oauth:token-type:${subject}`,
    },
    ...{ secrets: [subjectToken.reveal()], fetch, now, timeoutMs },
  })
  if (answered.body !== null) return keyIn(answered.body, provider, answered.status)
  const { outcome } = answered
  // What is wrong with the request itself is `refused`; what is left of a refusal is about the account.
  const isAboutAccount = outcome.kind === 'rejected' || (outcome.kind === 'ambiguous' && outcome.error !== undefined)
  if (!isAboutAccount || outcome.status === undefined || outcome.status >= 500) {
    throw tokenError({ provider, metadata }, outcome)
  }
  const { status, error = 'unknown', description } = outcome
  throw new AuthkeepError('not_entitled', {
    ...{ provider: provider.id, account, keyFor: exchange.provider, status, error },
    ...(description === undefined ? {} : { description }),
  })
}

function keyIn(body: JsonObject, provider: Provider, status: number): Secret {
  const key = textNamed(body, 'access_token')
  if (key !== undefined) return new Secret(key)
  throw new AuthkeepError('response_invalid', { provider: provider.id, status, what: 'its answer brings no key' })
}
