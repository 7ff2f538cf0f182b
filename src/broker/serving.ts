import type { Credential, CredentialKey, OAuthCredential } from '../credential.ts'
import type { Requirement } from '../endpoint.ts'
import { AuthkeepError, isAuthkeepError } from '../errors.ts'
import type { TokenAnswer } from '../grant/flow.ts'
import type { Provider } from '../provider.ts'
import { missingScopes } from '../scope.ts'
import type { CredentialStore } from '../store/store.ts'
import type { BrokeredToken } from './access-token.ts'
import { readCredential } from './candidates.ts'
import { carries } from './changes.ts'
import { isBeingTried, type Moment, scopeMissing } from './decide.ts'
import type { Entries } from './environment.ts'
import { publish } from './events.ts'
import type { Judgement } from './judgement.ts'
import { writeLabels } from './owner.ts'
import { Refresher, type RefresherOptions } from './refresh.ts'
import { reissue } from './reissue.ts'
import type { Flight } from './request.ts'
import { lookAtHolderEveryMs, revokeLogin } from './revocation.ts'

export interface ServingOptions extends RefresherOptions {
  readonly entries: Entries
  readonly judgement: Judgement
  /** Nothing is begun any more once the broker is closed. */
  readonly isClosed: () => boolean
}

/** Serves those that no stored token serves, one after the other: until there is a token, or a reason why there is none. */
export class Serving {
  readonly #store: CredentialStore
  readonly #entries: Entries
  readonly #judgement: Judgement
  readonly #isClosed: () => boolean
  readonly #refresher: Refresher

  constructor({ entries, judgement, isClosed, ...options }: ServingOptions) {
    this.#store = options.store
    this.#entries = entries
    this.#judgement = judgement
    this.#isClosed = isClosed
    this.#refresher = new Refresher(options)
  }

  /** Reads, decides, acts, and starts again, until there is a token or an error that says why there is none. */
  async serve(flight: Flight): Promise<BrokeredToken> {
    const { route, key } = flight
    const { provider, requirement } = route
    const { leases, clock } = this.#refresher.bench
    let served: TokenAnswer | undefined
    let hasWaited = false
    let hasExchanged = false
    for (;;) {
      let looked: Credential | null = null
      try {
        await this.#refresher.flush(key)
        const credential = await readCredential(this.#entries, key)
        looked = credential
        const { decision, moment } = await this.#judgement.decide(flight, credential)
        if (decision.action === 'use') {
          if (hasWaited && credential.type === 'oauth') publish('adopted', credential, clock.now())
          return this.#judgement.present(decision.token, credential, route)
        }
        if (decision.action === 'authorize' && !isBeingTried(credential, decision.error)) {
          const token = this.#judgement.stillLiving(credential, flight)
          if (token !== null) return token
          throw decision.error
        }
        if (credential.type !== 'oauth') throw new TypeError('nothing to refresh')
        // Only while it is what is stored: an entry that has been changed since deserves another look. What a refresh
        // has brought may still be exchanged.
        if (served !== undefined && carries(credential, served) && (decision.action !== 'exchange' || hasExchanged)) {
          throw notServed(credential, requirement, served.scopes, moment)
        }
        if (decision.action === 'exchange' || decision.action === 'reissue') {
          hasExchanged = true
          const server = await this.#refresher.servers.of(provider)
          served = await reissue(credential, decision, this.#refresher.bench, server)
          continue
        }
        if (await writeLabels(this.#store, credential)) continue
        const verdict = leases.judge(credential, provider)
        this.#assertOpen()
        if (verdict.kind === 'wait') {
          const timeoutMs = Math.min(verdict.forMs, lookAtHolderEveryMs)
          await this.#store.waitForChange(key, credential, { timeoutMs })
          hasWaited = true
        } else if (verdict.kind === 'in_doubt') {
          await leases.markInDoubt(credential)
        } else if (decision.action === 'authorize') {
          throw decision.error
        } else if (!(await this.#refresher.hasPaused(credential))) {
          const result = await this.#refresher.run(credential, decision, provider)
          if (result.kind === 'served') served = result.token
        }
      } catch (error) {
        // Who is told to log in is told so by the entry that was just looked at; a later one would be another question.
        if (!isAuthkeepError(error)) throw error
        const stored = error.remedy === 'authorize' ? looked : await this.#entries.read(key)
        const token = stored === null ? null : this.#judgement.stillLiving(stored, flight)
        if (token !== null) return token
        throw error
      }
    }
  }

  /** One attempt, if nobody else makes one and none has failed lately. */
  async renew(flight: Flight): Promise<void> {
    const { route, key } = flight
    const credential = await readCredential(this.#entries, key)
    const { decision } = await this.#judgement.decide(flight, credential)
    if (decision.action !== 'use' || decision.renew === null || credential.type !== 'oauth' || this.#isClosed()) return
    if (
      !this.#refresher.isDue(credential) ||
      this.#refresher.bench.leases.judge(credential, route.provider).kind !== 'free'
    )
      return
    await this.#refresher.run(credential, decision.renew, route.provider)
  }

  /** Ends a login at its server. */
  async revoke(key: CredentialKey, provider: Provider): Promise<{ revoked: boolean; reason?: string }> {
    return revokeLogin(key, provider, this.#refresher)
  }

  /** Lets what has been sent be saved. */
  async close(): Promise<void> {
    await this.#refresher.close()
  }

  #assertOpen(): void {
    if (this.#isClosed()) throw new TypeError('the broker is closed')
  }
}

/** The server answered, and what it gave does not serve: said as it is, and not asked for again and again. */
function notServed(
  credential: OAuthCredential,
  requirement: Requirement,
  given: readonly string[],
  { provider, narrowing }: Moment,
): AuthkeepError {
  const missing = missingScopes(requirement.scopes, given, provider.implies)
  // A login brings back what a server has taken from the grant, and nothing that it never gives.
  if (missing.length > 0) return scopeMissing(credential, requirement, missing, narrowing === 'destructive')
  return new AuthkeepError('response_invalid', {
    provider: provider.id,
    status: 200,
    what: 'the token it brings is expired or not valid yet, or is for another resource or of another issuer',
  })
}
