import type { Credential } from '../credential.ts'
import type { Process } from '../owner.ts'
import type { Provider } from '../provider.ts'
import type { CredentialStore } from '../store/store.ts'
import { BrokeredToken } from './access-token.ts'
import { lenderOf } from './borrowed.ts'
import type { Clock } from './clock.ts'
import { type Decision, decide, type Moment } from './decide.ts'
import type { Judge } from './explain.ts'
import { issuerName, seenNarrowing } from './narrowing.ts'
import { amongOwners } from './owner.ts'
import type { Flight, GetTokenOptions, Request } from './request.ts'
import { type Learned, learnedFor, learnedName, withLearned, withLesson, withNeeds } from './requirement.ts'
import { offsetFor } from './skew.ts'
import type { Route } from './target.ts'
import type { Usable } from './token-index.ts'

export interface JudgementOptions {
  readonly store: CredentialStore
  readonly clock: Clock
  /** Who we are to other processes; asked for where a clock may be another machine's. */
  readonly process: () => Process
  /** As the broker was told. */
  readonly allowWider: boolean
}

/** What is decided about a credential here and now, by what is known of its endpoint and of its server. */
export class Judgement {
  readonly #store: CredentialStore
  readonly #clock: Clock
  readonly #process: () => Process
  readonly #allowWider: boolean
  readonly #leeway: number

  constructor({ store, clock, process, allowWider }: JudgementOptions) {
    this.#store = store
    this.#clock = clock
    this.#process = process
    this.#allowWider = allowWider
    this.#leeway = clock.random()
  }

  /** The route with what was learned about its endpoint, and with what an API has just asked for. */
  async route(route: Route, credential: Credential, options: Request): Promise<Route> {
    // Nothing that is known of a key or a static token could meet a lesson, or fail to.
    if (credential.type !== 'oauth') return route
    const learned = await this.learned(route, options)
    const requirement = withLearned(route.requirement, learned, credential.grant.scopes, route.provider.implies)
    return { ...route, requirement: options.needs === undefined ? requirement : withNeeds(requirement, options.needs) }
  }

  async learned({ requirement: { endpoint } }: Route, { method = 'GET' }: Request): Promise<Learned> {
    if (endpoint === undefined) return { scopes: [] }
    return learnedFor(await this.#store.readState(learnedName(endpoint)), method)
  }

  async learn({ endpoint }: BrokeredToken, method: string, lesson: Learned): Promise<void> {
    if (endpoint !== undefined)
      await this.#store.updateState(learnedName(endpoint), (state) => withLesson(state, method, lesson))
  }

  /** The decision about a credential here and now. */
  async decide(
    { route, options, startedAt }: Flight,
    credential: Credential,
  ): Promise<{ readonly decision: Decision; readonly moment: Moment }> {
    const { provider, requirement } = route
    const usual = this.#moment(provider, options, startedAt, credential)
    const moment = this.#store.refreshOwner === undefined ? usual : await amongOwners(this.#store, credential, usual)
    const decision = decide(credential, requirement, moment)
    const isSettled = decision.action === 'use' && decision.renew === null
    if (isSettled || credential.type !== 'oauth' || moment.narrowing !== undefined) return { decision, moment }
    const narrowing = seenNarrowing(await this.#store.readState(issuerName(provider.issuer)))
    if (narrowing === undefined) return { decision, moment }
    const informed = { ...moment, narrowing }
    return { decision: decide(credential, requirement, informed), moment: informed }
  }

  /** What `getToken` would decide, for those who only look. */
  judgeWith(options: Request): Judge {
    return async (credential, declared) => {
      const route = await this.route(declared, credential, options)
      const flight: Flight = { route, key: credential, options, startedAt: this.#clock.now() }
      const { decision } = await this.decide(flight, credential)
      return { requirement: route.requirement, decision }
    }
  }

  /** While a token lives, a refresh that failed is not the caller's problem. */
  stillLiving(credential: Credential, { route, options, startedAt }: Flight): BrokeredToken | null {
    const moment = this.#moment(route.provider, { ...options, minTtlMs: 0 }, startedAt, credential)
    const decision = decide(credential, route.requirement, { ...moment, isFallback: true })
    return decision.action === 'use' ? this.present(decision.token, credential, route) : null
  }

  present(token: Usable, credential: Credential, route: Route): BrokeredToken {
    const { provider, headers, requirement, trusted } = route
    const now = (): number => this.#clock.now() + this.offset(credential)
    return new BrokeredToken(token, { provider, credential, headers, endpoint: requirement.endpoint, trusted, now })
  }

  /** How far the server's clock is ahead of ours, in milliseconds. */
  offset(credential: Credential): number {
    return credential.type === 'oauth' ? offsetFor(credential, this.#process) : 0
  }

  #moment(provider: Provider, options: GetTokenOptions, startedAt: number, credential: Credential): Moment {
    const { minTtlMs = null, rejected = null, allowWider = this.#allowWider } = options
    const offset = this.offset(credential)
    const [now, leeway, owner] = [this.#clock.now() + offset, this.#leeway, lenderOf(credential)]
    const moment = { now, provider, minTtlMs, startedAt: startedAt + offset, rejected, leeway, allowWider }
    return owner === undefined ? moment : { ...moment, owner }
  }
}
