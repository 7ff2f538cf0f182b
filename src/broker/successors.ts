import {
  type CredentialKey,
  fingerprint,
  type JsonObject,
  keyName,
  type Lease,
  type OAuthCredential,
  Secret,
} from '../credential.ts'
import { AuthkeepError, isAuthkeepError } from '../errors.ts'
import { revokeToken } from '../grant/revoke.ts'
import type { CredentialStore } from '../store/store.ts'
import { keeps, withSuccessor } from './changes.ts'
import type { Clock } from './clock.ts'
import { publish } from './events.ts'
import type { Leases } from './leases.ts'
import type { Server } from './servers.ts'
import { skewOf } from './skew.ts'
import type { Workbench } from './workbench.ts'

/** Keeps the refresh tokens that answers bring: stored at once, or in memory and tried again until they are. */
export class Successors {
  readonly #store: CredentialStore
  readonly #fetch: typeof fetch
  readonly #clock: Clock
  readonly #leases: Leases
  /** Those that could not be stored. */
  readonly #unsaved = new Map<string, () => Promise<void>>()
  readonly #retries = new Set<Promise<void>>()
  readonly #stop = new AbortController()

  constructor({ store, fetch, clock, leases }: Workbench) {
    this.#store = store
    this.#fetch = fetch
    this.#clock = clock
    this.#leases = leases
  }

  /** Whether one of this credential is still only in memory. */
  isUnsaved(key: CredentialKey): boolean {
    return this.#unsaved.has(keyName(key))
  }

  /** Persist first, judge second: whatever else is wrong with this answer, its refresh token is the only one left. */
  async keep(
    body: JsonObject,
    refresh: { seen: OAuthCredential; lease: Lease; spent: Secret; isProbe: boolean },
    server: Server,
  ): Promise<void> {
    const { seen, lease, spent } = refresh
    const value = body['refresh_token']
    if (typeof value !== 'string' || value === '' || value === spent.reveal()) return
    const successor = new Secret(value)
    const at = this.#clock.now()
    const save = async (keepsLease: boolean): Promise<void> => {
      const stored = await this.#store.update(seen, (current) => {
        const next = withSuccessor(current, { ...refresh, successor, at, clockSkewMs: skewOf(seen.issuer) })
        return keepsLease || next?.lease?.id !== lease.id ? next : { ...next, lease: null }
      })
      const what = keeps(stored, successor) ? 'stored' : 'revoked'
      publish(what, seen, this.#clock.now(), { successor: fingerprint(successor) })
      // The token that a probe sent survives.
      if (!refresh.isProbe) await this.#noteSpent(seen, spent, at)
      // Logged out meanwhile, or somebody else logged in: a token that nobody will ever use must not stay valid.
      if (!keeps(stored, successor)) {
        await revokeToken({ ...server, token: successor, hint: 'refresh_token', fetch: this.#fetch, timeoutMs: 5_000 })
      }
    }
    try {
      await save(true)
    } catch (error) {
      this.#keepTrying(keyName(seen), async () => {
        await save(false)
        this.#leases.release(lease)
      })
      throw spentError(error)
    }
  }

  /** Tries again to store a successor that is still only in memory. Rejects while it cannot be. */
  async flush(key: CredentialKey): Promise<void> {
    await this.#unsaved.get(keyName(key))?.()
  }

  /** Stops retrying after one last attempt. */
  async close(): Promise<void> {
    this.#stop.abort()
    await Promise.all(this.#retries)
    await Promise.all([...this.#unsaved.values()].map((save) => save()))
  }

  /** What cannot be noted can be caught by nobody but this process; that is no reason to withhold a token. */
  async #noteSpent(key: CredentialKey, spent: Secret, at: number): Promise<void> {
    try {
      await this.#store.noteSpent(key, fingerprint(spent), at)
    } catch (error) {
      if (!isAuthkeepError(error)) throw error
    }
  }

  #keepTrying(name: string, save: () => Promise<void>): void {
    const once = async (): Promise<void> => {
      try {
        await save()
        if (this.#unsaved.get(name) === once) this.#unsaved.delete(name)
      } catch (error) {
        throw spentError(error)
      }
    }
    this.#unsaved.set(name, once)
    const retries = this.#retry(name, once).finally(() => this.#retries.delete(retries))
    this.#retries.add(retries)
  }

  async #retry(name: string, once: () => Promise<void>): Promise<void> {
    for (let pauseMs = 50; this.#unsaved.get(name) === once; pauseMs = Math.min(pauseMs * 2, 5_000)) {
      try {
        await this.#clock.delay(pauseMs, this.#stop.signal)
        await once()
      } catch {
        // Still not to be stored, or stopped: the callers hear of it from flush(), and close() tries a last time.
        if (this.#stop.signal.aborted) return
      }
    }
  }
}

/** A store error after the token was sent says so: its remedy is to make room, not to log in. */
export function spentError(error: unknown): unknown {
  if (!isAuthkeepError(error, 'store_failed')) return error
  return new AuthkeepError('store_failed', { ...error.detail, unspent: false })
}
