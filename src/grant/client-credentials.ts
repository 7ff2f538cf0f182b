import type { GrantFlow } from './flow.ts'

/** What a server wants beyond RFC 6749 §4.4.2, an `audience` for instance. */
export interface ClientCredentialsOptions {
  /** Extra parameters of the token request. */
  readonly parameters?: Readonly<Record<string, string>>
}

/**
 * A grant to the client itself, without a person (RFC 6749 §4.4): for services with a secret or a key of their own. The
 * first resource is the one the token is for.
 *
 * `run` rejects with AuthkeepError `response_invalid`, `server_rejected`, `server_unavailable`, `edge_challenge`, or with
 * `signal.reason`.
 */
export function clientCredentialsFlow(options: ClientCredentialsOptions = {}): GrantFlow {
  return {
    name: 'client-credentials',
    run: async (request) => (await import('./client-credentials-request.ts')).obtain(request, options),
  }
}
