import type { Target } from '../endpoint.ts'
import { type AuthkeepError, isAuthkeepError } from '../errors.ts'
import type { Provider } from '../provider.ts'
import type { BrokeredToken } from './access-token.ts'
import type { Helpless } from './alternatives.ts'
import type { Asker } from './ask.ts'
import { TokenCache } from './cache.ts'
import { type Candidate, choices, infosFor, readCredential } from './candidates.ts'
import type { Clock } from './clock.ts'
import { isBeingTried, type Moment, stepUpRequired } from './decide.ts'
import type { Entries } from './environment.ts'
import type { Judgement } from './judgement.ts'
import { hardMargin, softMargin } from './margin.ts'
import { type Flight, flightName, type Request, withoutLogin } from './request.ts'
import type { Serving } from './serving.ts'
import { type Route, routesTo } from './target.ts'
import type { Usable } from './token-index.ts'
import type { Turns } from './turns.ts'

export interface DeskOptions {
  readonly providers: readonly Provider[]
  readonly entries: Entries
  readonly judgement: Judgement
  readonly clock: Clock
  readonly asker: Asker | undefined
  readonly turns: Turns
  /** Loaded when no stored token will do: the path that hands out a living one stays light. */
  readonly serving: () => Promise<Serving>
  /** @throws TypeError once the broker is closed */
  readonly assertOpen: () => void
}

/** How soon a token that nears its end is looked at again. */
const lookAtAgingEveryMs = 1_000

/** Where requests come to: from the cache, from the store, from the queue of those for whom something has to be done. */
export class Desk {
  readonly #providers: readonly Provider[]
  readonly #entries: Entries
  readonly #judgement: Judgement
  readonly #clock: Clock
  readonly #asker: Asker | undefined
  readonly #turns: Turns
  readonly #serving: () => Promise<Serving>
  readonly #assertOpen: () => void
  readonly #cache: TokenCache
  /** Requests that nothing has been looked up for yet. */
  readonly #gathering = new Map<string, Promise<BrokeredToken>>()

  constructor(options: DeskOptions) {
    this.#providers = options.providers
    this.#entries = options.entries
    this.#judgement = options.judgement
    this.#clock = options.clock
    this.#asker = options.asker
    this.#turns = options.turns
    this.#serving = options.serving
    this.#assertOpen = options.assertOpen
    this.#cache = new TokenCache(options.clock)
  }

  /** A token that can be handed out as it is, without a look at anything. */
  fresh(name: string | undefined): BrokeredToken | undefined {
    return name === undefined ? undefined : this.#cache.fresh(name, this.#clock.now())
  }

  /** Somebody has changed the store. */
  forget(): void {
    this.#cache.clear()
  }

  /**
   * As `obtain`, once for everybody who asks for the same before it is looked for: a thousand callers look at the store
   * as often as one. Who comes later sees what has been stored meanwhile.
   */
  gather(target: Target, options: Request, name: string | undefined): Promise<BrokeredToken> {
    this.#assertOpen()
    if (name === undefined) return this.#obtain(target, options, name)
    const gathering = this.#gathering.get(name)
    if (gathering !== undefined) return gathering
    const answer = Promise.resolve().then(() => {
      this.#gathering.delete(name)
      return this.#obtain(target, options, name)
    })
    this.#gathering.set(name, answer)
    return answer
  }

  /** A token, or what a person who is asked for it makes possible. */
  async obtain(target: Target, options: Request): Promise<BrokeredToken> {
    this.#assertOpen()
    return this.#obtain(target, options, undefined)
  }

  async #obtain(target: Target, options: Request, name: string | undefined): Promise<BrokeredToken> {
    for (let request = options; ; ) {
      try {
        const token = await this.#getToken(target, request, name)
        // What has been refused may be cached still, where another process has replaced it.
        if (request.rejected !== undefined) this.#cache.clear()
        return token
      } catch (error) {
        const outcome = (await this.#asker?.ask(error, request.method ?? 'GET')) ?? 'useless'
        if (outcome === 'useless' || request !== options) {
          throw await this.informed(error, routesTo(target, this.#providers, options.account))
        }
        // The login that an API did not like has been replaced: what the new one shows is judged as ever.
        if (outcome === 'asked') request = { ...options, ...withoutLogin(options.needs) }
      }
    }
  }

  async #getToken(target: Target, options: Request, name: string | undefined): Promise<BrokeredToken> {
    const startedAt = this.#clock.now()
    const confirmed = name === undefined ? undefined : await this.#confirm(name, startedAt)
    if (confirmed !== undefined) return confirmed
    const routes = routesTo(target, this.#providers, options.account)
    const candidates = choices(routes, await infosFor(this.#entries, routes))
    let refusal: AuthkeepError | undefined
    // Providers may share an endpoint, and the login of one may not do what the key of another does.
    for (const candidate of candidates) {
      try {
        return await this.tokenOf(candidate, options, startedAt, name)
      } catch (error) {
        if (candidates.length === 1 || !isAuthkeepError(error) || error.remedy !== 'authorize') throw error
        refusal ??= error
      }
    }
    throw refusal ?? new TypeError('a choice has at least one candidate')
  }

  /** The token of one stored entry, if that serves. */
  async tokenOf(
    { route: declared, info }: Candidate,
    options: Request,
    startedAt: number,
    name: string | undefined,
  ): Promise<BrokeredToken> {
    const credential = await readCredential(this.#entries, info)
    const route = await this.#judgement.route(declared, credential, options)
    const flight: Flight = { route, key: info, options, startedAt }
    const { acrValues, maxAge } = options.needs ?? {}
    if ((acrValues !== undefined || maxAge !== undefined) && credential.type === 'oauth') {
      throw stepUpRequired(credential, route.requirement)
    }
    const { decision, moment } = await this.#judgement.decide(flight, credential)
    if (decision.action === 'authorize' && !isBeingTried(credential, decision.error)) {
      const token = this.#judgement.stillLiving(credential, flight)
      if (token !== null) return token
      throw decision.error
    }
    if (decision.action !== 'use') return this.#enqueue(flight)
    if (decision.renew !== null) this.#renewSoon(flight)
    const token = this.#judgement.present(decision.token, credential, route)
    // The age of a login is looked at each time.
    if (name !== undefined && route.requirement.maxAge === undefined) {
      const goodUntil = needsDecisionAt(decision.token, moment) - (moment.startedAt - startedAt)
      this.#cache.remember(name, { token, key: info, credential, goodUntil })
    }
    return token
  }

  /** Looks at the one entry that a cached token came from: one stat, for a file. */
  async #confirm(name: string, now: number): Promise<BrokeredToken | undefined> {
    const key = this.#cache.keyOf(name)
    if (key === undefined) return undefined
    return this.#cache.confirmed(name, await this.#entries.read(key), now)
  }

  /** An error that no login mends, together with what would work instead; not by endpoints that were tried. */
  async informed(error: unknown, routes: readonly Route[], tried?: ReadonlySet<string>): Promise<unknown> {
    if (!isHelpless(error)) return error
    const { informed } = await import('./alternatives.ts')
    const [providers, entries, judge] = [this.#providers, this.#entries, this.#judgement.judgeWith({})]
    return informed(error, {
      routes,
      tried,
      providers,
      entries,
      judge,
      infosFor: (all) => infosFor(this.#entries, all),
    })
  }

  #enqueue(flight: Flight): Promise<BrokeredToken> {
    return this.#turns.take(flight.key, flightName(flight), async () => (await this.#serving()).serve(flight))
  }

  /** Whoever asked has a token that lives, so nobody hears of a failure, and no timer keeps the process for it. */
  #renewSoon(flight: Flight): void {
    const renewal = this.#turns.take(flight.key, `renew ${flightName(flight)}`, async () =>
      (await this.#serving()).renew(flight),
    )
    renewal.catch(() => undefined)
  }
}

/** Whether a login would not help, so that something else has to be named. */
function isHelpless(error: unknown): error is Helpless {
  return (
    isAuthkeepError(error, 'edge_challenge') || (isAuthkeepError(error, 'scope_missing') && !error.detail.obtainable)
  )
}

/** Until when a token can be handed out without another decision, Unix milliseconds. */
function needsDecisionAt(token: Usable, { leeway, now }: Moment): number {
  if (token.expiresAt === null) return Infinity
  const agesAt = token.expiresAt - softMargin(token, { leeway, startedAt: Infinity })
  if (now < agesAt) return agesAt
  const endsAt = token.expiresAt - hardMargin(token, { minTtlMs: null, startedAt: Infinity })
  return Math.min(endsAt, now + lookAtAgingEveryMs)
}
