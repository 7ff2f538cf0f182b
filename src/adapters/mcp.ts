import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { abortable } from '../abort.ts'
import { TokenBroker } from '../broker/broker.ts'
import { isKept } from '../broker/fetch.ts'
import { matchEndpoint, urlOf } from '../endpoint.ts'
import { isAuthkeepError } from '../errors.ts'
import { type DiscoverProviderOptions, discoverProvider } from '../grant/discover-provider.ts'
import type { GrantFlow } from '../grant/flow.ts'
import { homeDirectory } from '../home.ts'
import type { Provider } from '../provider.ts'
import { loadProviders, saveProvider } from '../provider-files.ts'
import type { CredentialStore } from '../store/store.ts'
import { McpClientProvider, type McpClientProviderOptions } from './mcp-client-provider.ts'

export type {
  McpClientInformation,
  McpClientProvider,
  McpClientProviderOptions,
  McpTokens,
} from './mcp-client-provider.ts'

/** What `McpServers` works with: where logins and providers are kept, and how a person logs in. */
export interface McpServersOptions extends Pick<DiscoverProviderOptions, 'client' | 'registration' | 'redirect'> {
  readonly store: CredentialStore
  /** How a person logs in where only that helps. Default: that is an error, and `authkeep login` does it. */
  readonly flow?: GrantFlow
  /** Those that the program declares itself. */
  readonly providers?: readonly Provider[]
  /**
   * Where the providers are kept that are found, as by `saveProvider`, and looked for. Default: where the command line
   * keeps them.
   */
  readonly directory?: string
  /** Default: the global one. */
  readonly fetch?: typeof fetch
}

/** What is known at one time, and the broker that knows it. */
export interface Known {
  readonly providers: readonly Provider[]
  readonly broker: TokenBroker
}

/**
 * The servers that a client of the Model Context Protocol talks to, each known by its URL only. `fetch` is for the
 * transports of its SDK: `new StreamableHTTPClientTransport(url, { fetch: servers.fetch })`, without an `authProvider`.
 *
 * What a provider declares is called with `broker.fetch`. Anything else is called without a token; where that is refused,
 * the server is asked where to log in (`discoverProvider`), and what it says is kept for the next time. A server that
 * moves to another authorization server is asked again.
 */
export class McpServers {
  readonly #options: McpServersOptions
  readonly #directory: string
  readonly #send: typeof fetch
  #declared: readonly Provider[]
  /** The last one is the current; calls may still be under way in the others. */
  readonly #known: Known[] = []
  readonly #asking = new Map<string, Promise<Known | null>>()

  constructor(options: McpServersOptions) {
    this.#options = options
    this.#directory = options.directory ?? join(homeDirectory(), 'providers')
    this.#send = options.fetch ?? ((...request) => fetch(...request))
    this.#declared = options.providers ?? []
  }

  /**
   * `fetch` with the right token, of a URL that need not be declared. Streams go through as they are. A body that can be
   * read only once is sent once.
   *
   * @throws AuthkeepError as `broker.fetch`; as `discoverProvider` after a 401 of a server that nobody knows; TypeError
   * for a request that carries an Authorization header
   */
  readonly fetch = async (input: string | URL, init: RequestInit = {}): Promise<Response> => {
    const url = urlOf(input)
    if (new Headers(init.headers).has('authorization')) {
      throw new TypeError('the request carries an Authorization header already')
    }
    const { providers, broker } = await this.#current()
    const before = declaring(providers, url)
    const response = await (before.length > 0 ? broker.fetch(url, init) : this.#send(url, init))
    if (response.status !== 401) return response
    const known = await abortable(this.#ask(url, response.headers, before), init.signal ?? undefined)
    if (known === null || !isKept(init.body ?? null)) return response
    await response.body?.cancel()
    return known.broker.fetch(url, init)
  }

  /**
   * What the SDK takes as `authProvider`, for programs that cannot be given a `fetch`. It is never handed a refresh
   * token, so that nothing that the SDK does can spend or lose one.
   */
  clientProvider(serverUrl: string | URL, options: McpClientProviderOptions): McpClientProvider {
    const url = urlOf(serverUrl)
    const registration = { redirectUris: [String(options.redirectUrl)], ...this.#options.registration }
    return new McpClientProvider(url, options, {
      ...{ store: this.#options.store, fetch: this.#send },
      known: async () => knownAt(await this.#current(), url),
      find: async () => {
        const known = knownAt(await this.#current(), url)
        if (known !== undefined) return known
        // The SDK keeps the refusal to itself, and that is what says which scopes are needed.
        const refusal = await this.#send(url, { headers: { accept: 'text/event-stream' } })
        await refusal.body?.cancel()
        const asked = await this.#ask(url, refusal.headers, [], registration)
        return asked === null ? undefined : knownAt(asked, url)
      },
    })
  }

  /** Lets refreshes that have been sent finish and be saved. Does not close the store. Rejects as `TokenBroker.close`. */
  async close(): Promise<void> {
    await Promise.all(this.#known.map(({ broker }) => broker.close()))
  }

  async #current(): Promise<Known> {
    return this.#known.at(-1) ?? this.#read()
  }

  /** Declared providers and those on disk, which another process may have added to. */
  async #read(): Promise<Known> {
    const { providers: kept } = await loadProviders(this.#directory)
    const own = this.#declared.map(({ id }) => id)
    const providers = [...this.#declared, ...kept.filter(({ id }) => !own.includes(id))]
    const current = this.#known.at(-1)
    if (current !== undefined && isDeepStrictEqual(current.providers, providers)) return current
    const { store, flow } = this.#options
    const broker: TokenBroker = new TokenBroker({
      ...{ store, providers, fetch: this.#send },
      ...(flow === undefined
        ? {}
        : { onAuthorize: ({ target }) => broker.authorize(target, flow).then(() => undefined) }),
    })
    const known = { providers, broker }
    this.#known.push(known)
    return known
  }

  /** What is known once the server has said where to log in; null if that was known `before`. One question at a time. */
  #ask(url: URL, challenge: Headers, before: readonly Provider[], registration = this.#options.registration) {
    const name = `${url.origin}${url.pathname}`
    const asking =
      this.#asking.get(name) ??
      this.#find(url, before, { challenge, ...(registration === undefined ? {} : { registration }) }).finally(() =>
        this.#asking.delete(name),
      )
    this.#asking.set(name, asking)
    return asking
  }

  async #find(
    url: URL,
    before: readonly Provider[],
    asked: Pick<DiscoverProviderOptions, 'challenge' | 'registration'>,
  ): Promise<Known | null> {
    const known = await this.#read()
    if (!isDeepStrictEqual(declaring(known.providers, url), before)) return known
    const resources = before.map(({ endpoints = [] }) => matchEndpoint(endpoints, url)?.resource)
    // What somebody has declared by hand for more than one resource is not the server's to take back.
    if (resources.includes(undefined)) return null
    const { client, redirect } = this.#options
    const found = await discoverProvider(url, {
      ...asked,
      ...{ providers: known.providers, fetch: this.#send },
      ...(client === undefined ? {} : { client }),
      ...(redirect === undefined ? {} : { redirect }),
    })
    if (before.some(({ issuer }) => issuer === found.issuer)) return null
    // It has moved: tokens of the old server are of no use there any more, and must not be tried first.
    for (const { endpoints = [], ...old } of before) {
      await this.#keep({ ...old, endpoints: endpoints.filter(({ resource }) => !resources.includes(resource)) }, true)
    }
    await this.#keep(
      found,
      known.providers.some(({ id }) => id === found.id),
    )
    return this.#read()
  }

  /** A declared provider stays the program's own; what is found goes to disk. */
  async #keep(provider: Provider, replace: boolean): Promise<void> {
    const { id } = provider
    if (this.#declared.some((each) => each.id === id)) {
      this.#declared = this.#declared.map((each) => (each.id === id ? provider : each))
      return
    }
    try {
      await saveProvider(this.#directory, provider, { replace })
    } catch (error) {
      // Another process has found it at the same time, and its registration is the one that counts.
      const isThere = async (): Promise<boolean> =>
        (await loadProviders(this.#directory)).providers.some((each) => each.id === id)
      if (!isAuthkeepError(error, 'provider_invalid') || !(await isThere())) throw error
    }
  }
}

/** Those that declare a URL. */
function declaring(providers: readonly Provider[], url: URL): readonly Provider[] {
  return providers.filter(({ endpoints = [] }) => matchEndpoint(endpoints, url) !== undefined)
}

function knownAt({ providers, broker }: Known, url: URL): { provider: Provider; broker: TokenBroker } | undefined {
  const [provider] = declaring(providers, url)
  return provider === undefined ? undefined : { provider, broker }
}
