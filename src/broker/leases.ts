import { keyName, type Lease, movedTo, type OAuthCredential, type Secret } from '../credential.ts'
import type { Process } from '../owner.ts'
import type { Provider } from '../provider.ts'
import type { CredentialStore } from '../store/store.ts'
import { changeLogin, holds, inDoubt, isHolder, isSameJudgement, isSameLease, withForced } from './changes.ts'
import type { Clock } from './clock.ts'
import type { RefreshPlan } from './decide.ts'
import { publish } from './events.ts'
import { claimLease, judgeLease, type LeaseVerdict, type RefreshTiming } from './lease.ts'
import type { LeaseTools } from './workbench.ts'

/** The leases that this copy of the library holds. One of ours that is not among them was left by a write that failed. */
const underWay = new Set<string>()

/** The leases of a store: what those of others mean here and now, and each write of our own while the token is unspent. */
export class Leases {
  readonly #store: CredentialStore
  readonly #clock: Clock
  readonly #timing: RefreshTiming
  readonly #process: Process
  readonly #firstSeen = new Map<string, { readonly id: string; readonly at: number }>()
  /** The last lease of a credential under which nothing was spent: we know that, even if it could not be written down. */
  readonly #unspent = new Map<string, string>()

  constructor({ store, clock, timing, process }: LeaseTools) {
    this.#store = store
    this.#clock = clock
    this.#timing = timing
    this.#process = process
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
    await changeLogin(this.#store, seen, (current) =>
      lease !== null && current.lease?.id === lease.id && current.lease.token === lease.token
        ? inDoubt(current, lease)
        : undefined,
    )
  }

  /** A lease of our own, to be claimed. Until it is released, nobody here takes it for one that was left. */
  begin(seen: OAuthCredential): Lease {
    const lease = claimLease(seen, this.#process.owner, this.#clock.now(), this.#timing.leaseMs)
    underWay.add(lease.id)
    return lease
  }

  release(lease: Lease): void {
    underWay.delete(lease.id)
  }

  /**
   * Commits the lease. That this write is durable is also the proof that the store can be written: a read-only or full
   * one fails here, with the token unspent.
   */
  async claim(seen: OAuthCredential, lease: Lease, spent: Secret): Promise<boolean> {
    const stored = await changeLogin(this.#store, seen, (current) =>
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
  async markSent(seen: OAuthCredential, lease: Lease, spent: Secret, plan: RefreshPlan): Promise<boolean> {
    const { padding: _, ...rest } = lease
    const sentAt = this.#clock.now()
    const stored = await changeLogin(this.#store, seen, (current) => {
      if (current.lease?.id !== lease.id || !holds(current, spent)) return undefined
      const replays = current.grant.replays + (plan.isReplay ? 1 : 0)
      const sent = { ...current, lease: { ...rest, sentAt }, grant: { ...current.grant, replays } }
      return withForced(sent, plan.forcedBy, sentAt)
    })
    return isHolder(stored, lease) && stored.lease?.sentAt === sentAt
  }

  /** The refresh token was not spent, and a replay of it was not made. */
  async giveBack(seen: OAuthCredential, lease: Lease): Promise<void> {
    publish('unspent', seen, this.#clock.now())
    this.#unspent.set(keyName(seen), lease.id)
    await changeLogin(this.#store, seen, (current) => {
      if (current.lease?.id !== lease.id) return undefined
      const { forced: _, ...unforced } = current
      const before = seen.forced === undefined ? {} : { forced: seen.forced }
      return { ...unforced, ...before, lease: null, grant: { ...current.grant, replays: seen.grant.replays } }
    })
  }
}
