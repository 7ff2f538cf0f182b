import { abortable } from '../abort.ts'
import { type CredentialKey, Secret } from '../credential.ts'
import type { Target } from '../endpoint.ts'
import { AuthkeepError, isAuthkeepError } from '../errors.ts'
import type { GrantFlow } from '../grant/flow.ts'
import type { refresh } from '../grant/token-request.ts'
import { type Process, thisProcess } from '../owner.ts'
import { checkProvider, type Provider } from '../provider.ts'
import { type CredentialInfo, type CredentialStore, describeCredential } from '../store/store.ts'
import type { AccessToken, BrokeredToken } from './access-token.ts'
import type { AccountMemory } from './accounts.ts'
import { Asker, type AuthorizeHandler } from './ask.ts'
import { type Candidate, choices, infosFor, readCredential } from './candidates.ts'
import { type Clock, systemClock } from './clock.ts'
import { Desk } from './desk.ts'
import type { EdgeCookies } from './edge-cookies.ts'
import { Entries, type EnvironmentVariables } from './environment.ts'
import type { Explanation } from './explain.ts'
import type { Call, CallSource } from './fetch.ts'
import { Judgement } from './judgement.ts'
import { checkedTiming, defaultTiming, type RefreshTiming } from './lease.ts'
import type { Narrower, Profile } from './onboard.ts'
import type { AccountOrder, Accounts } from './order.ts'
import type { OtherAccountHandler } from './other-account.ts'
import { rememberTakeOver } from './owner.ts'
import { cacheName, type Flight, type GetTokenOptions, kept, type Request } from './request.ts'
import type { RouteSource, ServiceRoute, ServiceTarget } from './route.ts'
import type { Serving } from './serving.ts'
import { findProvider, routesTo } from './target.ts'
import { Turns } from './turns.ts'
import type { Validation } from './validate.ts'

/** One target's token, for clients that want to be given an object to ask. */
export interface TokenSource {
  /** As `TokenBroker.getToken`, for the target that the source was made for; rejects with the same. */
  getToken(options?: GetTokenOptions): Promise<AccessToken>
}

/** What a `TokenBroker` works with. Only `store` and `providers` are needed. */
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

/**
 * Hands every caller the right token for the endpoint it is about to call: from the store while one lives, by a single
 * refresh when none does, and otherwise with an error that says what is missing and what to do. It never opens a browser.
 */
export class TokenBroker {
  readonly #store: CredentialStore
  readonly #entries: Entries
  readonly #providers: readonly Provider[]
  readonly #fetch: typeof fetch
  readonly #clock: Clock
  readonly #judgement: Judgement
  readonly #desk: Desk
  readonly #turns = new Turns()
  readonly #watch: Disposable
  /** How what does not live any more is refreshed; once it is needed. */
  readonly #serving: () => Promise<Serving>
  #isServing = false
  #accounts: Promise<AccountMemory> | undefined
  /** Kept for the endpoints that declare some; as long as the broker lives. */
  #cookies: Promise<EdgeCookies> | undefined
  #isClosed = false

  /** @throws AuthkeepError `provider_invalid`; TypeError for a timing that cannot work */
  constructor(options: TokenBrokerOptions) {
    for (const provider of options.providers) checkProvider(provider, `provider ${provider.id}`)
    const { store, providers, process: own } = options
    const timing = checkedTiming({ ...defaultTiming, ...options.timing })
    const clock = options.clock ?? systemClock(options.now)
    const send: typeof fetch = options.fetch ?? ((...request) => fetch(...request))
    const entries = new Entries(store, providers, options.environment ?? process.env)
    const judgement = new Judgement({
      ...{ store, clock, allowWider: options.allowWider ?? true, process: () => own ?? thisProcess() },
    })
    let serving: Promise<Serving> | undefined
    this.#serving = () => {
      this.#isServing = true
      serving ??= import('./serving.ts').then(
        ({ Serving }) =>
          new Serving({
            ...{ store, fetch: send, clock, timing, process: own, refresh: options.refresh },
            ...{ entries, judgement, isClosed: () => this.#isClosed },
          }),
      )
      return serving
    }
    this.#store = store
    this.#entries = entries
    this.#providers = providers
    this.#fetch = send
    this.#clock = clock
    this.#judgement = judgement
    this.#desk = new Desk({
      ...{ providers, entries, judgement, clock, turns: this.#turns, serving: this.#serving },
      asker: options.onAuthorize === undefined ? undefined : new Asker(options.onAuthorize),
      assertOpen: () => this.#assertOpen(),
    })
    this.#watch = store.watch(() => this.#desk.forget())
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
    const cached = this.#desk.fresh(name)
    if (cached !== undefined && !this.#isClosed) return cached
    options.signal?.throwIfAborted()
    return abortable(this.#desk.gather(kept(target), options, name), options.signal)
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
    const { onboard, planProfiles } = await import('./onboard.ts')
    const planned = await planProfiles(profiles, this.#providers, this.#store, this.#judgement)
    const stored = await onboard(planned, {
      ...{ store: this.#store, fetch: this.#fetch, now: () => this.#clock.now(), signal: options.signal },
      ...{ narrower: options.narrower ?? 'refuse', onOtherAccount: options.onOtherAccount },
    })
    await (await this.#accountMemory()).wake(stored)
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
    const search = new RouteSearch(routes, await this.#routeSource(options))
    const { value: served } = await abortable(search.served().next(), options.signal)
    if (served === undefined) throw await this.#desk.informed(search.error, routes)
    return presentRoute(served, search.passedOver, async (outcome) => {
      const { diagnose } = await import('./diagnose.ts')
      const { route: step, info } = served.candidate
      const context = { url: step.baseUrl, now: this.#clock.now(), secrets: [served.token.reveal()] }
      const verdict = await diagnose(outcome, context)
      await (await this.#accountMemory()).note(info, verdict)
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
    const [{ RouteSearch, serviceRoutes }, { fetchService }, accounts, cookies] = await Promise.all([
      import('./route.ts'),
      import('./service.ts'),
      this.#accountMemory(),
      this.#edgeCookies(),
    ])
    const routes = serviceRoutes(wanted, this.#providers)
    const { method = 'GET', signal } = init
    const search = new RouteSearch(routes, await this.#routeSource({ method, ...(signal == null ? {} : { signal }) }))
    try {
      return await fetchService(search, path, init, {
        send: this.#fetch,
        now: () => this.#clock.now(),
        callSource: ({ candidate }, call) =>
          this.#callSource(call, cookies, (more) => this.#tokenOf(candidate, { method, ...more })),
        note: ({ candidate }, verdict) => accounts.note(candidate.info, verdict),
      })
    } catch (error) {
      throw await this.#desk.informed(error, routes, search.tried)
    }
  }

  /**
   * How the accounts of a provider stand in for each other, and which are left alone until when.
   *
   * @throws AuthkeepError `provider_unknown`, store errors
   */
  async accounts(provider: string): Promise<Accounts> {
    const { id } = findProvider(provider, this.#providers)
    return (await this.#accountMemory()).of(id)
  }

  /**
   * Says how the accounts of a provider stand in for each other where a service is asked for and none is named; stored
   * beside the credentials. Without it several accounts are `account_ambiguous`.
   *
   * @throws AuthkeepError `provider_unknown`, store errors
   */
  async setAccountOrder(provider: string, order: AccountOrder): Promise<void> {
    const { id } = findProvider(provider, this.#providers)
    await (await this.#accountMemory()).setOrder(id, order)
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
    const [{ brokeredFetch, readCall }, cookies] = await Promise.all([import('./fetch.ts'), this.#edgeCookies()])
    const call = readCall(asked, init)
    const { url, method } = call
    const source = this.#callSource(call, cookies, (more) => this.#desk.obtain(url, { method, ...more }))
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
    const routes = routesTo(target, this.#providers, options.account)
    const [{ route: declared, info }] = choices(routes, await infosFor(this.#entries, routes))
    const credential = await readCredential(this.#entries, info)
    const route = await this.#judgement.route(declared, credential, options)
    const flight: Flight = { route, key: info, options, startedAt: this.#clock.now() }
    const { decision } = await this.#judgement.decide(flight, credential)
    const now = (): number => this.#clock.now() + this.#judgement.offset(credential)
    const { requirement, provider } = route
    return validateStored({ credential, decision, requirement, provider }, { fetch: this.#fetch, now })
  }

  /**
   * What would be done about a target now, by which credential, and why; and why every other one would not serve. Sends
   * nothing and changes nothing.
   *
   * @throws AuthkeepError `provider_unknown`, store errors. A URL that no provider declares is explained, too
   */
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
      return await explainRoutes(label, {
        routes,
        around,
        entries: this.#entries,
        judge: this.#judgement.judgeWith(options),
      })
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
    return this.#turns.take(key, 'revoke', async () => (await this.#serving()).revoke(key, provider))
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

  /**
   * Lets refreshes that have been sent finish and be saved. Does not close the store.
   *
   * @throws AuthkeepError `store_failed`, `store_busy` where a new refresh token could not be saved
   */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#watch[Symbol.dispose]()
    await this.#turns.settled()
    if (this.#isServing) await (await this.#serving()).close()
  }

  // --- what calls to services need of it -------------------------------------------------------------------------

  #callSource(
    { method, signal }: Call,
    cookies: EdgeCookies,
    getToken: (more: Request) => Promise<BrokeredToken>,
  ): CallSource {
    return {
      getToken: (more) => abortable(getToken(more), signal),
      learn: (token, lesson) => this.#judgement.learn(token, method, lesson),
      cookies,
    }
  }

  async #routeSource(options: Request): Promise<RouteSource> {
    const accounts = await this.#accountMemory()
    return {
      infosFor: (routes) => infosFor(this.#entries, routes),
      arrange: (provider, names) => accounts.arrange(provider, names),
      restOf: (key) => accounts.restOf(key),
      tokenOf: (candidate) => this.#tokenOf(candidate, options),
    }
  }

  #tokenOf(candidate: Candidate, options: Request): Promise<BrokeredToken> {
    return this.#desk.tokenOf(candidate, options, this.#clock.now(), undefined)
  }

  #accountMemory(): Promise<AccountMemory> {
    this.#accounts ??= import('./accounts.ts').then(
      ({ AccountMemory }) => new AccountMemory(this.#store, this.#entries, () => this.#clock.now()),
    )
    return this.#accounts
  }

  #edgeCookies(): Promise<EdgeCookies> {
    this.#cookies ??= import('./edge-cookies.ts').then(({ EdgeCookies }) => new EdgeCookies())
    return this.#cookies
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new TypeError('the broker is closed')
  }
}

/** A target for people: never the query of a URL, or the password in it. */
function labelOf(target: Target): string {
  if (typeof target === 'object' && !(target instanceof URL)) return target.provider
  if (!URL.canParse(String(target))) return 'no URL'
  const { origin, pathname } = new URL(target)
  return `${origin}${pathname}`
}
