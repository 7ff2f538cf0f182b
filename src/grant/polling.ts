import { setTimeout as delay } from 'node:timers/promises'
import { abortable } from '../abort.ts'
import { AuthkeepError } from '../errors.ts'
import type { GrantRequest } from './flow.ts'
import type { TokenOutcome } from './token-request.ts'

/** What a poll that brought nothing came to. */
export type Unserved = Exclude<TokenOutcome, { kind: 'served' }>

/** How a server is polled. */
export interface Polling {
  readonly request: GrantRequest
  /** Waited before the first poll. */
  readonly waitMs: number
  /** Unix milliseconds. What would come later is not waited for. */
  readonly expiresAt: number
  readonly sleep: (ms: number, signal: AbortSignal | undefined) => Promise<unknown>
  /** The error for an outcome that asking again cannot change. */
  readonly failed: (outcome: Unserved) => AuthkeepError
}

/**
 * Asks until there is an answer: as often as the server allows, and less often while it says `slow_down` or cannot be
 * reached (RFC 8628 §3.5). No failure of the network ends it before `expiresAt`. Where an answer was lost and the server
 * then calls what it was asked with dead, it has been spent on the answer that was lost.
 *
 * @throws AuthkeepError `authorization_required` (`denied`, `timed_out`, `answer_lost`), or what `failed` makes
 */
export async function poll<Answer>(
  ask: () => Promise<{ readonly kind: 'served'; readonly answer: Answer } | Unserved>,
  { request, waitMs: firstMs, expiresAt, sleep, failed }: Polling,
): Promise<Answer> {
  const { provider, account, now, signal } = request
  const over = (reason: 'denied' | 'timed_out' | 'answer_lost'): AuthkeepError =>
    new AuthkeepError('authorization_required', { provider: provider.id, account, reason })
  let waitMs = firstMs
  let isLost = false
  for (;;) {
    if (now() + waitMs >= expiresAt) throw over('timed_out')
    await abortable(sleep(waitMs, signal), signal)
    const outcome = await abortable(ask(), signal)
    if (outcome.kind === 'served') return outcome.answer
    const next = nextPoll(outcome, waitMs)
    if (next.kind === 'wait') {
      waitMs = next.ms
      if (outcome.kind === 'ambiguous' && outcome.error === undefined) isLost = true
      else if ('error' in outcome && outcome.error === 'authorization_pending') isLost = false
    } else if (next.kind === 'expired') throw over('timed_out')
    else if (next.kind === 'denied') throw over('denied')
    else throw isLost && outcome.kind === 'rejected' ? over('answer_lost') : failed(outcome)
  }
}

/** Waits by the system's timer. */
export function timer(ms: number, signal: AbortSignal | undefined): Promise<unknown> {
  return delay(ms, undefined, signal === undefined ? {} : { signal })
}

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
export function nextPoll(outcome: Unserved, waitedMs: number): NextPoll {
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
function isTrouble(outcome: Unserved): boolean {
  if (outcome.kind === 'not_sent') return true
  if (outcome.kind === 'limited') return outcome.cause !== 'edge_challenge'
  return outcome.kind === 'ambiguous' && (outcome.status === undefined || outcome.status >= 500)
}
