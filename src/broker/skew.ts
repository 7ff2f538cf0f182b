import type { OAuthCredential } from '../credential.ts'
import type { Process } from '../owner.ts'

/**
 * How far the clock of each issuer was ahead of ours when it last answered, in milliseconds. It belongs to this
 * process and is stored nowhere: whoever else reads the store has another clock.
 */
const skews = new Map<string, number>()

/** A `Date` has whole seconds (RFC 9110 §5.6.7) and an answer is under way for a while: less than this is no skew. */
const noiseMs = 5_000

/** Measures on an answer that has just arrived. `serverTime` is its `Date`, `receivedAt` our clock, Unix milliseconds. */
export function measureSkew(issuer: string, serverTime: number, receivedAt: number): void {
  const skew = serverTime + 500 - receivedAt
  skews.set(issuer, Math.abs(skew) < noiseMs ? 0 : skew)
}

/** How far the clock of an issuer is ahead of ours, in milliseconds; 0 until it has been measured. */
export function skewOf(issuer: string): number {
  return skews.get(issuer) ?? 0
}

/**
 * What to add to our clock to compare it with the times in an entry. They are of the clock of the machine that wrote
 * them: of ours, if it was this one, however wrong it is. Another machine's is taken to agree with the server's.
 */
export function offsetFor(credential: OAuthCredential, here: () => Process): number {
  const skew = skewOf(credential.issuer)
  const { refreshed } = credential.grant
  // Containers have names of their own, and the clock of their machine.
  if (skew === 0 || refreshed === undefined) return 0
  const { owner } = here()
  const isOurs = owner.bootId === null ? owner.host === refreshed.host : owner.bootId === refreshed.bootId
  return isOurs ? 0 : skew
}
