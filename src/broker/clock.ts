import { setTimeout as delay } from 'node:timers/promises'

/** Time and chance, as the broker knows them: nothing in this room takes them from anywhere else. */
export interface Clock {
  /** Unix milliseconds; people and time servers correct it. */
  now(): number
  /** Milliseconds since whenever, which only grow; they may stand still while the machine sleeps. */
  monotonic(): number
  /** Resolves after `ms` milliseconds; rejects as soon as the signal is aborted. */
  delay(ms: number, signal?: AbortSignal): Promise<void>
  /** At least 0 and below 1. */
  random(): number
}

/** The clock of the system, with another wall clock where one is given. */
export function systemClock(now: () => number = Date.now): Clock {
  return {
    now,
    // As fast as `performance.now()`, which is the same clock, and loads nothing.
    monotonic: () => {
      const [seconds, nanoseconds] = process.hrtime()
      return seconds * 1e3 + nanoseconds / 1e6
    },
    delay: (ms, signal) => delay(ms, undefined, signal === undefined ? {} : { signal }),
    random: Math.random,
  }
}
