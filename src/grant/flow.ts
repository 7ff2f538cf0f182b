import type { Evidence, Reissue, Secret } from '../credential.ts'
import type { Provider } from '../provider.ts'
import type { DpopKey } from './dpop.ts'

/** What a flow is asked to obtain. Everything it may touch comes by argument. */
export interface GrantRequest {
  readonly provider: Provider
  readonly scopes: readonly string[]
  /** RFC 8707 resources the grant should cover; the first is the one the first access token is for. */
  readonly resources: readonly string[]
  /** Authentication context classes of which the login should be one (RFC 9470 §4); flows without a person take no notice. */
  readonly acrValues?: readonly string[]
  /** How long ago the person may have logged in, in seconds (RFC 9470 §4). */
  readonly maxAge?: number
  readonly account: string
  /** The key to bind the grant to, where the provider wants one (RFC 9449); by default a new one. */
  readonly dpopKey?: DpopKey | undefined
  /** By which everything is sent. */
  readonly fetch: typeof fetch
  /** Unix milliseconds. */
  readonly now: () => number
  readonly signal: AbortSignal | undefined
  /** Which of several logins that are stored together this is, counted from 1; absent where it is the only one. */
  readonly part?: { readonly number: number; readonly of: number }
  /**
   * Stores what the flow brings home; before the last `part` it only takes it over. A flow that tells a person of success
   * awaits it before, and rejects as it does; the others leave it to whoever runs them. A second call stores nothing more.
   * Resolves with the account name it is stored under, where that is known.
   */
  readonly keep?: (answer: GrantAnswer) => Promise<unknown>
}

/** What a token endpoint answered, validated, in our names. */
export interface TokenAnswer {
  readonly accessToken: Secret
  readonly tokenType: string
  /** Granted scopes: what the answer says, else what was asked for (RFC 6749 §5.1), told apart by `evidence`. */
  readonly scopes: readonly string[]
  readonly evidence: Evidence
  readonly resource: string | null
  /** Unix milliseconds, or null where the server did not say. */
  readonly expiresAt: number | null
  readonly refreshToken: Secret | null
  readonly refreshExpiresAt: number | null
  readonly idToken: Secret | null
  readonly subject: string | null
  readonly obtainedAt: number
  /** What the server's clock said when it answered (its `Date`, to the second), Unix milliseconds. */
  readonly serverTime?: number
}

/** What a flow brings home. The broker decides where it is stored. */
export type GrantAnswer =
  | {
      readonly type: 'oauth'
      /** Scopes and resources of the whole grant, which may be wider than the first token's. */
      readonly scopes: readonly string[]
      /** How the grant's scopes are known, which may be weaker than how the token's are. */
      readonly evidence: Evidence
      readonly resources: readonly string[]
      readonly token: TokenAnswer
      /** The client obtains such a token by itself, whenever it wants one (RFC 6749 §4.4). */
      readonly reissue?: Reissue
      /** Proven with every request that was made: what is bound to it, refresh token included, is useless without it. */
      readonly dpopKey?: DpopKey
    }
  | { readonly type: 'api_key'; readonly key: Secret }
  | { readonly type: 'token'; readonly token: Secret; readonly expiresAt: number | null }

/**
 * A way to obtain a grant: a browser, a device code, a pasted key. It stores nothing and changes nothing; if it
 * rejects, everything is as it was before.
 */
export interface GrantFlow {
  readonly name: string
  /** Obtains the grant, or rejects: with an AuthkeepError that says why not, or with `signal.reason`. */
  run(request: GrantRequest): Promise<GrantAnswer>
}
