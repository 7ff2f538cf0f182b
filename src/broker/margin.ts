import type { Moment } from './decide.ts'
import type { Usable } from './token-index.ts'

// When a token is too old. All of it is a share of the token's lifetime where that is short: a larger share would make
// a fresh token look old, and short-lived ones would be refreshed for ever.

const hard = { ms: 30_000, share: 0.1 }
const soft = { ms: 300_000, share: 0.2 }

/** How much life a token must have left to be handed out, in milliseconds. */
export function hardMargin(token: Usable, { minTtlMs, startedAt }: Pick<Moment, 'minTtlMs' | 'startedAt'>): number {
  if (token.obtainedAt >= startedAt) return 0
  return minTtlMs ?? Math.min(hard.ms, hard.share * lifetimeOf(token))
}

/**
 * How much life a token must have left for nobody to think of its successor yet, in milliseconds: a fifth of its
 * lifetime, at most 5 min, and less by up to a half where `leeway` says so, so that instances do not refresh together.
 */
export function softMargin(token: Usable, { leeway, startedAt }: Pick<Moment, 'leeway' | 'startedAt'>): number {
  if (token.obtainedAt >= startedAt) return 0
  return Math.min(soft.ms, soft.share * lifetimeOf(token)) * (1 - leeway / 2)
}

/** Unknown for a token that was written by hand: then it counts as long. */
function lifetimeOf({ expiresAt, obtainedAt }: Usable): number {
  return expiresAt === null || obtainedAt === 0 ? Infinity : expiresAt - obtainedAt
}

/** Whether a token has more than this much life left. */
export function livesLonger({ expiresAt }: Usable, marginMs: number, now: number): boolean {
  return expiresAt === null || expiresAt - now > marginMs
}
