import { fingerprint, type Grant, type Lease, type OAuthCredential, type Owner } from '../credential.ts'
import { randomUUID } from '../on-demand.ts'
import type { Provider } from '../provider.ts'
import type { Clock } from './clock.ts'

/** Time limits of a refresh, in milliseconds. */
export interface RefreshTiming {
  /** How long a lease may be held. */
  readonly leaseMs: number
  /** How long the authorization server may take. */
  readonly httpTimeoutMs: number
  /** What is kept free of the lease to write the successor. */
  readonly commitAllowanceMs: number
  /** How much longer a lease that ran out after sending is respected where a second use would be fatal. */
  readonly inDoubtWaitMs: number
}

export const defaultTiming: RefreshTiming = {
  leaseMs: 30_000,
  httpTimeoutMs: 20_000,
  commitAllowanceMs: 5_000,
  inDoubtWaitMs: 60_000,
}

const longestLeaseMs = 600_000

/** Refuses a lease that would always be too short for the request it is for. */
export function checkedTiming(timing: RefreshTiming): RefreshTiming {
  if (timing.leaseMs > timing.httpTimeoutMs + timing.commitAllowanceMs) return timing
  throw new TypeError('leaseMs must be more than httpTimeoutMs and commitAllowanceMs together')
}

/** What a waiter knows about the holder of a lease. */
export interface LeaseView {
  readonly vitality: 'alive' | 'dead' | 'unknown'
  /** On the waiter's own monotonic clock, since it first saw this lease id. */
  readonly seenForMs: number
  readonly inDoubtWaitMs: number
}

export type LeaseVerdict =
  | { readonly kind: 'free' }
  | { readonly kind: 'wait'; readonly forMs: number }
  /** Its holder is gone, and may have spent the refresh token. */
  | { readonly kind: 'in_doubt' }

/**
 * What a lease means to somebody who wants to refresh. Pure. A holder is believed to be dead only with proof; a lease
 * that ran out unsent is free whatever became of its holder, because the holder's own next step is fenced by the takeover.
 */
export function judgeLease(credential: OAuthCredential, provider: Provider, view: LeaseView): LeaseVerdict {
  const { lease, grant } = credential
  if (lease === null || !isFor(lease, grant)) return { kind: 'free' }
  const abandoned: LeaseVerdict =
    lease.sentAt === null || spendsNothing(provider) ? { kind: 'free' } : { kind: 'in_doubt' }
  if (view.vitality === 'dead') return abandoned
  // What stands in a file may be anything; no honest holder takes longer.
  const leaseMs = Math.min(lease.ms, longestLeaseMs)
  const waitMs = abandoned.kind === 'free' || forgives(provider) ? leaseMs : leaseMs + view.inDoubtWaitMs
  return view.seenForMs >= waitMs ? abandoned : { kind: 'wait', forMs: waitMs - view.seenForMs }
}

/** A lease means nothing for any refresh token but its own. */
export function isFor(lease: Lease, grant: Grant): boolean {
  return grant.refreshToken !== null && lease.token === fingerprint(grant.refreshToken)
}

/** Whether a refresh token survives its use. */
export function spendsNothing(provider: Provider): boolean {
  return provider.refresh?.rotation === 'none'
}

function forgives(provider: Provider): boolean {
  return typeof provider.refresh?.rotation === 'object'
}

/** A new claim on the refresh token of a grant, padded so that a full disk shows while the token is unspent. */
export function claimLease(credential: OAuthCredential, owner: Owner, now: number, ms: number): Lease {
  const { grant } = credential
  if (grant.refreshToken === null) throw new TypeError('nothing to refresh with')
  return {
    id: randomUUID(),
    owner,
    ms,
    claimedAt: now,
    sentAt: null,
    token: fingerprint(grant.refreshToken),
    padding: '.'.repeat(roomForSuccessor(credential)),
  }
}

/** Three times the longest token of this entry, and at least a few kilobytes: a JWT may be the first of its kind. */
function roomForSuccessor({ grant, tokens, idToken }: OAuthCredential): number {
  const lengths = [grant.refreshToken, idToken, ...tokens.map(({ accessToken }) => accessToken)]
  const longest = Math.max(...lengths.map((secret) => secret?.reveal().length ?? 0))
  return Math.max(4096, 3 * longest)
}

/** How long a lease has been held: a suspended machine stops one clock, a corrected one moves the other. */
export class LeaseClock {
  readonly #clock: Clock
  readonly #startedWall: number
  readonly #startedMonotonic: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#startedWall = clock.now()
    this.#startedMonotonic = clock.monotonic()
  }

  elapsedMs(): number {
    return Math.max(this.#clock.monotonic() - this.#startedMonotonic, this.#clock.now() - this.#startedWall)
  }
}
