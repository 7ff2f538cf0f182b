import { formatScope } from '../scope.ts'
import type { ClientCredentialsOptions } from './client-credentials.ts'
import { discover } from './discovery.ts'
import { dpopKeyFor } from './dpop.ts'
import type { GrantAnswer, GrantRequest } from './flow.ts'
import { grantedScopes } from './granted-scopes.ts'
import { tokenError } from './token-error.ts'
import { requestToken, type TokenOutcome, type TokenRequest } from './token-request.ts'

export interface ClientCredentialsRequest extends Omit<TokenRequest, 'requestedScopes'>, ClientCredentialsOptions {
  readonly scopes: readonly string[]
}

/**
 * A token for the client itself, without a person (RFC 6749 §4.4). There is no refresh token to spend, so whatever
 * became of it, asking again is safe: that is how such a token is issued anew.
 *
 * Every answer of the server and every failure of the network is an outcome. Rejects with AuthkeepError
 * `response_invalid` for metadata that must not be used, and with TypeError for a key that is none.
 */
export async function requestClientCredentials(request: ClientCredentialsRequest): Promise<TokenOutcome> {
  const { scopes, resource } = request
  const parameters = new URLSearchParams(request.parameters)
  if (scopes.length > 0) parameters.set('scope', formatScope(scopes))
  if (resource !== null) parameters.set('resource', resource)
  const secrets: readonly string[] = []
  return requestToken({ ...request, requestedScopes: scopes, secrets }, (client, config) =>
    client.clientCredentialsGrant(config, parameters),
  )
}

const timeoutMs = 20_000

/** What `clientCredentialsFlow` does. */
export async function obtain(request: GrantRequest, { parameters }: ClientCredentialsOptions): Promise<GrantAnswer> {
  const { provider, fetch, signal, resources } = request
  signal?.throwIfAborted()
  const metadata = await discover(provider, { fetch, signal })
  const dpopKey = await dpopKeyFor(request)
  signal?.throwIfAborted()
  const extra = parameters === undefined ? {} : { parameters }
  const resource = resources[0] ?? null
  const outcome = await requestClientCredentials({ ...request, ...extra, metadata, resource, dpopKey, timeoutMs })
  signal?.throwIfAborted()
  if (outcome.kind !== 'served') throw tokenError({ provider, metadata }, outcome)
  const { answer: token } = outcome
  const granted = await grantedScopes(token, { ...request, metadata, timeoutMs })
  const again = { reissue: extra }
  return { type: 'oauth', ...granted, resources, token, ...again, ...(dpopKey === undefined ? {} : { dpopKey }) }
}
