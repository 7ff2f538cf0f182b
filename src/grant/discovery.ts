import { AuthkeepError } from '../errors.ts'
import { type AuthorizationServerMetadata, isSecureUrl, type Provider } from '../provider.ts'
import { classifyFailure } from './classify.ts'

export interface DiscoverOptions {
  readonly fetch: typeof fetch
  readonly signal?: AbortSignal | undefined
  /** For each document asked for; default 10 seconds. */
  readonly timeoutMs?: number
}

/** The well-known locations, in the order tried: OpenID Connect Discovery §4, then RFC 8414 §3. */
const algorithms = ['oidc', 'oauth2'] as const

/**
 * The authorization server's metadata. A provider that declares a `token_endpoint` is complete, and nothing is
 * fetched. Otherwise the well-known documents are, what they say must be about exactly this issuer (RFC 8414 §3.3),
 * and members that the provider declares win over discovered ones.
 *
 * @throws AuthkeepError `server_unavailable` when the server cannot be reached or answers 5xx, `response_invalid` when
 * what it answers is not metadata of this issuer; `signal.reason` when aborted
 */
export async function discover(provider: Provider, options: DiscoverOptions): Promise<AuthorizationServerMetadata> {
  if (provider.metadata?.token_endpoint !== undefined) return { ...provider.metadata, issuer: provider.issuer }
  let first: AuthkeepError | undefined
  for (const algorithm of algorithms) {
    try {
      const found = await fetchMetadata(provider, algorithm, options)
      const metadata = { ...found, ...provider.metadata, issuer: provider.issuer }
      if (typeof metadata.token_endpoint === 'string') return metadata
      const what = 'the authorization server metadata names no token_endpoint'
      throw new AuthkeepError('response_invalid', { provider: provider.id, status: 200, what })
    } catch (error) {
      if (!(error instanceof NotThere)) throw error
      // The first location is the one most servers use, so what it answered explains most.
      first ??= new AuthkeepError('response_invalid', {
        provider: provider.id,
        status: error.status,
        what: `there is no authorization server metadata at ${provider.issuer} (${error.message})`,
      })
    }
  }
  throw first as AuthkeepError
}

/** A well-known location without metadata; the next one may have it. */
class NotThere extends Error {
  readonly status: number | null

  constructor(message: string, status: number | null) {
    super(message)
    this.status = status
  }
}

async function fetchMetadata(
  provider: Provider,
  algorithm: (typeof algorithms)[number],
  options: DiscoverOptions,
): Promise<AuthorizationServerMetadata> {
  const client = await import('openid-client')
  const issuer = new URL(provider.issuer)
  const limit = AbortSignal.timeout(options.timeoutMs ?? 10_000)
  const signal = options.signal === undefined ? limit : AbortSignal.any([options.signal, limit])
  let status: number | undefined
  let failure: unknown
  const watched = async (url: string, init: object): Promise<Response> => {
    try {
      const response = await options.fetch(url, { ...init, signal })
      status = response.status
      const text = await response.text()
      return new Response(response.status === 200 ? text : null, {
        status: Math.max(200, status),
        headers: response.headers,
      })
    } catch (error) {
      failure = error
      throw error
    }
  }
  let found: AuthorizationServerMetadata
  try {
    const config = await client.discovery(issuer, provider.client.id, undefined, client.None(), {
      algorithm,
      [client.customFetch]: watched,
      // eslint-disable-next-line @typescript-eslint/no-deprecated -- only for an issuer on this machine
      ...(issuer.protocol === 'http:' && isSecureUrl(issuer) ? { execute: [client.allowInsecureRequests] } : {}),
    })
    found = { ...config.serverMetadata() }
  } catch (error) {
    options.signal?.throwIfAborted()
    throw explain(provider, error, status, failure)
  }
  if (found.issuer !== provider.issuer) throw wrongIssuer(provider)
  return found
}

function explain(provider: Provider, error: unknown, status: number | undefined, failure: unknown): Error {
  if (failure !== undefined) {
    const { cause } = classifyFailure(failure)
    return new AuthkeepError('server_unavailable', { provider: provider.id, cause, sent: false })
  }
  if (status !== undefined && status >= 500) {
    return new AuthkeepError('server_unavailable', {
      provider: provider.id,
      status,
      cause: `http_${status}`,
      sent: false,
    })
  }
  if (status === 429) {
    return new AuthkeepError('server_unavailable', {
      provider: provider.id,
      status,
      cause: 'rate_limited',
      sent: false,
    })
  }
  if ((error as { code?: unknown }).code === 'OAUTH_JSON_ATTRIBUTE_COMPARISON_FAILED') return wrongIssuer(provider)
  return new NotThere(status === undefined || status === 200 ? 'not JSON metadata' : `HTTP ${status}`, status ?? null)
}

function wrongIssuer(provider: Provider): AuthkeepError {
  const what = `the metadata is about another issuer than ${provider.issuer}`
  return new AuthkeepError('response_invalid', { provider: provider.id, status: 200, what })
}
