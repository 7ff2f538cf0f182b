import { channel } from 'node:diagnostics_channel'
import { fingerprint, type OAuthCredential } from '../credential.ts'

/**
 * What a broker says of its refreshes, on the channel `authkeep` of `node:diagnostics_channel`. Nothing in here is
 * secret: a refresh token is named by its fingerprint.
 *
 * One refresh is `claimed`, `sent`, then `stored` if it brought a successor (`revoked`, where the entry is gone and the
 * successor of no use), and ends as one of `served`; `unspent` (given back, nothing has changed); `ambiguous` (the refresh
 * token may have been spent); `refused` (it is dead); `invalid` (the answer cannot be trusted). `overtaken`: somebody else
 * has changed the entry, and nothing was sent.
 * `adopted`: a token was taken that another process fetched meanwhile. `rolled_back`: a spent refresh token has come back.
 */
export interface RefreshEvent {
  readonly type:
    | 'claimed'
    | 'sent'
    | 'stored'
    | 'revoked'
    | 'served'
    | 'unspent'
    | 'ambiguous'
    | 'refused'
    | 'invalid'
    | 'overtaken'
    | 'adopted'
    | 'rolled_back'
  readonly provider: string
  readonly account: string
  /** Unix milliseconds. */
  readonly at: number
  readonly generation: number
  /** Fingerprint of the refresh token that this is about. */
  readonly token: string | null
  /** Fingerprint of the refresh token that takes its place, for `stored` and `revoked`, and for `rolled_back` where one was found. */
  readonly successor?: string
  /** What went wrong, in a word or an error code. */
  readonly cause?: string
}

const events = channel('authkeep')

/** Says what happens to the refresh token of an entry to whoever listens; a look at a flag while nobody does. */
export function publish(
  type: RefreshEvent['type'],
  { provider, account, grant }: OAuthCredential,
  at: number,
  more: Pick<RefreshEvent, 'successor' | 'cause'> = {},
): void {
  if (!events.hasSubscribers) return
  const token = grant.refreshToken === null ? null : fingerprint(grant.refreshToken)
  const event: RefreshEvent = { type, provider, account, at, generation: grant.generation, token, ...more }
  events.publish(event)
}
