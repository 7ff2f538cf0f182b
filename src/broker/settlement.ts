import { fingerprint, type Lease, type OAuthCredential, type Secret } from '../credential.ts'
import { AuthkeepError } from '../errors.ts'
import type { TokenAnswer } from '../grant/flow.ts'
import { introspectScopes } from '../grant/introspection.ts'
import { tokenError } from '../grant/token-error.ts'
import type { RefreshOutcome } from '../grant/token-request.ts'
import type { CredentialStore } from '../store/store.ts'
import { carries, changeLogin, holds, inDoubt, keeps, ledgerLine, withToken } from './changes.ts'
import type { Clock } from './clock.ts'
import type { RefreshPlan } from './decide.ts'
import { publish } from './events.ts'
import { spendsNothing } from './lease.ts'
import type { Leases } from './leases.ts'
import { measureNarrowing, rememberNarrowing } from './narrowing.ts'
import type { Server } from './servers.ts'
import { measureSkew, skewOf } from './skew.ts'
import type { Workbench } from './workbench.ts'

/** What one attempt came to; after each of them the caller reads and decides again. */
export type RefreshResult =
  /** A new access token is stored, durably. */
  | { readonly kind: 'served'; readonly token: TokenAnswer }
  /** The entry has changed, by somebody else or by what the server said of the refresh token. */
  | { readonly kind: 'overtaken' }

/** Somebody else has changed the entry. */
export function overtaken(seen: OAuthCredential, at: number): RefreshResult {
  publish('overtaken', seen, at)
  return { kind: 'overtaken' }
}

/** A refresh token that was sent, and under which lease. */
export interface Sent {
  readonly seen: OAuthCredential
  readonly lease: Lease
  readonly spent: Secret
  readonly plan: RefreshPlan
  readonly server: Server
}

/** How long the server may take to tell what a token can do. */
const introspectionMs = 5_000

/** What an answer comes to, once its successor is kept: an access token in the store, or a mark on the refresh token. */
export class Settlement {
  readonly #store: CredentialStore
  readonly #fetch: typeof fetch
  readonly #clock: Clock
  readonly #leases: Leases

  constructor({ store, fetch, clock, leases }: Workbench) {
    this.#store = store
    this.#fetch = fetch
    this.#clock = clock
    this.#leases = leases
  }

  async settle(outcome: RefreshOutcome, context: Sent): Promise<RefreshResult> {
    const { seen, lease, spent, plan, server } = context
    const { provider } = server
    const name = seen.provider
    switch (outcome.kind) {
      case 'served': {
        if (outcome.answer.serverTime !== undefined) {
          measureSkew(provider.issuer, outcome.answer.serverTime, outcome.answer.obtainedAt)
        }
        const token = await this.#keepMeasured(outcome.answer, context)
        return token === null ? overtaken(seen, this.#clock.now()) : { kind: 'served', token }
      }
      case 'not_sent':
      case 'limited':
        await this.#leases.giveBack(seen, lease)
        throw tokenError(server, outcome)
      case 'refused':
        await this.#leases.giveBack(seen, lease)
        if (outcome.error === 'invalid_scope' && plan.scopes !== null && seen.grant.evidence !== 'assumed') {
          // A part of what was granted: an earlier narrow answer has cost the grant its width.
          await rememberNarrowing(this.#store, provider.issuer, 'destructive')
          return { kind: 'overtaken' }
        }
        throw serverRejected(name, outcome)
      case 'invalid':
        publish('invalid', seen, this.#clock.now(), { cause: outcome.what })
        await changeLogin(this.#store, seen, (current) => {
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
        publish('ambiguous', seen, this.#clock.now(), { cause: outcome.cause })
        await changeLogin(this.#store, seen, (current) => {
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
  async #keepMeasured(answered: TokenAnswer, context: Sent): Promise<TokenAnswer | null> {
    const { seen, lease, spent, plan, server } = context
    const { provider } = server
    const measured = await measureNarrowing({ answer: answered, plan, seen, provider }, async (hint) => {
      const token = hint === 'access_token' ? answered.accessToken : answered.refreshToken
      return token && introspectScopes({ ...server, token, hint, fetch: this.#fetch, timeoutMs: introspectionMs })
    })
    const { answer, narrowing } = measured
    const isKept = await this.#keepToken(answer, seen, lease, spent)
    if (isKept) publish('served', seen, this.#clock.now())
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
    const stored = await changeLogin(this.#store, seen, (current) => {
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
    publish('refused', seen, this.#clock.now())
    await changeLogin(this.#store, seen, (current) => {
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
}

function serverRejected(provider: string, outcome: RefreshOutcome & { kind: 'refused' }): AuthkeepError {
  const { status, error, description } = outcome
  return new AuthkeepError('server_rejected', {
    ...{ provider, status, error },
    ...(description === undefined ? {} : { description }),
  })
}
