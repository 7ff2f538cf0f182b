import { claimsOf } from '../claims.ts'
import { type CredentialKey, fingerprint, type Lease, type OAuthCredential, type Secret } from '../credential.ts'
import { AuthkeepError, isAuthkeepError } from '../errors.ts'
import { refresh } from '../grant/token-request.ts'
import { type Process, thisProcess } from '../owner.ts'
import type { Provider } from '../provider.ts'
import { Attempts } from './attempts.ts'
import { broughtBack, changeLogin, holds, isSameLogin } from './changes.ts'
import type { RefreshPlan } from './decide.ts'
import { publish } from './events.ts'
import { holdExit } from './hold-exit.ts'
import { LeaseClock } from './lease.ts'
import { Leases } from './leases.ts'
import { hasLearnedTheTime, type Server, Servers } from './servers.ts'
import { overtaken, type RefreshResult, Settlement } from './settlement.ts'
import { Successors, spentError } from './successors.ts'
import type { LeaseTools, Workbench } from './workbench.ts'

export interface RefresherOptions extends Omit<LeaseTools, 'process'> {
  readonly fetch: typeof fetch
  /** Default: the process that this is. */
  readonly process?: Process | undefined
  /** Default: the real grant. */
  readonly refresh?: typeof refresh | undefined
}

/** A refresh that was about to be sent too late into its lease. Nothing was spent. */
class Abandoned extends Error {}

/**
 * Spends refresh tokens, one at a time per credential and never twice: claim a lease, note that the token is about to
 * be sent, send it, store the successor before anything about the answer is judged. Every write is fenced: by the lease
 * id while the token is unspent, by the spent token itself afterwards.
 */
export class Refresher {
  readonly bench: Workbench
  readonly servers: Servers
  readonly #refresh: typeof refresh
  readonly #attempts: Attempts
  readonly #successors: Successors
  readonly #settlement: Settlement

  constructor(options: RefresherOptions) {
    const { store, fetch, clock, timing, process = thisProcess() } = options
    const tools = { store, clock, timing, process }
    this.bench = { ...tools, fetch, leases: new Leases(tools) }
    this.servers = new Servers(fetch)
    this.#refresh = options.refresh ?? refresh
    this.#attempts = new Attempts(clock)
    this.#successors = new Successors(this.bench)
    this.#settlement = new Settlement(this.bench)
  }

  /** Whether it is time for a refresh that nobody needs yet. */
  isDue({ grant }: OAuthCredential): boolean {
    return grant.refreshToken === null || this.#attempts.isDue(fingerprint(grant.refreshToken))
  }

  /** Keeps a distance from an attempt that has just failed: true if that took time, in which much may have changed. */
  async hasPaused({ grant }: OAuthCredential): Promise<boolean> {
    const pauseMs = grant.refreshToken === null ? 0 : this.#attempts.pauseMs(fingerprint(grant.refreshToken))
    if (pauseMs > 0) await this.bench.clock.delay(pauseMs)
    return pauseMs > 0
  }

  /** Tries again to store a successor that is still only in memory. Rejects while it cannot be. */
  async flush(key: CredentialKey): Promise<void> {
    await this.#successors.flush(key)
  }

  /** Stops retrying after one last attempt. */
  async close(): Promise<void> {
    await this.#successors.close()
  }

  /**
   * One refresh, from claim to stored token.
   *
   * @throws AuthkeepError `server_unavailable`, `edge_challenge`, `server_rejected`, `response_invalid`, `store_failed`,
   *   `store_busy`
   */
  async run(seen: OAuthCredential, plan: RefreshPlan, provider: Provider): Promise<RefreshResult> {
    try {
      const result = await this.#attempt(seen, plan, provider)
      if (seen.grant.refreshToken !== null) this.#attempts.succeeded(fingerprint(seen.grant.refreshToken))
      return result
    } catch (error) {
      await this.#noteFailure(seen, error)
      throw error
    }
  }

  /** The next attempt will be with whatever is stored by then, a successor perhaps that came with a bad answer. */
  async #noteFailure(seen: OAuthCredential, error: unknown): Promise<void> {
    // A person has to come first, and changes the token.
    if (isAuthkeepError(error) && error.remedy === 'authorize') return
    const retryAfterMs = isAuthkeepError(error, 'server_unavailable') ? error.detail.retryAfterMs : undefined
    const current = await this.bench.store.read(seen).catch(() => seen)
    if (current?.type !== 'oauth' || current.grant.refreshToken === null) return
    this.#attempts.failed(fingerprint(current.grant.refreshToken), retryAfterMs)
  }

  async #attempt(seen: OAuthCredential, plan: RefreshPlan, provider: Provider): Promise<RefreshResult> {
    // Before anything is claimed: a server that cannot even be discovered costs nothing.
    const server = await this.servers.of(provider)
    const spent = seen.grant.refreshToken
    if (spent === null || (await hasLearnedTheTime(seen, server, this.bench))) return { kind: 'overtaken' }
    const spentAt = await this.bench.store.spentAt(seen, fingerprint(spent))
    // One that came again later (a server may give the same one twice) is what the server says it is.
    if (spentAt !== null && spentAt >= seen.grant.obtainedAt) return this.#bringBack(seen, spent, spentAt)
    return this.bench.store.withoutOwner((isHeld) => this.#underLease(seen, plan, server, { spent, isHeld }))
  }

  /**
   * An older state of the entry has come back, with a refresh token that was spent already. It is never sent: the second
   * copy may know its successor, and otherwise only a login helps.
   */
  async #bringBack(seen: OAuthCredential, spent: Secret, since: number): Promise<RefreshResult> {
    const { store, clock } = this.bench
    const copy = await store.readCopy(seen)
    const successor = copy?.type === 'oauth' ? copy.grant.refreshToken : null
    const isNewer =
      copy?.type === 'oauth' &&
      successor !== null &&
      isSameLogin(copy, seen) &&
      copy.grant.obtainedAt >= seen.grant.obtainedAt &&
      (await store.spentAt(seen, fingerprint(successor))) === null
    // Or nothing has come back, and somebody has saved the successor since we looked.
    const now = await store.read(seen)
    if (now?.type !== 'oauth' || !holds(now, spent)) return this.#overtaken(seen)
    publish('rolled_back', seen, clock.now(), isNewer ? { successor: fingerprint(successor) } : {})
    if (!isNewer) {
      const { provider, account } = seen
      throw new AuthkeepError('refresh_interrupted', { provider, account, since, stage: 'rolled_back' })
    }
    await changeLogin(store, seen, (current) => (holds(current, spent) ? broughtBack(copy) : undefined))
    return { kind: 'overtaken' }
  }

  async #underLease(
    seen: OAuthCredential,
    plan: RefreshPlan,
    server: Server,
    { spent, isHeld }: { spent: Secret; isHeld: () => boolean },
  ): Promise<RefreshResult> {
    const { leases, clock: time, timing } = this.bench
    const clock = new LeaseClock(time)
    const lease = leases.begin(seen)
    try {
      if (!(await leases.claim(seen, lease, spent))) return this.#overtaken(seen)
      publish('claimed', seen, time.now())
      const { httpTimeoutMs, commitAllowanceMs } = timing
      return await holdExit(
        () => this.#spend(seen, plan, server, { lease, spent, clock, isHeld }),
        httpTimeoutMs + commitAllowanceMs,
      )
    } finally {
      // A successor that is only in memory is still work of this lease: nobody here may take it for abandoned.
      if (!this.#successors.isUnsaved(seen)) leases.release(lease)
    }
  }

  async #spend(
    seen: OAuthCredential,
    plan: RefreshPlan,
    server: Server,
    { lease, spent, clock, isHeld }: { lease: Lease; spent: Secret; clock: LeaseClock; isHeld: () => boolean },
  ): Promise<RefreshResult> {
    const { leases, fetch, clock: time, timing } = this.bench
    const sending = { hasBegun: false }
    const assertInTime = (): void => {
      const { leaseMs, httpTimeoutMs, commitAllowanceMs } = timing
      if (leaseMs - clock.elapsedMs() < httpTimeoutMs + commitAllowanceMs) throw new Abandoned()
      // The owner of the file may spend the same token.
      if (!isHeld()) throw new Abandoned()
    }
    try {
      assertInTime()
      if (!(await leases.markSent(seen, lease, spent, plan))) return this.#overtaken(seen)
      const outcome = await this.#refresh({
        ...server,
        refreshToken: spent,
        ...(plan.scopes === null ? {} : { scopes: plan.scopes }),
        requestedScopes: plan.scopes ?? seen.grant.scopes,
        resource: plan.resource,
        dpopKey: seen.dpopKey,
        expectedSubject: seen.subject,
        expectedNonce: nonceOf(seen),
        fetch,
        now: () => time.now(),
        timeoutMs: timing.httpTimeoutMs,
        beforeSend: () => {
          assertInTime()
          sending.hasBegun = true
          publish('sent', seen, time.now())
        },
        onAnswer: (body) => this.#successors.keep(body, { seen, lease, spent, isProbe: plan.isProbe }, server),
      })
      return await this.#settlement.settle(outcome, { seen, lease, spent, plan, server })
    } catch (error) {
      if (!sending.hasBegun) await leases.giveBack(seen, lease)
      if (error instanceof Abandoned) return this.#overtaken(seen)
      throw sending.hasBegun ? spentError(error) : error
    }
  }

  #overtaken(seen: OAuthCredential): RefreshResult {
    return overtaken(seen, this.bench.clock.now())
  }
}

/** The nonce of the login, as long as an ID token is kept that has one. */
function nonceOf({ idToken }: OAuthCredential): string | undefined {
  const nonce = idToken === undefined ? undefined : claimsOf(idToken)?.['nonce']
  return typeof nonce === 'string' ? nonce : undefined
}
