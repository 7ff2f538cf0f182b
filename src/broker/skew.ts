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

export function isMeasured(issuer: string): boolean {
  return skews.has(issuer)
}

/** Whether the times in an entry are of another machine's clock. Containers have names of their own, and the clock of their machine. */
export function isElsewhere({ grant: { refreshed } }: OAuthCredential, { owner }: Process): boolean {
  if (refreshed === undefined) return false
  return owner.bootId === null ? owner.host !== refreshed.host : owner.bootId !== refreshed.bootId
}

/**
 * What to add to our clock to compare it with the times in an entry. They are of the clock of the machine that wrote
 * them: of ours, if it was this one, however wrong it is. Another machine has noted how wrong its own was.
 */
export function offsetFor(credential: OAuthCredential, here: () => Process): number {
  const theirs = credential.grant.refreshed?.clockSkewMs ?? 0
  const ours = skewOf(credential.issuer)
  return theirs === ours || !isElsewhere(credential, here()) ? 0 : ours - theirs
}

/** What time it is for a server, Unix milliseconds; null where it does not say. Nothing but a `Date` is asked for. */
export async function timeAt(url: string, send: typeof fetch): Promise<number | null> {
  try {
    const response = await send(url, { method: 'HEAD', redirect: 'manual', signal: AbortSignal.timeout(5_000) })
    await response.body?.cancel()
    const time = Date.parse(response.headers.get('date') ?? '')
    return Number.isNaN(time) ? null : time
  } catch {
    // Whether it can be reached shows with the refresh.
    return null
  }
}
