import { abortable } from '../abort.ts'
import {
  type Credential,
  type CredentialKey,
  fingerprint,
  keyName,
  movedTo,
  type OAuthCredential,
  Secret,
} from '../credential.ts'
import type { Requirement, Target } from '../endpoint.ts'
import { AuthkeepError, isAuthkeepError } from '../errors.ts'
import type { GrantFlow, TokenAnswer } from '../grant/flow.ts'
import type { refresh } from '../grant/token-request.ts'
import { type Process, thisProcess } from '../owner.ts'
import { checkProvider, type Provider } from '../provider.ts'
import { missingScopes } from '../scope.ts'
import { type CredentialInfo, type CredentialStore, describeCredential } from '../store/store.ts'
import { type AccessToken, BrokeredToken } from './access-token.ts'
import { AccountMemory } from './accounts.ts'
import type { Helpless } from './alternatives.ts'
import { Asker, type AuthorizeHandler } from './ask.ts'
import { lenderOf } from './borrowed.ts'
import { TokenCache } from './cache.ts'
import { type Candidate, choices, obtainableRoute, readCredential } from './candidates.ts'
import { carries } from './changes.ts'
import { type Clock, systemClock } from './clock.ts'
import { type Decision, decide, type Moment, scopeMissing, stepUpRequired } from './decide.ts'
import { EdgeCookies } from './edge-cookies.ts'
import { Entries, type EntryInfo, type EnvironmentVariables } from './environment.ts'
import type { Explanation, Judge } from './explain.ts'
import type { Call, CallSource } from './fetch.ts'
import { checkedTiming, defaultTiming, type RefreshTiming } from './lease.ts'
import { hardMargin, softMargin } from './margin.ts'
import { issuerName, seenNarrowing } from './narrowing.ts'
import type { Narrower, Profile } from './onboard.ts'
import type { AccountOrder, Accounts } from './order.ts'
import type { OtherAccountHandler } from './other-account.ts'
import { amongOwners, rememberTakeOver, writeLabels } from './owner.ts'
import type { Refresher } from './refresh.ts'
import { type Learned, learnedFor, learnedName, withLearned, withLesson, withNeeds } from './requirement.ts'
import type { RouteSource, ServiceRoute, ServiceTarget } from './route.ts'
import { offsetFor } from './skew.ts'
import { findProvider, type Route, routesTo } from './target.ts'
import type { Usable } from './token-index.ts'
import { Turns } from './turns.ts'
import type { Validation } from './validate.ts'

export interface TokenSource {
  getToken(options?: GetTokenOptions): Promise<AccessToken>
}

export interface GetTokenOptions {
  /**
   * How long the token must live on, in milliseconds. Default: 30 s, and at most a tenth of its lifetime; well before
   * that a new one is fetched in the background.
   */
  readonly minTtlMs?: number
  /** The token that an API has just refused. N callers holding the same one cause one refresh, not N. */
  readonly rejected?: string
  /** Which account's token, where a URL alone leaves a choice. */
  readonly account?: string
  /** What is going to be done there (an HTTP method): what refusals have taught is remembered for it. Default `GET`. */
  readonly method?: string
  /**
   * Whether the token may do more than the target requires, where the server gives none that does less. What it can do
   * is in its `scopes`. Default: as the broker was told.
   */
  readonly allowWider?: boolean
  /** Stops the waiting; it never interrupts a refresh that has been sent. */
  readonly signal?: AbortSignal
}

export interface TokenBrokerOptions {
  readonly store: CredentialStore
  readonly providers: readonly Provider[]
  /** Default: the global one. */
  readonly fetch?: typeof fetch
  /** Unix milliseconds; default `Date.now`. */
  readonly now?: () => number
  /**
   * Where the credentials are that providers declare to be in the environment; `{}` for none. Default `process.env`.
   */
  readonly environment?: EnvironmentVariables
  /** Asks a person when only a person can help; without it that is an error. */
  readonly onAuthorize?: AuthorizeHandler
  /**
   * Whether tokens may do more than is required, where the server gives none that does less. Default true: few servers
   * give narrower ones. With false such a call is `scope_too_wide`.
   */
  readonly allowWider?: boolean
  /** Time limits of a refresh; the defaults suit servers that answer within 20 s. */
  readonly timing?: Partial<RefreshTiming>
  /** @internal For tests: all of time and chance; `now` is then not asked. */
  readonly clock?: Clock
  /** @internal For tests, which play several processes in one. */
  readonly process?: Process
  /** @internal For tests: in place of the request to the token endpoint. */
  readonly refresh?: typeof refresh
}

/** How a login is obtained and stored. */
export interface LoginOptions {
  readonly signal?: AbortSignal
  /** Default `refuse`. */
  readonly narrower?: Narrower
  /** Decides about a login of another account than is stored; without it that is `account_ambiguous`. */
  readonly onOtherAccount?: OtherAccountHandler
}

/** How long a waiter sleeps before it looks whether the holder of a lease is still running. */
const lookAtHolderEveryMs = 100
/** How soon a token that nears its end is looked at again. */
const lookAtAgingEveryMs = 1_000

/** How a token is asked for inside: `needs` is what an API has just refused the last one for want of. */
interface Request extends GetTokenOptions {
  readonly needs?: Learned
}

/** A flight: everything that decides how one request is answered. */
interface Flight {
  readonly route: Route
  readonly key: CredentialKey
  readonly options: Request
  readonly startedAt: number
}

/**
 * Hands every caller the right token for the endpoint it is about to call: from the store while one lives, by a single
 * refresh when none does, and otherwise with an error that says what is missing and what to do. It never opens a browser.
 */
export class TokenBroker {
  readonly #store: CredentialStore
  /** What can serve: what is stored, and what the environment holds. */
  readonly #entries: Entries
  readonly #providers: readonly Provider[]
  readonly #fetch: typeof fetch
  readonly #clock: Clock
  readonly #timing: RefreshTiming
  readonly #process: Process | undefined
  readonly #refresh: typeof refresh | undefined
  /** Loaded when a token has to be refreshed: the path that hands out a living one stays light. */
  #refresher: Promise<Refresher> | undefined
  readonly #cache: TokenCache
  readonly #watch: Disposable
  readonly #turns = new Turns()
  readonly #accounts: AccountMemory
  readonly #leeway: number
  /** Kept for the endpoints that declare some; as long as the broker lives. */
  readonly #cookies = new EdgeCookies()
  readonly #asker: Asker | undefined
  readonly #allowWider: boolean
  #isClosed = false

  /** @throws AuthkeepError `provider_invalid`; TypeError for a timing that cannot work */
  constructor(options: TokenBrokerOptions) {
    for (const provider of options.providers) checkProvider(provider, `provider ${provider.id}`)
    this.#store = options.store
    this.#entries = new Entries(options.store, options.providers, options.environment ?? process.env)
    this.#providers = options.providers
    this.#fetch = options.fetch ?? ((...request) => fetch(...request))
    this.#clock = options.clock ?? systemClock(options.now)
    this.#accounts = new AccountMemory(options.store, this.#entries, () => this.#clock.now())
    this.#process = options.process
    this.#leeway = this.#clock.random()
    this.#refresh = options.refresh
    this.#cache = new TokenCache(this.#clock)
    this.#timing = checkedTiming({ ...defaultTiming, ...options.timing })
    this.#asker = options.onAuthorize === undefined ? undefined : new Asker(options.onAuthorize)
    this.#allowWider = options.allowWider ?? true
    this.#watch = this.#store.watch(() => this.#cache.clear())
  }

  /**
   * The right token for a target.
   *
   * @throws AuthkeepError `authorization_required`, `scope_missing`, `step_up_required`, `grant_revoked`,
   *   `refresh_interrupted` (a person is needed, and `onAuthorize` did not help); `account_ambiguous`; `scope_too_wide`; `endpoint_unknown`, `provider_unknown`; `server_unavailable`, `server_rejected`,
   *   `response_invalid`; `store_corrupt`, `store_failed`, `store_busy`. While a token still lives, a refresh that
   *   fails never fails the caller. TypeError for what is no target, and for a URL that other programs may read as
   *   another host: with a blank, a backslash or a control character in it.
   */
  async getToken(target: Target, options: GetTokenOptions = {}): Promise<AccessToken> {
    const name = cacheName(target, options)
    const cached = name === undefined ? undefined : this.#cache.fresh(name, this.#clock.now())
    if (cached !== undefined && !this.#isClosed) return cached
    options.signal?.throwIfAborted()
    return abortable(this.#obtain(kept(target), options, name), options.signal)
  }

  /** The same token again and again: for a client that wants to be given a function. */
  source(target: Target): TokenSource {
    return { getToken: (options) => this.getToken(target, options) }
  }

  /**
   * Obtains a grant with a flow and stores it; until then everything stays as it was. Asks for what the target needs
   * together with what the account has been granted before; a grant that covers less is refused, or with `narrower:
   * 'keep'` stored as what it is, even in the place of a wider one.
   *
   * A login that arrives at another account than the one stored under its name is `account_ambiguous`, unless
   * `onOtherAccount` decides what becomes of it: it is stored as decided, without a second login. What is not stored is
   * revoked, unless that might end another login that is stored.
   *
   * @throws AuthkeepError `authorization_required` (denied, timed out), `scope_missing`, `account_ambiguous`, `redirect_unavailable`,
   *   `server_unavailable`, `server_rejected`, `response_invalid`, `provider_unknown`, store errors
   */
  async authorize(target: Target, flow: GrantFlow, options: LoginOptions = {}): Promise<CredentialInfo> {
    const [info] = await this.onboard([{ target, flow }], options)
    if (info === undefined) throw new TypeError('a login cannot store nothing')
    return info
  }

  /**
   * Several logins in one commit, all or none: what an application that sets itself up wants. The flows run one after
   * the other. If one fails, is cancelled, or brings less than was asked for, nothing is stored, what the others have
   * brought is revoked, and every login is as it was; so it is if the process dies at any moment before the commit.
   *
   * @throws AuthkeepError as `authorize`. TypeError where two profiles are one entry of the store
   */
  async onboard(profiles: readonly Profile[], options: LoginOptions = {}): Promise<readonly CredentialInfo[]> {
    this.#assertOpen()
    const [{ onboard }, { planLogin }] = await Promise.all([import('./onboard.ts'), import('./authorize.ts')])
    const planned = await Promise.all(
      profiles.map(async ({ target, flow }) => {
        const route = obtainableRoute(routesTo(target, this.#providers))
        const { provider, requirement } = route
        const key = { provider: provider.id, account: route.account ?? (await this.#onlyAccount(provider)) }
        const needed = withNeeds(requirement, await this.#learned(route, {}))
        return { key, provider, flow, plan: planLogin(provider, needed, await this.#store.read(key)) }
      }),
    )
    const stored = await onboard(planned, {
      ...{ store: this.#store, fetch: this.#fetch, now: () => this.#clock.now(), signal: options.signal },
      ...{ narrower: options.narrower ?? 'refuse', onOtherAccount: options.onOtherAccount },
    })
    await this.#accounts.wake(stored)
    return stored.map(describeCredential)
  }

  /**
   * The way to a service: the first of its routes whose requirement a stored credential meets, refreshed if need be.
   * Providers are asked in the order in which they were given, and the endpoints of each in theirs.
   *
   * @throws AuthkeepError `endpoint_unknown` (no such service or model); `host_not_bound` (a `baseUrl` that is neither
   *   declared nor trusted; no credential has been touched); as `getToken` where no route serves: the reason is that of
   *   the first route with a credential, and `alternatives` say what would work. TypeError for a `baseUrl` that is none
   */
  async route(
    wanted: ServiceTarget,
    options: Pick<GetTokenOptions, 'method' | 'minTtlMs' | 'signal'> = {},
  ): Promise<ServiceRoute> {
    this.#assertOpen()
    const { presentRoute, RouteSearch, serviceRoutes } = await import('./route.ts')
    const routes = serviceRoutes(wanted, this.#providers)
    const search = new RouteSearch(routes, this.#routeSource(options))
    const { value: served } = await abortable(search.served().next(), options.signal)
    if (served === undefined) throw await this.#informed(search.error, routes)
    return presentRoute(served, search.passedOver, async (outcome) => {
      const { diagnose } = await import('./diagnose.ts')
      const { route: step, info } = served.candidate
      const context = { url: step.baseUrl, now: this.#clock.now(), secrets: [served.token.reveal()] }
      const verdict = await diagnose(outcome, context)
      await this.#accounts.note(info, verdict)
      return verdict
    })
  }

  /**
   * `fetch` of a path below the base URL of a service, by the first route that serves it. What an API refuses is tried once
   * more as by `fetch`; where the route or its credential is why it is refused, or nothing could be sent, the next route is
   * taken. A challenge of the edge refreshes nothing and leaves no account alone; a limit of the account's does.
   *
   * @throws AuthkeepError as `route`; `edge_challenge` where no other route is left, with what would work in `alternatives`.
   *   Else what `fetch` rejects with. TypeError for a path that leads out of the base URL
   */
  async fetchService(wanted: ServiceTarget, path: string, init: RequestInit = {}): Promise<Response> {
    this.#assertOpen()
    const [{ RouteSearch, serviceRoutes }, { fetchService }] = await Promise.all([
      import('./route.ts'),
      import('./service.ts'),
    ])
    const routes = serviceRoutes(wanted, this.#providers)
    const { method = 'GET', signal } = init
    const search = new RouteSearch(routes, this.#routeSource({ method, ...(signal == null ? {} : { signal }) }))
    try {
      return await fetchService(search, path, init, {
        send: this.#fetch,
        now: () => this.#clock.now(),
        callSource: ({ candidate }, call) =>
          this.#callSource(call, (more) => this.#tokenOf(candidate, { method, ...more }, this.#clock.now(), undefined)),
        note: ({ candidate }, verdict) => this.#accounts.note(candidate.info, verdict),
      })
    } catch (error) {
      throw await this.#informed(error, routes, search.tried)
    }
  }

  /**
   * How the accounts of a provider stand in for each other, and which are left alone until when.
   *
   * @throws AuthkeepError `provider_unknown`, store errors
   */
  async accounts(provider: string): Promise<Accounts> {
    return this.#accounts.of(findProvider(provider, this.#providers).id)
  }

  /**
   * Says how the accounts of a provider stand in for each other where a service is asked for and none is named; stored
   * beside the credentials. Without it several accounts are `account_ambiguous`.
   *
   * @throws AuthkeepError `provider_unknown`, store errors
   */
  async setAccountOrder(provider: string, order: AccountOrder): Promise<void> {
    await this.#accounts.setOrder(findProvider(provider, this.#providers).id, order)
  }

  /**
   * `fetch` with the right token attached. Only URLs that a provider declares can be asked for, and a redirect to another
   * origin leaves the token behind.
   *
   * What the API refuses is tried once more: with another token after `invalid_token` (RFC 6750), with more scopes after
   * `insufficient_scope`, with a stronger login after `insufficient_user_authentication` (RFC 9470), with a nonce after
   * `use_dpop_nonce` (RFC 9449). What was missing is remembered for the endpoint. Everything else is returned as it came,
   * 429 and `Retry-After` too. A body that can be read only once, a stream or that of a `Request`, is sent once.
   *
   * @throws AuthkeepError as `getToken`: after a refusal, too, where a person has to log in; `host_not_bound`
   */
  async fetch(input: string | URL | globalThis.Request, init?: RequestInit): Promise<Response> {
    const asked = input instanceof URL ? input.href : input
    const { brokeredFetch, readCall } = await import('./fetch.ts')
    const call = readCall(asked, init)
    const { url, method } = call
    const source = this.#callSource(call, (more) => this.#obtain(url, { method, ...more }, undefined))
    return brokeredFetch(source, this.#fetch, call)
  }

  /**
   * Checks what is stored for a target: signature, issuer, audience, times and scopes of the access token, where the
   * provider declares that it is a JWT, and of the ID token. Changes nothing; may fetch the keys of the issuer.
   *
   * @throws AuthkeepError as `getToken` for a target without a credential; `server_unavailable`, `response_invalid`
   */
  async validate(target: Target, options: Pick<GetTokenOptions, 'account' | 'method'> = {}): Promise<Validation> {
    this.#assertOpen()
    const { validateStored } = await import('./validate.ts')
    const [{ route: declared, info }] = choices(...(await this.#candidates(target, options.account)))
    const credential = await readCredential(this.#entries, info)
    const route = await this.#route(declared, credential, options)
    const flight: Flight = { route, key: info, options, startedAt: this.#clock.now() }
    const { decision } = await this.#judge(flight, credential)
    const now = (): number => this.#clock.now() + this.#offset(credential)
    const { requirement, provider } = route
    return validateStored({ credential, decision, requirement, provider }, { fetch: this.#fetch, now })
  }

  /** What would be done about a target now, by which credential, and why; and why every other one would not serve. */
  async explain(target: Target, options: Pick<GetTokenOptions, 'account' | 'method'> = {}): Promise<Explanation> {
    this.#assertOpen()
    const [{ explainRoutes, explainUnknown }, { routesAround }] = await Promise.all([
      import('./explain.ts'),
      import('./alternatives.ts'),
    ])
    const label = labelOf(target)
    try {
      const routes = routesTo(target, this.#providers, options.account)
      const around = routesAround(routes, this.#providers)
      return await explainRoutes(label, { routes, around, entries: this.#entries, judge: this.#judgeWith(options) })
    } catch (error) {
      if (isAuthkeepError(error, 'endpoint_unknown')) return explainUnknown(label, error)
      throw error
    }
  }

  /**
   * Ends a login at its server (RFC 7009), and removes the entry once the server has confirmed it. Until then, and
   * wherever it does not, everything stays: `reason` says in one word why. No refresh is under way meanwhile.
   *
   * @throws AuthkeepError `provider_unknown`, `server_unavailable`, `response_invalid`, store errors
   */
  async revoke(key: CredentialKey): Promise<{ revoked: boolean; reason?: string }> {
    this.#assertOpen()
    const provider = findProvider(key.provider, this.#providers)
    return this.#turns.take(key, 'revoke', () => this.#revoke(key, provider))
  }

  /**
   * Takes a login over from the program whose file the store is in (`Format.refreshLock`): from now on this broker, and
   * every other one on that file, refreshes it where it has expired, under the lock of that program, which goes on to
   * use and to refresh it as well. Until then its access token is only borrowed. Remembered beside the file. In a store
   * of our own there is nothing to take over.
   *
   * @throws AuthkeepError `authorization_required` where there is no such login; store errors
   */
  async takeOver(key: CredentialKey): Promise<CredentialInfo> {
    this.#assertOpen()
    const credential = await readCredential(this.#entries, key)
    await rememberTakeOver(this.#store, key, this.#clock.now())
    return describeCredential(credential)
  }

  /**
   * Exchanges a login for an API key, where its provider declares that this may be done (`apiKeyExchange`), and stores
   * the key for the provider that it is for: as `account`, by default `default`. The login stays as it is; an ID token
   * that has expired is renewed first, by a refresh. Nothing that is stored is replaced.
   *
   * @throws AuthkeepError `not_entitled`: many accounts are not; `account_ambiguous`, before anything is sent, where that
   *   account is taken; `authorization_required` without a login, or one whose ID token no refresh renews;
   *   `not_supported` where nothing is declared; `provider_unknown`, `server_rejected`, `server_unavailable`,
   *   `edge_challenge`, `response_invalid`; of a refresh and of the store as `getToken`
   */
  async exchangeForKey(
    key: CredentialKey,
    { account = 'default', signal }: { readonly account?: string; readonly signal?: AbortSignal } = {},
  ): Promise<CredentialInfo> {
    this.#assertOpen()
    const provider = findProvider(key.provider, this.#providers)
    const { apiKeyExchange: exchange } = provider
    if (exchange === undefined) {
      throw new AuthkeepError('not_supported', { feature: `An API key in exchange for a login to ${provider.id}` })
    }
    signal?.throwIfAborted()
    const target = { provider: findProvider(exchange.provider, this.#providers).id, account }
    const { exchangeForKey } = await import('./exchange-for-key.ts')
    const stored = await exchangeForKey(
      key,
      target,
      { provider, exchange },
      {
        ...{ store: this.#store, fetch: this.#fetch, now: () => this.#clock.now() },
        token: async (renew) => {
          const token = await this.getToken(key, { ...(renew ? { minTtlMs: Number.MAX_SAFE_INTEGER } : {}) })
          return new Secret(token.reveal())
        },
      },
    )
    return describeCredential(stored)
  }

  /** Lets refreshes that have been sent finish and be saved. Does not close the store. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#watch[Symbol.dispose]()
    await this.#turns.settled()
    await (await this.#refresher)?.close()
  }

  // --- one request -----------------------------------------------------------------------------------------------

  /** A token, or what a person who is asked for it makes possible. */
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
          throw await this.#informed(error, routesTo(target, this.#providers, options.account))
        }
        // The login that an API did not like has been replaced: what the new one shows is judged as ever.
        if (outcome === 'asked') request = { ...options, ...withoutLogin(options.needs) }
      }
    }
  }

  async #getToken(target: Target, options: Request, name: string | undefined): Promise<BrokeredToken> {
    this.#assertOpen()
    const startedAt = this.#clock.now()
    const confirmed = name === undefined ? undefined : await this.#confirm(name, startedAt)
    if (confirmed !== undefined) return confirmed
    const candidates = choices(...(await this.#candidates(target, options.account)))
    let refusal: AuthkeepError | undefined
    // Providers may share an endpoint, and the login of one may not do what the key of another does.
    for (const candidate of candidates) {
      try {
        return await this.#tokenOf(candidate, options, startedAt, name)
      } catch (error) {
        if (candidates.length === 1 || !isAuthkeepError(error) || error.remedy !== 'authorize') throw error
        refusal ??= error
      }
    }
    throw refusal ?? new TypeError('a choice has at least one candidate')
  }

  /** The token of one stored entry, if that serves. */
  async #tokenOf(
    { route: declared, info }: Candidate,
    options: Request,
    startedAt: number,
    name: string | undefined,
  ): Promise<BrokeredToken> {
    const credential = await readCredential(this.#entries, info)
    const route = await this.#route(declared, credential, options)
    const flight: Flight = { route, key: info, options, startedAt }
    const { acrValues, maxAge } = options.needs ?? {}
    if ((acrValues !== undefined || maxAge !== undefined) && credential.type === 'oauth') {
      throw stepUpRequired(credential, route.requirement)
    }
    const { decision, moment } = await this.#judge(flight, credential)
    if (decision.action === 'authorize' && !isBeingTried(credential, decision.error)) {
      const token = this.#stillLiving(credential, flight)
      if (token !== null) return token
      throw decision.error
    }
    if (decision.action !== 'use') return this.#enqueue(flight)
    if (decision.renew !== null) this.#renewSoon(flight)
    const token = this.#present(decision.token, credential, route)
    // The age of a login is looked at each time.
    if (name !== undefined && route.requirement.maxAge === undefined) {
      const goodUntil = needsDecisionAt(decision.token, moment) - (moment.startedAt - startedAt)
      this.#cache.remember(name, { token, key: info, credential, goodUntil })
    }
    return token
  }

  /** The route with what was learned about its endpoint, and with what an API has just asked for. */
  async #route(route: Route, credential: Credential, options: Request): Promise<Route> {
    // Nothing that is known of a key or a static token could meet a lesson, or fail to.
    if (credential.type !== 'oauth') return route
    const learned = await this.#learned(route, options)
    const requirement = withLearned(route.requirement, learned, credential.grant.scopes, route.provider.implies)
    return { ...route, requirement: options.needs === undefined ? requirement : withNeeds(requirement, options.needs) }
  }

  async #learned({ requirement: { endpoint } }: Route, { method = 'GET' }: Request): Promise<Learned> {
    if (endpoint === undefined) return { scopes: [] }
    return learnedFor(await this.#store.readState(learnedName(endpoint)), method)
  }

  async #learn({ endpoint }: BrokeredToken, method: string, lesson: Learned): Promise<void> {
    if (endpoint !== undefined)
      await this.#store.updateState(learnedName(endpoint), (state) => withLesson(state, method, lesson))
  }

  #present(token: Usable, credential: Credential, route: Route): BrokeredToken {
    const { provider, headers, requirement, trusted } = route
    const now = (): number => this.#clock.now() + this.#offset(credential)
    return new BrokeredToken(token, { provider, credential, headers, endpoint: requirement.endpoint, trusted, now })
  }

  #callSource({ method, signal }: Call, getToken: (more: Request) => Promise<BrokeredToken>): CallSource {
    return {
      getToken: (more) => abortable(getToken(more), signal),
      learn: (token, lesson) => this.#learn(token, method, lesson),
      cookies: this.#cookies,
    }
  }

  #routeSource(options: Request): RouteSource {
    return {
      infosFor: (routes) => this.#infosFor(routes),
      arrange: (provider, names) => this.#accounts.arrange(provider, names),
      restOf: (key) => this.#accounts.restOf(key),
      tokenOf: (candidate) => this.#tokenOf(candidate, options, this.#clock.now(), undefined),
    }
  }

  /** An error that no login mends, together with what would work instead; not by endpoints that were tried. */
  async #informed(error: unknown, routes: readonly Route[], tried?: ReadonlySet<string>): Promise<unknown> {
    if (!isHelpless(error)) return error
    const { informed } = await import('./alternatives.ts')
    const [providers, entries, judge] = [this.#providers, this.#entries, this.#judgeWith({})]
    return informed(error, { routes, tried, providers, entries, judge, infosFor: (all) => this.#infosFor(all) })
  }

  /** What `getToken` would decide, for those who only look. */
  #judgeWith(options: Request): Judge {
    return async (credential, declared) => {
      const route = await this.#route(declared, credential, options)
      const flight: Flight = { route, key: credential, options, startedAt: this.#clock.now() }
      const { decision } = await this.#judge(flight, credential)
      return { requirement: route.requirement, decision }
    }
  }

  /** The decision about a credential here and now. */
  async #judge(
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

  /** Looks at the one entry that a cached token came from: one stat, for a file. */
  async #confirm(name: string, now: number): Promise<BrokeredToken | undefined> {
    const key = this.#cache.keyOf(name)
    if (key === undefined) return undefined
    return this.#cache.confirmed(name, await this.#entries.read(key), now)
  }

  async #candidates(target: Target, account: string | undefined): Promise<[readonly Route[], readonly EntryInfo[]]> {
    const routes = routesTo(target, this.#providers, account)
    return [routes, await this.#infosFor(routes)]
  }

  /** What is stored of the providers that the routes are of. */
  async #infosFor(routes: readonly Route[]): Promise<readonly EntryInfo[]> {
    const infos = await Promise.all(
      routes.map(async ({ provider: { id }, account: named }) => {
        if (named === undefined) return this.#entries.list({ provider: id })
        try {
          // One look, however many accounts there are.
          const credential = await this.#entries.read({ provider: id, account: named })
          return credential === null ? [] : [describeCredential(credential)]
        } catch (error) {
          // An entry that cannot be read is a candidate as well, after those that can.
          if (!isAuthkeepError(error, 'store_corrupt')) throw error
          return this.#entries.list({ provider: id })
        }
      }),
    )
    // Several routes may be of one provider.
    const byName = new Map(infos.flat().map((info) => [keyName(info), info]))
    return [...byName.values()]
  }

  #enqueue(flight: Flight): Promise<BrokeredToken> {
    return this.#turns.take(flight.key, flightName(flight), () => this.#serve(flight))
  }

  /** Whoever asked has a token that lives, so nobody hears of a failure, and no timer keeps the process for it. */
  #renewSoon(flight: Flight): void {
    const renewal = this.#turns.take(flight.key, `renew ${flightName(flight)}`, () => this.#renew(flight))
    renewal.catch(() => undefined)
  }

  /** One attempt, if nobody else makes one and none has failed lately. */
  async #renew(flight: Flight): Promise<void> {
    const { route, key } = flight
    const refresher = await this.#loadRefresher()
    const credential = await readCredential(this.#entries, key)
    const { decision } = await this.#judge(flight, credential)
    if (decision.action !== 'use' || decision.renew === null || credential.type !== 'oauth' || this.#isClosed) return
    if (!refresher.isDue(credential) || refresher.judge(credential, route.provider).kind !== 'free') return
    await refresher.run(credential, decision.renew, route.provider)
  }

  /** Reads, decides, acts, and starts again, until there is a token or an error that says why there is none. */
  async #serve(flight: Flight): Promise<BrokeredToken> {
    const { route, key } = flight
    const { provider, requirement } = route
    const refresher = await this.#loadRefresher()
    let served: TokenAnswer | undefined
    let hasWaited = false
    let hasExchanged = false
    for (;;) {
      let looked: Credential | null = null
      try {
        await refresher.flush(key)
        const credential = await readCredential(this.#entries, key)
        looked = credential
        const { decision, moment } = await this.#judge(flight, credential)
        if (decision.action === 'use') {
          if (hasWaited && credential.type === 'oauth') refresher.tell('adopted', credential)
          return this.#present(decision.token, credential, route)
        }
        if (decision.action === 'authorize' && !isBeingTried(credential, decision.error)) {
          const token = this.#stillLiving(credential, flight)
          if (token !== null) return token
          throw decision.error
        }
        if (credential.type !== 'oauth') throw new TypeError('nothing to refresh')
        // Only while it is what is stored: an entry that has been changed since deserves another look. What a refresh
        // has brought may still be exchanged.
        if (served !== undefined && carries(credential, served) && (decision.action !== 'exchange' || hasExchanged)) {
          throw this.#notServed(credential, requirement, served.scopes, moment)
        }
        if (decision.action === 'exchange' || decision.action === 'reissue') {
          hasExchanged = true
          served = await refresher.obtain(credential, decision, provider)
          continue
        }
        if (await writeLabels(this.#store, credential)) continue
        const verdict = refresher.judge(credential, provider)
        this.#assertOpen()
        if (verdict.kind === 'wait') {
          const timeoutMs = Math.min(verdict.forMs, lookAtHolderEveryMs)
          await this.#store.waitForChange(key, credential, { timeoutMs })
          hasWaited = true
        } else if (verdict.kind === 'in_doubt') {
          await refresher.markInDoubt(credential)
        } else if (decision.action === 'authorize') {
          throw decision.error
        } else if (!(await refresher.hasPaused(credential))) {
          const result = await refresher.run(credential, decision, provider)
          if (result.kind === 'served') served = result.token
        }
      } catch (error) {
        // Who is told to log in is told so by the entry that was just looked at; a later one would be another question.
        if (!isAuthkeepError(error)) throw error
        const stored = error.remedy === 'authorize' ? looked : await this.#entries.read(key)
        const token = stored === null ? null : this.#stillLiving(stored, flight)
        if (token !== null) return token
        throw error
      }
    }
  }

  #loadRefresher(): Promise<Refresher> {
    this.#refresher ??= import('./refresh.ts').then(
      ({ Refresher }) =>
        new Refresher({
          ...{ store: this.#store, fetch: this.#fetch, clock: this.#clock, timing: this.#timing },
          ...{ process: this.#process, refresh: this.#refresh },
        }),
    )
    return this.#refresher
  }

  /** While a token lives, a refresh that failed is not the caller's problem. */
  #stillLiving(credential: Credential, { route, options, startedAt }: Flight): BrokeredToken | null {
    const moment = this.#moment(route.provider, { ...options, minTtlMs: 0 }, startedAt, credential)
    const decision = decide(credential, route.requirement, { ...moment, isFallback: true })
    return decision.action === 'use' ? this.#present(decision.token, credential, route) : null
  }

  async #revoke(key: CredentialKey, provider: Provider): Promise<{ revoked: boolean; reason?: string }> {
    const refresher = await this.#loadRefresher()
    for (;;) {
      await refresher.flush(key)
      const credential = await this.#store.read(key)
      if (credential === null) return { revoked: false, reason: 'no_credential' }
      if (credential.type !== 'oauth') return { revoked: false, reason: 'not_supported' }
      if (movedTo(credential) !== undefined) return { revoked: false, reason: 'moved' }
      if (credential.issuer !== provider.issuer || credential.clientId !== provider.client.id) {
        return { revoked: false, reason: 'registration_changed' }
      }
      const verdict = refresher.judge(credential, provider)
      if (verdict.kind === 'wait') {
        const timeoutMs = Math.min(verdict.forMs, lookAtHolderEveryMs)
        await this.#store.waitForChange(key, credential, { timeoutMs })
      } else if (verdict.kind === 'in_doubt') {
        await refresher.markInDoubt(credential)
      } else {
        const outcome = await refresher.revoke(credential, provider)
        if (outcome.kind === 'confirmed') return { revoked: true }
        if (outcome.kind === 'unconfirmed') return { revoked: false, reason: outcome.reason }
        if (outcome.kind === 'not_supported') return { revoked: false, reason: outcome.kind }
      }
    }
  }

  /** The server answered, and what it gave does not serve: said as it is, and not asked for again and again. */
  #notServed(
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

  #moment(provider: Provider, options: GetTokenOptions, startedAt: number, credential: Credential): Moment {
    const { minTtlMs = null, rejected = null, allowWider = this.#allowWider } = options
    const offset = this.#offset(credential)
    const [now, leeway, owner] = [this.#clock.now() + offset, this.#leeway, lenderOf(credential)]
    const moment = { now, provider, minTtlMs, startedAt: startedAt + offset, rejected, leeway, allowWider }
    return owner === undefined ? moment : { ...moment, owner }
  }

  /** How far the server's clock is ahead of ours, in milliseconds. */
  #offset(credential: Credential): number {
    return credential.type === 'oauth' ? offsetFor(credential, () => this.#process ?? thisProcess()) : 0
  }

  /** The account a login is for when none is named. */
  async #onlyAccount(provider: Provider): Promise<string> {
    const accounts = (await this.#store.list())
      .filter((info) => info.provider === provider.id)
      .map(({ account }) => account)
    if (accounts.length > 1) throw new AuthkeepError('account_ambiguous', { provider: provider.id, accounts })
    return accounts[0] ?? 'default'
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new TypeError('the broker is closed')
  }
}

/**
 * Whether the one second try of a refresh token in doubt may be under way: then what it brings is waited for, like any
 * refresh of another process, before anybody is told to log in.
 */
function isBeingTried(credential: Credential, error: AuthkeepError): boolean {
  return isAuthkeepError(error, 'refresh_interrupted') && credential.type === 'oauth' && credential.lease !== null
}

/** A target as it is now: its owner may change it before it is looked at, and what is found is cached by its name. */
function kept(target: Target): Target {
  if (target instanceof URL) return target.href
  return typeof target === 'string' ? target : { ...target }
}

/** Whether a login would not help, so that something else has to be named. */
function isHelpless(error: unknown): error is Helpless {
  return (
    isAuthkeepError(error, 'edge_challenge') || (isAuthkeepError(error, 'scope_missing') && !error.detail.obtainable)
  )
}

/** A target for people: never the query of a URL, or the password in it. */
function labelOf(target: Target): string {
  if (typeof target === 'object' && !(target instanceof URL)) return target.provider
  if (!URL.canParse(String(target))) return 'no URL'
  const { origin, pathname } = new URL(target)
  return `${origin}${pathname}`
}

/** Until when a token can be handed out without another decision, Unix milliseconds. */
function needsDecisionAt(token: Usable, { leeway, now }: Moment): number {
  if (token.expiresAt === null) return Infinity
  const agesAt = token.expiresAt - softMargin(token, { leeway, startedAt: Infinity })
  if (now < agesAt) return agesAt
  const endsAt = token.expiresAt - hardMargin(token, { minTtlMs: null, startedAt: Infinity })
  return Math.min(endsAt, now + lookAtAgingEveryMs)
}

function withoutLogin(needs: Learned | undefined): { readonly needs?: Learned } {
  return needs === undefined ? {} : { needs: { scopes: needs.scopes } }
}

/** Requests with an ordinary wish are cached; one that names a refused token, a lifetime or an account wants a decision. */
function cacheName(target: Target, options: GetTokenOptions): string | undefined {
  const { rejected, minTtlMs, account: named, allowWider, method = 'GET' } = options
  if (rejected !== undefined || minTtlMs !== undefined || named !== undefined || allowWider !== undefined) {
    return undefined
  }
  const prefix = method === 'GET' ? '' : `${method} `
  if (typeof target === 'string') return prefix + target
  if (target instanceof URL) return prefix + target.href
  const { provider, account, resource, scopes } = target
  return JSON.stringify([provider, account, resource, scopes, target.acrValues, target.maxAge])
}

function flightName({ route, options }: Flight): string {
  const { scopes, resource, endpoint, acrValues, maxAge } = route.requirement
  const rejected = options.rejected === undefined ? null : fingerprint(new Secret(options.rejected))
  return JSON.stringify([
    route.provider.id,
    endpoint,
    scopes,
    resource,
    acrValues,
    maxAge,
    options.minTtlMs ?? null,
    options.allowWider,
    rejected,
    route.trusted,
  ])
}
