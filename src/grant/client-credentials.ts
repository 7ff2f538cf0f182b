import { AuthkeepError } from '../errors.ts'
import type { GrantFlow } from './flow.ts'

export interface ClientCredentialsOptions {
  /** Extra parameters of the token request. */
  readonly parameters?: Readonly<Record<string, string>>
}

/**
 * A grant to the client itself, without a person (RFC 6749 §4.4). A later version carries it out; for now `run` rejects
 * with AuthkeepError `not_supported`.
 */
export const clientCredentialsFlow: (options?: ClientCredentialsOptions) => GrantFlow = () => ({
  name: 'client-credentials',
  run: () => Promise.reject(new AuthkeepError('not_supported', { feature: 'the client credentials flow' })),
})
