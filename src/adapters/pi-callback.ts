import { abortable } from '../abort.ts'
import { systemClock } from '../broker/clock.ts'
import { type Decision, decide } from '../broker/decide.ts'
import { defaultTiming } from '../broker/lease.ts'
import type { Refresher } from '../broker/refresh.ts'
import { type Credential, type CredentialKey, fingerprint, type OAuthCredential, Secret } from '../credential.ts'
import { AuthkeepError, isAuthkeepError } from '../errors.ts'
import { classifyFailure } from '../grant/classify.ts'
import type { RefreshOutcome, RefreshRequest } from '../grant/token-request.ts'
import type { Provider } from '../provider.ts'
import type { CredentialStore } from '../store/store.ts'
import {
  byPi,
  credentialOf,
  entryOf,
  isKept,
  isOAuth,
  mainSecret,
  type PiCredential,
  type PiOAuthCredential,
  tokenOf,
} from './pi-entry.ts'

/** What pi wants done to a credential: it returns the next one, or undefined to leave it as it is. */
export type PiChange = (current: PiCredential | undefined) => Promise<PiCredential | undefined>

/** One callback under a lease. */
interface Run {
  readonly change: PiChange
  readonly shown: PiOAuthCredential
  hasBegun: boolean
  /** Set where the refresh token is certainly unspent, or where the callback has failed. */
  end?: { readonly next: PiCredential | undefined } | { readonly error: unknown }
}

/** How long a waiter sleeps before it looks whether the holder of a lease is still running. */
const lookAtHolderEveryMs = 100

/** Far enough for everybody who asks whether a credential has to be refreshed. */
export const farMs: number = 365 * 86_400_000

/**
 * Runs pi's callbacks on logins that only pi can refresh. A callback may send the refresh token that it is shown, so it
 * runs as a refresh of the broker's does: under a lease in the entry that is marked as sent before, with the successor
 * stored before anything else, and in doubt where it is not known what came of it. What is different is who speaks to
 * the server.
 */
export class PiCallbacks {
  readonly #store: CredentialStore
  /** By the provider of the entry; there is one at a time. */
  readonly #runs = new Map<string, Run>()
  readonly #providers = new Map<string, Provider>()
  #refresher: Promise<Refresher> | undefined

  constructor(store: CredentialStore) {
    this.#store = store
  }

  /**
   * Callers see to it that there is one at a time for a key in this process; the lease is for the others.
   *
   * @throws AuthkeepError `refresh_interrupted`, `response_invalid`, store errors; what the callback rejects with;
   *   TypeError when it returns no credential of pi
   */
  async modify(
    key: CredentialKey,
    change: PiChange,
    signal: AbortSignal | undefined,
  ): Promise<PiCredential | undefined> {
    const refresher = await this.#loadRefresher()
    const provider = this.#providerOf(key)
    for (;;) {
      signal?.throwIfAborted()
      await refresher.flush(key)
      const seen = await this.#store.read(key)
      if (seen?.type !== 'oauth' || seen.grant.refreshToken === null) {
        return this.#keep(key, seen, await change(seen === null ? undefined : this.#shown(seen)))
      }
      const shown = credentialOf(seen, this.#store.location)
      const verdict = refresher.bench.leases.judge(seen, provider)
      const plan = this.#plan(seen, provider)
      if (verdict.kind === 'wait') {
        const timeoutMs = Math.min(verdict.forMs, lookAtHolderEveryMs)
        await abortable(this.#store.waitForChange(key, seen, { timeoutMs }), signal)
      } else if (verdict.kind === 'in_doubt') {
        await refresher.bench.leases.markInDoubt(seen)
      } else if (plan.action === 'refresh') {
        const run: Run = { change, shown, hasBegun: false }
        this.#runs.set(provider.id, run)
        try {
          await refresher.run(seen, plan, provider)
        } catch (error) {
          if (run.end === undefined) throw error
        } finally {
          this.#runs.delete(provider.id)
        }
        if (run.end !== undefined && 'error' in run.end) throw run.end.error
        if (run.end !== undefined) return this.#keep(key, seen, run.end.next)
        if (run.hasBegun) return this.#stored(key)
      } else {
        return this.#withoutSpending({ key, seen, shown }, change, plan)
      }
    }
  }

  /** Lets what has been sent be saved. */
  async close(): Promise<void> {
    await (await this.#refresher)?.close()
  }

  #loadRefresher(): Promise<Refresher> {
    this.#refresher ??= import('../broker/refresh.ts').then(
      ({ Refresher }) =>
        new Refresher({
          ...{ store: this.#store, fetch, clock: systemClock(), timing: defaultTiming },
          refresh: (request) => this.#refresh(request),
        }),
    )
    return this.#refresher
  }

  /** What the lease rules need to know of a server that only pi knows: that a second use of a token may be fatal. */
  #providerOf({ provider: id }: CredentialKey): Provider {
    const { issuer, clientId } = byPi
    const known = this.#providers.get(id)
    const provider = known ?? { id, issuer, client: { id: clientId }, metadata: { token_endpoint: '' } }
    this.#providers.set(id, provider)
    return provider
  }

  /** Whether the refresh token may be spent. No stored token will do: whether pi wants another one, only pi knows. */
  #plan(seen: OAuthCredential, provider: Provider): Decision {
    const any = { scopes: [], resource: null, accepts: ['oauth'] } as const
    const moment = { minTtlMs: Infinity, startedAt: Infinity, rejected: null, leeway: 0 }
    return decide(seen, any, { ...moment, now: Date.now(), provider })
  }

  /** In the place of a request to a token endpoint: the callback, which makes one if it wants to. */
  async #refresh({ provider, refreshToken, beforeSend, onAnswer }: RefreshRequest): Promise<RefreshOutcome> {
    const run = this.#runs.get(provider.id)
    if (run === undefined) throw new TypeError('nobody has asked for this')
    beforeSend()
    run.hasBegun = true
    const offer = { isTaken: false, refresh: refreshToken.reveal() }
    const current = {
      ...run.shown,
      get refresh() {
        offer.isTaken = true
        return offer.refresh
      },
      set refresh(value: string) {
        offer.refresh = value
      },
    }
    let next: PiCredential | undefined
    try {
      next = await run.change(current)
    } catch (error) {
      run.end = { error }
      const { sent, cause } = classifyFailure(error)
      return { kind: sent && offer.isTaken ? 'ambiguous' : 'not_sent', cause }
    }
    // Whoever has not looked at the refresh token cannot have spent it: then this is a login. And who changes nothing says
    // that the credential is as good as it was.
    if (next === undefined || !offer.isTaken || next.type !== 'oauth' || isKept(next)) {
      run.end = { next }
      return { kind: 'not_sent', cause: 'unused' }
    }
    await onAnswer({ refresh_token: next.refresh })
    if (!isOAuth(next)) return { kind: 'invalid', status: 200, what: 'pi has made no credential of it' }
    return { kind: 'served', answer: answerOf(next, refreshToken) }
  }

  /** For a refresh token that must not be sent: who wants to refresh finds nothing to do, and who logs in is served. */
  async #withoutSpending(
    { key, seen, shown }: { key: CredentialKey; seen: OAuthCredential; shown: PiOAuthCredential },
    change: PiChange,
    decision: Exclude<Decision, { action: 'refresh' }>,
  ): Promise<PiCredential | undefined> {
    const next = await change({ ...shown, expires: Date.now() + farMs })
    const isAlive = shown.expires > Date.now()
    if (next === undefined && !isAlive && decision.action === 'authorize') throw decision.error
    return this.#keep(key, seen, next)
  }

  /** Stores what does not succeed the stored refresh token: a login, or a key. Only in the place of what pi was shown. */
  async #keep(
    key: CredentialKey,
    seen: Credential | null,
    next: PiCredential | undefined,
  ): Promise<PiCredential | undefined> {
    if (next === undefined || isKept(next)) return this.#stored(key)
    const entry = entryOf(next, key, Date.now())
    const token = refreshTokenOf(entry)
    const since = token === null ? null : await this.#store.spentAt(key, fingerprint(token))
    if (since !== null) throw new AuthkeepError('refresh_interrupted', { ...key, since, stage: 'rolled_back' })
    const stored = await this.#store.update(key, (current) => (isSame(current, seen) ? entry : undefined))
    if (stored === entry && seen !== null && !isSame(entry, seen)) await this.#noteReplaced(key, seen)
    return this.#stored(key)
  }

  /** A login that was replaced by another must not come back with somebody's late write. */
  async #noteReplaced(key: CredentialKey, replaced: Credential): Promise<void> {
    const token = refreshTokenOf(replaced)
    try {
      if (token !== null) await this.#store.noteSpent(key, fingerprint(token), Date.now())
    } catch (error) {
      if (!isAuthkeepError(error)) throw error
    }
  }

  async #stored(key: CredentialKey): Promise<PiCredential | undefined> {
    const entry = await this.#store.read(key)
    return entry === null ? undefined : this.#shown(entry)
  }

  #shown(entry: Credential): PiCredential {
    return credentialOf(entry, this.#store.location)
  }
}

function refreshTokenOf(entry: Credential): Secret | null {
  return entry.type === 'oauth' ? entry.grant.refreshToken : null
}

function isSame(a: Credential | null, b: Credential | null): boolean {
  if (a === null || b === null) return a === b
  return a.type === b.type && mainSecret(a).reveal() === mainSecret(b).reveal()
}

function answerOf(next: PiOAuthCredential, spent: Secret): Extract<RefreshOutcome, { kind: 'served' }>['answer'] {
  const isRotated = next.refresh !== '' && next.refresh !== spent.reveal()
  return {
    ...tokenOf(next, Date.now()),
    ...{ refreshToken: isRotated ? new Secret(next.refresh) : null, refreshExpiresAt: null },
    ...{ idToken: null, subject: null },
  }
}
