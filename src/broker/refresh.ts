import { claimsOf } from '../claims.ts'
import {
  type CredentialKey,
  fingerprint,
  type JsonObject,
  keyName,
  type Lease,
  movedTo,
  type OAuthCredential,
  Secret,
} from '../credential.ts'
import { AuthkeepError, isAuthkeepError } from '../errors.ts'
import { requestClientCredentials } from '../grant/client-credentials.ts'
import { endpointOf } from '../grant/configuration.ts'
import { discover } from '../grant/discovery.ts'
import type { TokenAnswer } from '../grant/flow.ts'
import { introspectScopes } from '../grant/introspection.ts'
import { type RevocationOutcome, revokeToken } from '../grant/revoke.ts'
import { tokenError } from '../grant/token-error.ts'
import { exchangeToken } from '../grant/token-exchange.ts'
import { type RefreshOutcome, refresh } from '../grant/token-request.ts'
import { type Process, thisProcess } from '../owner.ts'
import type { AuthorizationServerMetadata, Provider } from '../provider.ts'
import type { CredentialStore } from '../store/store.ts'
import { Attempts } from './attempts.ts'
import {
  broughtBack,
  carries,
  holds,
  inDoubt,
  isHolder,
  isSameJudgement,
  isSameLease,
  isSameLogin,
  keeps,
  ledgerLine,
  withForced,
  withSuccessor,
  withToken,
} from './changes.ts'
import type { Clock } from './clock.ts'
import type { ExchangePlan, RefreshPlan, ReissuePlan } from './decide.ts'
import { publish, type RefreshEvent } from './events.ts'
import { holdExit } from './hold-exit.ts'
import { claimLease, judgeLease, LeaseClock, type LeaseVerdict, type RefreshTiming, spendsNothing } from './lease.ts'
import { measureNarrowing, rememberNarrowing } from './narrowing.ts'
import { isElsewhere, isMeasured, measureSkew, skewOf, timeAt } from './skew.ts'

export interface RefresherOptions {
  readonly store: CredentialStore
  readonly fetch: typeof fetch
  readonly clock: Clock
  readonly timing: RefreshTiming
  /** Default: the process that this is. */
  readonly process?: Process | undefined
  /** Default: the real grant. */
  readonly refresh?: typeof refresh | undefined
}

/** What one attempt came to; after each of them the caller reads and decides again. */
export type RefreshResult =
  /** A new access token is stored, durably. */
  | { readonly kind: 'served'; readonly token: TokenAnswer }
  /** The entry has changed, by somebody else or by what the server said of the refresh token. */
  | { readonly kind: 'overtaken' }

interface Server {
  readonly provider: Provider
  readonly metadata: AuthorizationServerMetadata
}

/** The leases that this copy of the library holds. One of ours that is not among them was left by a write that failed. */
const underWay = new Set<string>()

/** How long the server may take to tell what a token can do. */
const introspectionMs = 5_000

/** A refresh that was about to be sent too late into its lease. Nothing was spent. */
class Abandoned extends Error {}

/**
 * Spends refresh tokens, one at a time per credential and never twice: claim a lease, note that the token is about to
 * be sent, send it, store the successor before anything about the answer is judged. Every write is fenced: by the lease
 * id while the token is unspent, by the spent token itself afterwards.
 */
export class Refresher {
  readonly #store: CredentialStore
  readonly #fetch: typeof fetch
  readonly #clock: Clock
  readonly #timing: RefreshTiming
  readonly #process: Process
  readonly #refresh: typeof refresh
  readonly #attempts: Attempts
  readonly #metadata = new Map<Provider, Promise<AuthorizationServerMetadata>>()
  readonly #firstSeen = new Map<string, { readonly id: string; readonly at: number }>()
  /** The last lease of a credential under which nothing was spent: we know that, even if it could not be written down. */
  readonly #unspent = new Map<string, string>()
  /** Successors that could not be stored: kept here and tried again until they are. */
  readonly #unsaved = new Map<string, () => Promise<void>>()
  readonly #retries = new Set<Promise<void>>()
  readonly #stop = new AbortController()

  constructor(options: RefresherOptions) {
    this.#store = options.store
    this.#fetch = options.fetch
    this.#clock = options.clock
    this.#timing = options.timing
    this.#process = options.process ?? thisProcess()
    this.#attempts = new Attempts(options.clock)
    this.#refresh = options.refresh ?? refresh
  }

  /** What the lease on a credential means here and now. */
  judge(credential: OAuthCredential, provider: Provider): LeaseVerdict {
    const { lease } = credential
    const name = keyName(credential)
    if (lease === null || this.#unspent.get(name) === lease.id) return { kind: 'free' }
    let seen = this.#firstSeen.get(name)
    if (seen?.id !== lease.id) {
      seen = { id: lease.id, at: this.#clock.monotonic() }
      this.#firstSeen.set(name, seen)
    }
    return judgeLease(credential, provider, {
      vitality: this.#isLeftByUs(lease) ? 'dead' : this.#process.vitality(lease.owner),
      seenForMs: this.#clock.monotonic() - seen.at,
      inDoubtWaitMs: this.#timing.inDoubtWaitMs,
    })
  }

  #isLeftByUs(lease: Lease): boolean {
    return lease.owner.instance === this.#process.owner.instance && !underWay.has(lease.id)
  }

  /** Writes down that the refresh token of a lease whose holder is gone may have been spent. */
  async markInDoubt(seen: OAuthCredential): Promise<void> {
    const lease = seen.lease
    await this.#change(seen, (current) =>
      lease !== null && current.lease?.id === lease.id && current.lease.token === lease.token
        ? inDoubt(current, lease)
        : undefined,
    )
  }

  /** Whether it is time for a refresh that nobody needs yet. */
  isDue({ grant }: OAuthCredential): boolean {
    return grant.refreshToken === null || this.#attempts.isDue(fingerprint(grant.refreshToken))
  }

  /** Keeps a distance from an attempt that has just failed: true if that took time, in which much may have changed. */
  async hasPaused({ grant }: OAuthCredential): Promise<boolean> {
    const pauseMs = grant.refreshToken === null ? 0 : this.#attempts.pauseMs(fingerprint(grant.refreshToken))
    if (pauseMs > 0) await this.#clock.delay(pauseMs)
    return pauseMs > 0
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
    const current = await this.#store.read(seen).catch(() => seen)
    if (current?.type !== 'oauth' || current.grant.refreshToken === null) return
    this.#attempts.failed(fingerprint(current.grant.refreshToken), retryAfterMs)
  }

  async #attempt(seen: OAuthCredential, plan: RefreshPlan, provider: Provider): Promise<RefreshResult> {
    // Before anything is claimed: a server that cannot even be discovered costs nothing.
    const metadata = await this.#discover(provider)
    const spent = seen.grant.refreshToken
    if (spent === null || (await this.#hasLearnedTheTime(seen, { provider, metadata }))) return { kind: 'overtaken' }
    const spentAt = await this.#store.spentAt(seen, fingerprint(spent))
    // One that came again later (a server may give the same one twice) is what the server says it is.
    if (spentAt !== null && spentAt >= seen.grant.obtainedAt) return this.#bringBack(seen, spent, spentAt)
    return this.#store.withoutOwner((isHeld) => this.#underLease(seen, plan, { provider, metadata }, { spent, isHeld }))
  }

  /**
   * The times of the entry are of another machine's clock, and nobody has told this process yet how right its own one is:
   * what has expired for the one may live for the other. Asks the server for the time, once, and says whether the entry
   * has to be judged anew.
   */
  async #hasLearnedTheTime(seen: OAuthCredential, { provider, metadata }: Server): Promise<boolean> {
    if (isMeasured(seen.issuer) || !isElsewhere(seen, this.#process)) return false
    const time = await timeAt(endpointOf(provider, metadata, 'token_endpoint').href, this.#fetch)
    if (time !== null) measureSkew(seen.issuer, time, this.#clock.now())
    return skewOf(seen.issuer) !== 0
  }

  async #underLease(
    seen: OAuthCredential,
    plan: RefreshPlan,
    server: Server,
    { spent, isHeld }: { spent: Secret; isHeld: () => boolean },
  ): Promise<RefreshResult> {
    const clock = new LeaseClock(this.#clock)
    const lease = claimLease(seen, this.#process.owner, this.#clock.now(), this.#timing.leaseMs)
    underWay.add(lease.id)
    try {
      if (!(await this.#claim(seen, lease, spent))) return this.#overtaken(seen)
      this.tell('claimed', seen)
      const { httpTimeoutMs, commitAllowanceMs } = this.#timing
      return await holdExit(
        () => this.#spend(seen, plan, server, { lease, spent, clock, isHeld }),
        httpTimeoutMs + commitAllowanceMs,
      )
    } finally {
      // A successor that is only in memory is still work of this lease: nobody here may take it for abandoned.
      if (!this.#unsaved.has(keyName(seen))) underWay.delete(lease.id)
    }
  }

  /**
   * A token that costs nothing: for the client itself, or for another token, which stays as it is. No lease, because
   * asking twice does no harm.
   *
   * @throws AuthkeepError `server_unavailable`, `edge_challenge`, `server_rejected`, `response_invalid`, store errors
   */
  async obtain(seen: OAuthCredential, plan: ExchangePlan | ReissuePlan, provider: Provider): Promise<TokenAnswer> {
    const metadata = await this.#discover(provider)
    const { scopes, resource } = plan
    const { httpTimeoutMs: timeoutMs } = this.#timing
    const common = { provider, metadata, scopes, resource, dpopKey: seen.dpopKey, fetch: this.#fetch, timeoutMs }
    const now = (): number => this.#clock.now()
    const outcome =
      plan.action === 'exchange'
        ? await exchangeToken({ ...common, now, subjectToken: plan.subject })
        : await requestClientCredentials({ ...common, ...seen.grant.reissue, now })
    if (outcome.kind !== 'served') throw tokenError({ provider, metadata }, outcome)
    const { answer } = outcome
    await this.#change(seen, (current) => (isSameLogin(current, seen) ? withToken(current, answer, now()) : undefined))
    return answer
  }

  /**
   * Revokes the grant at the server, under the lease, so that no refresh is under way meanwhile. The entry goes only once
   * the server has confirmed it, and only while it still holds what was revoked.
   */
  async revoke(seen: OAuthCredential, provider: Provider): Promise<RevocationOutcome | { readonly kind: 'overtaken' }> {
    const metadata = await this.#discover(provider)
    const request = { provider, metadata, fetch: this.#fetch, timeoutMs: this.#timing.httpTimeoutMs }
    const { refreshToken, spare } = seen.grant
    if (refreshToken === null) {
      const outcomes = seen.tokens.map(({ accessToken: token }) =>
        revokeToken({ ...request, token, hint: 'access_token' }),
      )
      const unconfirmed = (await Promise.all(outcomes)).find(({ kind }) => kind !== 'confirmed')
      if (unconfirmed !== undefined) return unconfirmed
      await this.#store.update(seen, (current) =>
        current?.type === 'oauth' && current.grant.refreshToken === null ? null : undefined,
      )
      return { kind: 'confirmed' }
    }
    const lease = claimLease(seen, this.#process.owner, this.#clock.now(), this.#timing.leaseMs)
    underWay.add(lease.id)
    try {
      if (!(await this.#claim(seen, lease, refreshToken))) return { kind: 'overtaken' }
      const outcome = await revokeToken({ ...request, token: refreshToken, hint: 'refresh_token' })
      if (outcome.kind !== 'confirmed') {
        await this.#giveBack(seen, lease)
        return outcome
      }
      if (spare !== undefined) await revokeToken({ ...request, token: spare.refreshToken, hint: 'refresh_token' })
      await this.#store.update(seen, (current) =>
        current?.type === 'oauth' && holds(current, refreshToken) ? null : undefined,
      )
      return outcome
    } finally {
      underWay.delete(lease.id)
    }
  }

  /**
   * An older state of the entry has come back, with a refresh token that was spent already. It is never sent: the second
   * copy may know its successor, and otherwise only a login helps.
   */
  async #bringBack(seen: OAuthCredential, spent: Secret, since: number): Promise<RefreshResult> {
    const copy = await this.#store.readCopy(seen)
    const successor = copy?.type === 'oauth' ? copy.grant.refreshToken : null
    const isNewer =
      copy?.type === 'oauth' &&
      successor !== null &&
      isSameLogin(copy, seen) &&
      copy.grant.obtainedAt >= seen.grant.obtainedAt &&
      (await this.#store.spentAt(seen, fingerprint(successor))) === null
    // Or nothing has come back, and somebody has saved the successor since we looked.
    const now = await this.#store.read(seen)
    if (now?.type !== 'oauth' || !holds(now, spent)) return this.#overtaken(seen)
    this.tell('rolled_back', seen, isNewer ? { successor: fingerprint(successor) } : {})
    if (!isNewer) {
      const { provider, account } = seen
      throw new AuthkeepError('refresh_interrupted', { provider, account, since, stage: 'rolled_back' })
    }
    await this.#change(seen, (current) => (holds(current, spent) ? broughtBack(copy) : undefined))
    return { kind: 'overtaken' }
  }

  async #spend(
    seen: OAuthCredential,
    plan: RefreshPlan,
    server: Server,
    { lease, spent, clock, isHeld }: { lease: Lease; spent: Secret; clock: LeaseClock; isHeld: () => boolean },
  ): Promise<RefreshResult> {
    const sending = { hasBegun: false }
    const assertInTime = (): void => {
      const { leaseMs, httpTimeoutMs, commitAllowanceMs } = this.#timing
      if (leaseMs - clock.elapsedMs() < httpTimeoutMs + commitAllowanceMs) throw new Abandoned()
      // The owner of the file may spend the same token.
      if (!isHeld()) throw new Abandoned()
    }
    try {
      assertInTime()
      if (!(await this.#markSent(seen, lease, spent, plan))) return this.#overtaken(seen)
      const outcome = await this.#refresh({
        ...server,
        refreshToken: spent,
        ...(plan.scopes === null ? {} : { scopes: plan.scopes }),
        requestedScopes: plan.scopes ?? seen.grant.scopes,
        resource: plan.resource,
        dpopKey: seen.dpopKey,
        expectedSubject: seen.subject,
        expectedNonce: nonceOf(seen),
        fetch: this.#fetch,
        now: () => this.#clock.now(),
        timeoutMs: this.#timing.httpTimeoutMs,
        beforeSend: () => {
          assertInTime()
          sending.hasBegun = true
          this.tell('sent', seen)
        },
        onAnswer: (body) => this.#keepSuccessor(body, { seen, lease, spent, isProbe: plan.isProbe }, server),
      })
      return await this.#settle(outcome, { seen, lease, spent, plan, server })
    } catch (error) {
      if (!sending.hasBegun) await this.#giveBack(seen, lease)
      if (error instanceof Abandoned) return this.#overtaken(seen)
      throw sending.hasBegun ? spentError(error) : error
    }
  }

  /** Says what happens to the refresh token of an entry to whoever listens. */
  tell(type: RefreshEvent['type'], seen: OAuthCredential, more: Pick<RefreshEvent, 'successor' | 'cause'> = {}): void {
    publish(() => {
      const { provider, account, grant } = seen
      const token = grant.refreshToken === null ? null : fingerprint(grant.refreshToken)
      return { type, provider, account, at: this.#clock.now(), generation: grant.generation, token, ...more }
    })
  }

  #overtaken(seen: OAuthCredential): RefreshResult {
    this.tell('overtaken', seen)
    return { kind: 'overtaken' }
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

  // --- before the token is spent ---------------------------------------------------------------------------------

  #discover(provider: Provider): Promise<AuthorizationServerMetadata> {
    let metadata = this.#metadata.get(provider)
    if (metadata === undefined) {
      metadata = discover(provider, { fetch: this.#fetch })
      this.#metadata.set(provider, metadata)
      // A failure is not remembered.
      metadata.catch(() => this.#metadata.delete(provider))
    }
    return metadata
  }

  /**
   * Commits the lease. That this write is durable is also the proof that the store can be written: a read-only or full
   * one fails here, with the token unspent.
   */
  async #claim(seen: OAuthCredential, lease: Lease, spent: Secret): Promise<boolean> {
    const stored = await this.#change(seen, (current) =>
      isSameLease(current, seen) &&
      holds(current, spent) &&
      isSameJudgement(current, seen) &&
      movedTo(current) === undefined
        ? { ...current, lease }
        : undefined,
    )
    if (!isHolder(stored, lease) || this.#store.exclusion === 'cas') return isHolder(stored, lease)
    // Nobody excludes other writers here: if another claim came in at the same time, the later one stands, for both.
    await this.#clock.delay(100 + this.#clock.random() * 200)
    return isHolder(await this.#store.read(seen), lease)
  }

  /**
   * From here on the token counts as maybe spent, and a replay as made. The padding has done its work: the next write
   * is larger by the successor and smaller by the padding. A lease that survived the token it was for, because somebody
   * saved a late successor or wrote a new login, is no leave to send.
   */
  async #markSent(seen: OAuthCredential, lease: Lease, spent: Secret, plan: RefreshPlan): Promise<boolean> {
    const { padding: _, ...rest } = lease
    const sentAt = this.#clock.now()
    const stored = await this.#change(seen, (current) => {
      if (current.lease?.id !== lease.id || !holds(current, spent)) return undefined
      const replays = current.grant.replays + (plan.isReplay ? 1 : 0)
      const sent = { ...current, lease: { ...rest, sentAt }, grant: { ...current.grant, replays } }
      return withForced(sent, plan.forcedBy, sentAt)
    })
    return isHolder(stored, lease) && stored.lease?.sentAt === sentAt
  }

  /** The refresh token was not spent, and a replay of it was not made. */
  async #giveBack(seen: OAuthCredential, lease: Lease): Promise<void> {
    this.tell('unspent', seen)
    this.#unspent.set(keyName(seen), lease.id)
    await this.#change(seen, (current) => {
      if (current.lease?.id !== lease.id) return undefined
      const { forced: _, ...unforced } = current
      const before = seen.forced === undefined ? {} : { forced: seen.forced }
      return { ...unforced, ...before, lease: null, grant: { ...current.grant, replays: seen.grant.replays } }
    })
  }

  // --- the answer is here ----------------------------------------------------------------------------------------

  /** Persist first, judge second: whatever else is wrong with this answer, its refresh token is the only one left. */
  async #keepSuccessor(
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
      this.tell(keeps(stored, successor) ? 'stored' : 'revoked', seen, { successor: fingerprint(successor) })
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
        underWay.delete(lease.id)
      })
      throw spentError(error)
    }
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

  async #settle(
    outcome: RefreshOutcome,
    context: { seen: OAuthCredential; lease: Lease; spent: Secret; plan: RefreshPlan; server: Server },
  ): Promise<RefreshResult> {
    const { seen, lease, spent, plan, server } = context
    const { provider } = server
    const name = seen.provider
    switch (outcome.kind) {
      case 'served': {
        if (outcome.answer.serverTime !== undefined) {
          measureSkew(provider.issuer, outcome.answer.serverTime, outcome.answer.obtainedAt)
        }
        const token = await this.#keepMeasured(outcome.answer, context)
        return token === null ? this.#overtaken(seen) : { kind: 'served', token }
      }
      case 'not_sent':
      case 'limited':
        await this.#giveBack(seen, lease)
        throw tokenError(server, outcome)
      case 'refused':
        await this.#giveBack(seen, lease)
        if (outcome.error === 'invalid_scope' && plan.scopes !== null && seen.grant.evidence !== 'assumed') {
          // A part of what was granted: an earlier narrow answer has cost the grant its width.
          await rememberNarrowing(this.#store, provider.issuer, 'destructive')
          return { kind: 'overtaken' }
        }
        throw serverRejected(name, outcome)
      case 'invalid':
        this.tell('invalid', seen, { cause: outcome.what })
        await this.#change(seen, (current) => {
          if (current.lease?.id !== lease.id) return undefined
          // An answer without a successor from a server that rotates: the token that was sent is spent, perhaps.
          return holds(current, spent) && !spendsNothing(provider)
            ? inDoubt(current, lease)
            : { ...current, lease: null }
        })
        throw new AuthkeepError('response_invalid', { provider: name, status: outcome.status, what: outcome.what })
      case 'rejected':
        await this.#bury(seen, lease, spent)
        return { kind: 'overtaken' }
      case 'ambiguous':
        if (plan.isReplay && outcome.status === 400 && outcome.cause === 'empty') {
          await this.#bury(seen, lease, spent)
          return { kind: 'overtaken' }
        }
        this.tell('ambiguous', seen, { cause: outcome.cause })
        await this.#change(seen, (current) => {
          if (current.lease?.id !== lease.id) return undefined
          return spendsNothing(provider) ? { ...current, lease: null } : inDoubt(current, lease)
        })
        throw new AuthkeepError('server_unavailable', {
          ...{ provider: name, cause: outcome.cause, sent: true },
          ...(outcome.status === undefined ? {} : { status: outcome.status }),
        })
    }
  }

  /** Keeps the access token under its true label, and what it shows about the server. Null: it had no place any more. */
  async #keepMeasured(
    answered: TokenAnswer,
    context: { seen: OAuthCredential; lease: Lease; spent: Secret; plan: RefreshPlan; server: Server },
  ): Promise<TokenAnswer | null> {
    const { seen, lease, spent, plan, server } = context
    const { provider } = server
    const measured = await measureNarrowing({ answer: answered, plan, seen, provider }, async (hint) => {
      const token = hint === 'access_token' ? answered.accessToken : answered.refreshToken
      return token && introspectScopes({ ...server, token, hint, fetch: this.#fetch, timeoutMs: introspectionMs })
    })
    const { answer, narrowing } = measured
    const isKept = await this.#keepToken(answer, seen, lease, spent)
    if (isKept) this.tell('served', seen)
    if (narrowing !== undefined) await rememberNarrowing(this.#store, provider.issuer, narrowing)
    return isKept ? answer : null
  }

  /**
   * Adds the access token, if the entry still has the refresh token that goes with it; whoever holds the lease by now
   * keeps it. If the entry has moved on, what is stored there is newer, or is somebody else's.
   */
  async #keepToken(answer: TokenAnswer, seen: OAuthCredential, lease: Lease, spent: Secret): Promise<boolean> {
    const now = this.#clock.now()
    const left = answer.refreshToken ?? spent
    const stored = await this.#change(seen, (current) => {
      // What others have noted about the refresh token since our lease went is newer than what we know of it.
      if (current.lease?.id !== lease.id) return keeps(current, left) ? withToken(current, answer, now) : undefined
      if (!keeps(current, left)) return { ...current, lease: null }
      const { doubtSince: _, ...grant } = current.grant
      const live = {
        ...grant,
        state: 'live',
        replays: 0,
        refreshed: ledgerLine(lease, now, skewOf(seen.issuer)),
      } as const
      return { ...withToken({ ...current, grant: live }, answer, now), lease: null }
    })
    return stored !== null && carries(stored, answer)
  }

  /**
   * The server says that the refresh token is dead. Nothing is deleted: the mark speaks of this token only, and only
   * while it is the stored one. A second successor, where a grace window gave one, gets its one try.
   */
  async #bury(seen: OAuthCredential, lease: Lease, spent: Secret): Promise<void> {
    this.tell('refused', seen)
    await this.#change(seen, (current) => {
      if (!holds(current, spent)) return undefined
      const { spare, doubtSince: _, ...grant } = current.grant
      const next = current.lease?.id === lease.id ? { ...current, lease: null } : current
      return spare === undefined
        ? { ...next, grant: { ...grant, state: 'dead', stateFor: fingerprint(spent) } }
        : {
            ...next,
            grant: { ...grant, ...spare, state: 'live', stateFor: fingerprint(spare.refreshToken), replays: 0 },
          }
    })
  }

  /** An update that leaves alone whatever is not an OAuth credential. */
  async #change(
    key: CredentialKey,
    fn: (current: OAuthCredential) => OAuthCredential | undefined,
  ): Promise<OAuthCredential | null> {
    const stored = await this.#store.update(key, (current) => (current?.type === 'oauth' ? fn(current) : undefined))
    return stored?.type === 'oauth' ? stored : null
  }
}

/** The nonce of the login, as long as an ID token is kept that has one. */
function nonceOf({ idToken }: OAuthCredential): string | undefined {
  const nonce = idToken === undefined ? undefined : claimsOf(idToken)?.['nonce']
  return typeof nonce === 'string' ? nonce : undefined
}

function serverRejected(provider: string, outcome: RefreshOutcome & { kind: 'refused' }): AuthkeepError {
  const { status, error, description } = outcome
  return new AuthkeepError('server_rejected', {
    ...{ provider, status, error },
    ...(description === undefined ? {} : { description }),
  })
}

/** A store error after the token was sent says so: its remedy is to make room, not to log in. */
function spentError(error: unknown): unknown {
  if (!isAuthkeepError(error, 'store_failed')) return error
  return new AuthkeepError('store_failed', { ...error.detail, unspent: false })
}
