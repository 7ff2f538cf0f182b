import type { Clock } from './clock.ts'

interface Failures {
  readonly count: number
  /** On the monotonic clock. */
  readonly lastAt: number
  readonly retryAfterMs: number
}

/** Somebody waits for it, so not for long. */
const wanted = { firstMs: 250, mostMs: 2_000 }
/** Nobody needs it yet. */
const unwanted = { firstMs: 10_000, mostMs: 300_000 }

const largest = 1_000

/**
 * Which refresh tokens have just failed to bring anything, by fingerprint, so that a server in trouble is not asked again
 * at once. A token that was refused for good needs no place here: its entry says so. Forgotten with the process, and
 * with the token: its successor, or a new login, starts afresh.
 */
export class Attempts {
  readonly #clock: Clock
  readonly #failures = new Map<string, Failures>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  failed(token: string, retryAfterMs = 0): void {
    const count = (this.#failures.get(token)?.count ?? 0) + 1
    if (this.#failures.size >= largest) this.#failures.clear()
    this.#failures.set(token, { count, lastAt: this.#clock.monotonic(), retryAfterMs })
  }

  succeeded(token: string): void {
    this.#failures.delete(token)
  }

  /** How long to wait before the next attempt that somebody needs, in milliseconds. */
  pauseMs(token: string): number {
    const failures = this.#failures.get(token)
    return failures === undefined ? 0 : this.#left(failures, backOff(failures.count, wanted))
  }

  /**
   * Whether it is time for an attempt that nobody needs yet. Only here is a `Retry-After` obeyed for the caller; one
   * that needs a token has been told of it and decides for itself (RFC 9110 §10.2.3).
   */
  isDue(token: string): boolean {
    const failures = this.#failures.get(token)
    if (failures === undefined) return true
    return this.#left(failures, Math.max(failures.retryAfterMs, backOff(failures.count, unwanted))) === 0
  }

  #left({ lastAt }: Failures, pauseMs: number): number {
    return Math.max(0, lastAt + pauseMs - this.#clock.monotonic())
  }
}

function backOff(count: number, { firstMs, mostMs }: { firstMs: number; mostMs: number }): number {
  return Math.min(mostMs, firstMs * 2 ** (count - 1))
}
