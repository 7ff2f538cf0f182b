import type { Credential, CredentialKey } from '../credential.ts'
import type { BrokeredToken } from './access-token.ts'
import type { Clock } from './clock.ts'

/** A served token, and what must still hold for it to be served again. */
export interface CachedToken {
  readonly token: BrokeredToken
  readonly key: CredentialKey
  /** The very object that the store returned: another one means that somebody has changed the entry. */
  readonly credential: Credential
  /** Unix milliseconds until which it needs no new decision. */
  readonly goodUntil: number
}

const largest = 1_000

/**
 * Tokens that need no decision for the moment. Within `lookEveryMs` of the last look at the store an entry is answered
 * without any I/O; after that, whoever asks looks again (one stat, for a file).
 */
export class TokenCache {
  readonly #entries = new Map<string, CachedToken & { lookedAt: number }>()
  readonly #lookEveryMs = 50
  readonly #clock: Clock

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** A token that can be handed out as it is. */
  fresh(name: string, now: number): BrokeredToken | undefined {
    const entry = this.#entries.get(name)
    if (entry === undefined || now >= entry.goodUntil) return undefined
    return this.#clock.monotonic() - entry.lookedAt < this.#lookEveryMs ? entry.token : undefined
  }

  /** Which stored entry to look at before a cached token is handed out again. */
  keyOf(name: string): CredentialKey | undefined {
    return this.#entries.get(name)?.key
  }

  /** The token of an entry that has just been looked at, if the entry is still the one it was made from. */
  confirmed(name: string, credential: Credential | null, now: number): BrokeredToken | undefined {
    const entry = this.#entries.get(name)
    if (entry === undefined || entry.credential !== credential || now >= entry.goodUntil) return undefined
    entry.lookedAt = this.#clock.monotonic()
    return entry.token
  }

  remember(name: string, entry: CachedToken): void {
    if (this.#entries.size >= largest) this.#entries.clear()
    this.#entries.set(name, { ...entry, lookedAt: this.#clock.monotonic() })
  }

  clear(): void {
    this.#entries.clear()
  }
}
