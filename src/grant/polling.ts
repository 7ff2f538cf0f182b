import type { TokenOutcome } from './token-request.ts'

/** What to do after a poll that brought no token. `failed`: nothing that asking again could change. */
export type NextPoll =
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'denied' | 'expired' | 'failed' }

const slowDownMs = 5000
const longestMs = 60_000

/**
 * Judges one poll of a device login (RFC 8628 §3.5). Pure. `waitedMs` is how long was waited before it; `slow_down`
 * adds 5 s for good, and whatever looks like a network or a server in trouble doubles it.
 */
export function nextPoll(outcome: Exclude<TokenOutcome, { kind: 'served' }>, waitedMs: number): NextPoll {
  switch ('error' in outcome ? outcome.error : undefined) {
    case 'authorization_pending':
      return { kind: 'wait', ms: waitedMs }
    case 'slow_down':
      return { kind: 'wait', ms: waitedMs + slowDownMs }
    case 'access_denied':
      return { kind: 'denied' }
    case 'expired_token':
      return { kind: 'expired' }
    case undefined:
      break
    default:
      return { kind: 'failed' }
  }
  if (!isTrouble(outcome)) return { kind: 'failed' }
  const retryAfterMs = outcome.kind === 'limited' ? (outcome.retryAfterMs ?? 0) : 0
  return { kind: 'wait', ms: Math.max(retryAfterMs, waitedMs, Math.min(Math.max(waitedMs, 1000) * 2, longestMs)) }
}

/** Whether the next poll may find things better: nobody there, no answer, a server that asks for patience or fails. */
function isTrouble(outcome: Exclude<TokenOutcome, { kind: 'served' }>): boolean {
  if (outcome.kind === 'not_sent') return true
  if (outcome.kind === 'limited') return outcome.cause !== 'edge_challenge'
  return outcome.kind === 'ambiguous' && (outcome.status === undefined || outcome.status >= 500)
}
