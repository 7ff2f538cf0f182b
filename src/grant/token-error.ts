import { AuthkeepError } from '../errors.ts'
import type { AuthorizationServerMetadata, Provider } from '../provider.ts'
import { printable } from './printable.ts'
import type { TokenOutcome } from './token-request.ts'

type Failed = Exclude<TokenOutcome, { kind: 'served' }>

/** The error of a request that came to nothing, as far as no credential is there that it could say more about. */
export function tokenError(
  { provider, metadata }: { readonly provider: Provider; readonly metadata: AuthorizationServerMetadata },
  outcome: Failed,
  endpoint = 'token_endpoint',
): AuthkeepError {
  const id = provider.id
  switch (outcome.kind) {
    case 'not_sent': {
      const { kind: _, ...said } = outcome
      return new AuthkeepError('server_unavailable', { provider: id, ...said, sent: false })
    }
    case 'limited': {
      const { kind: _, edge, ...limit } = outcome
      if (edge === undefined) return new AuthkeepError('server_unavailable', { provider: id, ...limit, sent: true })
      const url = metadata[endpoint]
      const { host } = new URL(typeof url === 'string' ? url : provider.issuer)
      return new AuthkeepError('edge_challenge', { host, ...edge, alternatives: [] })
    }
    case 'rejected':
    case 'refused':
      return rejection(provider, outcome.status, outcome.error, outcome.description)
    case 'invalid':
      return new AuthkeepError('response_invalid', { provider: id, status: outcome.status, what: outcome.what })
    case 'ambiguous': {
      const { status = null, cause, error, description } = outcome
      if (error !== undefined) return rejection(provider, status, error, description)
      const content = unusable[cause]
      const what = content === undefined ? cause : `the ${endpoint.replaceAll('_', ' ')} answered with ${content}`
      if (content !== undefined || /^http_[1-4]/.test(cause))
        return new AuthkeepError('response_invalid', { provider: id, status, what })
      const known = status === null ? {} : { status }
      return new AuthkeepError('server_unavailable', { provider: id, ...known, cause, sent: true })
    }
  }
}

const unusable: Readonly<Record<string, string>> = {
  html: 'a web page',
  empty: 'nothing',
  not_json: 'something that is not JSON',
}

/** An OAuth error in our words; what it says of itself is printed only as far as that is harmless. */
export function rejection(
  provider: Provider,
  status: number | null,
  error: string,
  description?: string | null,
): AuthkeepError {
  const said = printable(description)
  return new AuthkeepError('server_rejected', {
    provider: provider.id,
    status,
    error: printable(error) ?? 'unknown',
    ...(said === undefined ? {} : { description: said }),
  })
}
