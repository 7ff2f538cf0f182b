import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  type AuthorizationServer,
  listen,
  startAuthorizationServer,
} from '../../examples/server/authorization-server.ts'
import { completeLogin, redirectAway } from '../../examples/server/robot.ts'
import { type McpClientProvider, McpServers, type McpServersOptions } from '../../src/adapters/mcp.ts'
import { Secret } from '../../src/credential.ts'
import { discoverProvider } from '../../src/grant/discover-provider.ts'
import { loopbackFlow } from '../../src/grant/loopback.ts'
import type { Provider } from '../../src/provider.ts'
import { loadProviders, saveProvider } from '../../src/provider-files.ts'
import { type CredentialStore, openStore } from '../../src/store/store.ts'
import { type Answer, type Api, type Arrival, refuse, startApi } from '../broker/api.ts'
import { expired } from '../broker/stage.ts'

let server: AuthorizationServer
let api: Api
let url: string
let home: string
let directory: string
/** Which authorization server the MCP server sends people to, and what it says to a call with a token. */
let issuer: string
let verdict: (arrival: Arrival) => Answer
let pages: URL[]
let opened: { close(): Promise<void> }[]
let toStop: (() => Promise<void>)[]

const startServer = (): Promise<AuthorizationServer> =>
  startAuthorizationServer({
    configure: (configuration) => ({
      ...configuration,
      features: {
        ...configuration.features,
        registration: { enabled: true },
        resourceIndicators: {
          enabled: true,
          getResourceServerInfo: (_ctx, audience) => ({ scope: 'notes:read notes:write', audience }),
        },
      },
    }),
  })

beforeEach(async () => {
  ;[pages, opened, toStop] = [[], [], []]
  home = await mkdtemp(join(tmpdir(), 'authkeep-mcp-'))
  directory = join(home, 'providers')
  server = await startServer()
  issuer = server.issuer
  verdict = () => ({ status: 200, body: 'served' })
  api = await startApi((arrival) => {
    if (arrival.path === '/.well-known/oauth-protected-resource/mcp') {
      return { status: 200, body: JSON.stringify({ resource: url, authorization_servers: [issuer] }) }
    }
    if (arrival.path === '/open') return { status: 200, body: 'open to all' }
    return arrival.headers.authorization === undefined ? refuse(401, 'Bearer scope="notes:read"') : verdict(arrival)
  })
  url = `${api.origin}/mcp`
})
afterEach(async () => {
  for (const each of opened.reverse()) await each.close()
  await Promise.all([...toStop.map((stop) => stop()), api.stop(), server.stop()])
  await rm(home, { recursive: true })
})

async function open(
  options: Partial<McpServersOptions> = {},
): Promise<{ servers: McpServers; store: CredentialStore }> {
  const store = await openStore({ path: join(home, 'auth.json') })
  const flow = loopbackFlow({
    openBrowser: (page) => {
      pages.push(page)
      void completeLogin(page).catch(() => undefined)
    },
  })
  const servers = new McpServers({ store, directory, flow, ...options })
  opened.push(store, servers)
  return { servers, store }
}

async function expireAll(store: CredentialStore): Promise<void> {
  for (const info of await store.list()) await store.update(info, (current) => expired(current))
}

const post = (body = '{}'): RequestInit => ({ method: 'POST', body })
const text = async (response: Promise<Response>): Promise<string> => (await response).text()
const refreshes = (): number => server.counts().token['refresh_token'] ?? 0
const providers = async (): Promise<readonly Provider[]> => (await loadProviders(directory)).providers

describe('fetch of MCP servers', () => {
  it('of one that nobody knows: found, registered, logged in; all at once and the next start find that done', async () => {
    const { servers } = await open()
    const calls = [servers.fetch(url, post()), servers.fetch(new URL(url), post()), servers.fetch(url, post())]
    expect(await Promise.all(calls.map(text))).toEqual(['served', 'served', 'served'])
    expect(pages).toHaveLength(1)
    const [provider, ...others] = await providers()
    expect(others).toEqual([])
    expect(provider).toMatchObject({ issuer, endpoints: [{ url, resource: url }, { url: `${url}/*` }] })

    const { servers: later } = await open()
    expect(await text(later.fetch(url, post()))).toBe('served')
    expect(pages).toHaveLength(1)
    expect(await providers()).toEqual([provider])
  })

  it('without a flow says what to log in to, by the name that the command line knows', async () => {
    const { servers } = await open({ flow: undefined } as object)
    const error = await servers.fetch(url, post()).catch((reason: unknown) => reason)
    const [provider] = await providers()
    expect(error).toMatchObject({
      code: 'authorization_required',
      loginCommand: expect.stringContaining(provider?.id ?? 'none') as string,
    })
  })

  it('with one expired token in two of them, in one process and of one store: one refresh', async () => {
    const [one, other] = [await open(), await open()]
    await one.servers.fetch(url, post())
    await expireAll(one.store)
    server.setTokenDelay(100)
    const calls = [one, other, one, other].map(({ servers }) => text(servers.fetch(url, post())))
    expect(await Promise.all(calls)).toEqual(['served', 'served', 'served', 'served'])
    expect(refreshes()).toBe(1)
    expect(server.counts()).toMatchObject({ reuse: 0, revoked: 0 })
    expect(pages).toHaveLength(1)
  })

  it('of one that asks for nothing asks for nothing, and keeps nothing', async () => {
    const { servers } = await open()
    expect(await text(servers.fetch(`${api.origin}/open`, post()))).toBe('open to all')
    expect(api.arrivals).toHaveLength(1)
    expect(await providers()).toEqual([])
  })

  it('of a server that has moved: asked again, the old server is out of it, also at the next start', async () => {
    const { servers } = await open()
    await servers.fetch(url, post())
    const next = await startServer()
    toStop.push(() => next.stop())
    issuer = next.issuer
    verdict = () =>
      pages.length < 2
        ? refuse(401, 'Bearer error="invalid_token", scope="notes:read"')
        : { status: 200, body: 'moved' }
    expect(await text(servers.fetch(url, post()))).toBe('moved')
    expect(pages.map(({ origin }) => origin)).toEqual([server.origin, next.origin])
    const bound = (await providers()).filter(({ endpoints = [] }) => endpoints.length > 0)
    expect(bound.map((each) => each.issuer)).toEqual([next.issuer])

    api.arrivals.length = 0
    const { servers: later, store } = await open()
    expect(await text(later.fetch(url, post()))).toBe('moved')
    expect(api.arrivals).toHaveLength(1)
    expect(await store.list()).toHaveLength(2)
  })

  it('returns a 401 that it cannot cure, and neither asks nor registers anew', async () => {
    const { servers } = await open()
    await servers.fetch(url, post())
    const before = await providers()
    verdict = () => refuse(401, 'Bearer error="invalid_token"')
    expect((await servers.fetch(url, post())).status).toBe(401)
    api.arrivals.length = 0
    expect((await servers.fetch(url, post())).status).toBe(401)
    expect(api.arrivals.filter(({ path }) => path === '/mcp')).toHaveLength(1)
    expect(pages).toHaveLength(1)
    expect(await providers()).toEqual(before)
  })

  it('sends a token to no other origin', async () => {
    const other = await startApi(() => ({ status: 200, body: 'got it' }))
    toStop.push(() => other.stop())
    const { servers } = await open()
    await servers.fetch(url, post())
    verdict = () => ({ status: 307, headers: { location: `${other.origin}/mcp` } })
    await servers.fetch(url, post())
    await servers.fetch(`${other.origin}/mcp`, post())
    // As the SDK does: it looks at redirects itself.
    expect((await servers.fetch(url, { ...post(), redirect: 'manual' })).status).toBe(307)
    expect(other.arrivals).toHaveLength(2)
    expect(other.arrivals.map(({ headers }) => headers.authorization)).toEqual([undefined, undefined])
  })

  it('of one whose metadata is about another: refused, and nothing is asked of anybody', async () => {
    const { servers } = await open()
    url = 'https://mcp.victim.example/mcp'
    await expect(servers.fetch(`${api.origin}/mcp`, post())).rejects.toMatchObject({ code: 'response_invalid' })
    expect(pages).toEqual([])
    expect(await providers()).toEqual([])
  })

  it('gives up where it is told to, and leaves the login to whoever still waits for it', async () => {
    let finish: () => Promise<unknown> = async () => undefined
    const shown = new Promise<void>((resolve) => {
      finish = async () => resolve()
    })
    let page: URL | undefined
    const { servers } = await open({
      flow: loopbackFlow({
        openBrowser: (opened) => {
          page = opened
          void finish()
        },
      }),
    })
    const stop = new AbortController()
    const [given, kept] = [servers.fetch(url, { ...post(), signal: stop.signal }), servers.fetch(url, post())]
    await shown
    stop.abort(new Error('enough'))
    await expect(given).rejects.toThrow('enough')
    if (page !== undefined) await completeLogin(page)
    expect(await text(kept)).toBe('served')
  })

  it('gives up where it is told to while the server is being asked where to log in', async () => {
    const stop = new AbortController()
    const { servers } = await open({
      fetch: async (input, init) => {
        if (new Request(input, init).url.includes('well-known')) stop.abort(new Error('enough'))
        return stop.signal.aborted ? new Promise(() => undefined) : fetch(input, init)
      },
    })
    await expect(servers.fetch(url, { ...post(), signal: stop.signal })).rejects.toThrow('enough')
  })

  it('of one that another process has found meanwhile: not asked again', async () => {
    const [{ servers }, { servers: other }] = [await open(), await open()]
    await other.fetch(`${api.origin}/open`)
    await servers.fetch(url, post())
    api.arrivals.length = 0
    expect(await text(other.fetch(url, post()))).toBe('served')
    expect(api.arrivals.map(({ path }) => path)).toEqual(['/mcp', '/mcp'])
  })

  it('sends a body that can be read once only once', async () => {
    const { servers } = await open()
    const stream = (): RequestInit =>
      ({ method: 'POST', body: new Blob(['{}']).stream(), duplex: 'half' }) as unknown as RequestInit
    expect((await servers.fetch(url, stream())).status).toBe(401)
    expect(await text(servers.fetch(url, stream()))).toBe('served')
    expect(api.arrivals.filter(({ path }) => path === '/mcp')).toHaveLength(2)
  })

  it('passes an event stream on as it comes', async () => {
    let write: (chunk: string) => void = () => undefined
    const events = createServer((_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      write = (chunk) => response.write(chunk)
      write('data: 1\n\n')
    })
    const origin = await listen(events, 0)
    toStop.push(async () => {
      events.close()
      events.closeAllConnections()
    })
    const endpoints = [{ url: `${origin}/*`, accepts: ['api_key'] as const }]
    const { servers, store } = await open({ providers: [{ id: 'events', issuer, client: { id: 'any' }, endpoints }] })
    const key = { provider: 'events', account: 'default' }
    await store.update(key, () => ({ ...key, type: 'api_key', key: new Secret('key') }))
    const { body } = await servers.fetch(`${origin}/mcp`)
    const reader = (body as ReadableStream<Uint8Array> | null)?.getReader()
    const read = async (): Promise<string> => new TextDecoder().decode((await reader?.read())?.value)
    expect(await read()).toBe('data: 1\n\n')
    write('data: 2\n\n')
    expect(await read()).toBe('data: 2\n\n')
    await reader?.cancel()
  })

  it('refuses a request that brings its own credential, before anything is sent', async () => {
    const { servers } = await open()
    await expect(servers.fetch(url, { headers: { authorization: 'Bearer x' } })).rejects.toThrow(TypeError)
    expect(api.arrivals).toEqual([])
  })

  it('goes by the registration of whoever was first, and by a file that cannot be read overwrites nothing', async () => {
    const theirs = await discoverProvider(url, {
      challenge: new Headers({ 'www-authenticate': 'Bearer scope="notes:read"' }),
    })
    const { servers } = await open({
      fetch: async (...request) => {
        const response = await fetch(...request)
        // Another process is through with it while ours is being registered.
        if (response.status === 201) await saveProvider(directory, theirs)
        return response
      },
    })
    expect(await text(servers.fetch(url, post()))).toBe('served')
    expect(pages[0]?.searchParams.get('client_id')).toBe(theirs.client.id)

    const path = join(directory, `${theirs.id}.json`)
    await writeFile(path, '{ torn')
    const { servers: later } = await open()
    await expect(later.fetch(url, post())).rejects.toMatchObject({ code: 'provider_invalid' })
    expect(await readFile(path, 'utf8')).toBe('{ torn')
  })
})

describe('clientProvider', () => {
  const redirectUrl = 'http://127.0.0.1:1/callback'
  const shown: URL[] = []
  beforeEach(() => {
    shown.length = 0
  })

  const clientOf = (servers: McpServers): McpClientProvider =>
    servers.clientProvider(url, { redirectUrl, redirectToAuthorization: (page) => void shown.push(page) })

  const verifier = randomBytes(32).toString('base64url')

  /** What `auth` of the SDK does where there is no refresh token: it begins a login. */
  async function begin(client: McpClientProvider, scope?: string): Promise<void> {
    const { authorizationServerUrl, resourceMetadata } = await client.discoveryState()
    const { client_id } = await client.clientInformation()
    await client.tokens()
    const page = new URL(`${authorizationServerUrl}/auth`)
    page.search = new URLSearchParams({
      ...{ response_type: 'code', client_id, redirect_uri: redirectUrl, state: client.state() },
      ...{ code_challenge: createHash('sha256').update(verifier).digest('base64url'), code_challenge_method: 'S256' },
      ...(scope === undefined ? {} : { scope }),
      ...(resourceMetadata === undefined ? {} : { resource: resourceMetadata.resource }),
    }).toString()
    client.saveCodeVerifier(verifier)
    await client.redirectToAuthorization(page)
  }

  /** And what it does with the code. */
  async function finish(client: McpClientProvider): Promise<Record<string, unknown> & { access_token: string }> {
    const page = new URL(shown.at(-1) ?? '')
    const arrived = await redirectAway(page)
    const { client_id } = await client.clientInformation()
    const response = await fetch(`${server.issuer}/token`, {
      method: 'POST',
      body: new URLSearchParams({
        ...{ grant_type: 'authorization_code', code: arrived.searchParams.get('code') ?? '', client_id },
        ...{ redirect_uri: redirectUrl, code_verifier: client.codeVerifier(), resource: url },
      }),
    })
    const tokens = (await response.json()) as Record<string, unknown> & { access_token: string }
    await client.saveTokens(tokens)
    return tokens
  }

  async function loggedIn(): Promise<{ client: McpClientProvider; servers: McpServers; store: CredentialStore }> {
    const { servers, store } = await open({ flow: undefined } as object)
    const client = clientOf(servers)
    await begin(client, 'notes:read')
    await finish(client)
    return { client, servers, store }
  }

  const entries = (): Promise<string> => readFile(join(home, 'auth.json'), 'utf8')

  it('stores a login that the SDK makes, and never hands the refresh token out', async () => {
    const { servers, store } = await open({ flow: undefined } as object)
    const client = clientOf(servers)
    expect(await client.tokens()).toBeUndefined()
    await begin(client, 'notes:read')
    expect(shown[0]?.searchParams.get('scope')?.split(' ').sort()).toEqual(['notes:read', 'offline_access'])
    const { access_token, refresh_token } = await finish(client)
    expect(await client.tokens()).toMatchObject({ access_token, token_type: 'Bearer', scope: 'notes:read', issuer })
    const [info] = await store.list()
    expect(info).toMatchObject({ type: 'oauth', issuer })
    expect(await entries()).toContain(refresh_token)
    const all = [client, await client.discoveryState(), await client.clientInformation(), await client.tokens()]
    expect(inspect(all, { depth: 9, showHidden: true }) + JSON.stringify(all)).not.toContain(refresh_token)
  })

  it('gives fresh tokens only: two of them and an expired one cost one refresh', async () => {
    const { client, store } = await loggedIn()
    const other = clientOf((await open({ flow: undefined } as object)).servers)
    await expireAll(store)
    server.setTokenDelay(100)
    const given = await Promise.all([client.tokens(), other.tokens(), client.tokens(), other.tokens()])
    expect(new Set(given.map((each) => each?.access_token)).size).toBe(1)
    expect(given[0]?.access_token).not.toMatch(/^expired/)
    expect(refreshes()).toBe(1)
    expect(server.counts()).toMatchObject({ reuse: 0, revoked: 0 })
  })

  it('two runs of auth at once, after a token was refused: one refresh, and nobody is led to a login', async () => {
    const { client } = await loggedIn()
    const other = clientOf((await open({ flow: undefined } as object)).servers)
    const [refused] = await Promise.all([client.tokens(), other.tokens()])
    const runs = await Promise.allSettled([begin(client), begin(other)])
    for (const run of runs) expect(run).toMatchObject({ reason: { code: 'token_replaced', remedy: 'retry' } })
    expect(refreshes()).toBe(1)
    expect((await client.tokens())?.access_token).not.toBe(refused?.access_token)
    expect(await other.tokens()).toMatchObject({ access_token: (await client.tokens())?.access_token })
    expect(shown).toHaveLength(1)
  })

  it('auth where nothing was refused: no refresh, and no login', async () => {
    const { client } = await loggedIn()
    const fresh = clientOf((await open({ flow: undefined } as object)).servers)
    await expect(begin(fresh)).rejects.toMatchObject({ code: 'token_replaced' })
    expect(refreshes()).toBe(0)
    expect(await client.tokens()).toBeDefined()
  })

  it('a login for more scopes asks for those that are there, too', async () => {
    const { client, store } = await loggedIn()
    await begin(client, 'notes:write')
    expect(shown.at(-1)?.searchParams.get('scope')?.split(' ').sort()).toEqual([
      'notes:read',
      'notes:write',
      'offline_access',
    ])
    await finish(client)
    expect((await client.tokens())?.scope).toBe('notes:read notes:write')
    expect(await store.list()).toHaveLength(1)
  })

  it('what is invalidated, and what is saved without a login or late, changes nothing', async () => {
    const { client } = await loggedIn()
    const given = await client.tokens()
    const [before, kept] = [await entries(), await readdir(directory)]
    for (const scope of ['all', 'client', 'tokens', 'verifier', 'discovery']) client.invalidateCredentials(scope)
    await client.saveTokens({ access_token: 'late', token_type: 'Bearer', refresh_token: 'late' })
    await begin(client, 'notes:write')
    if (given !== undefined) await client.saveTokens({ ...given })
    expect(await entries()).toBe(before)
    expect(await readdir(directory)).toEqual(kept)
    expect(await client.tokens()).toMatchObject({ access_token: given?.access_token })
  })

  it('a login is begun where the grant is dead, and the entry stays until there is another', async () => {
    const { client, store } = await loggedIn()
    const before = (await store.list()).map(({ account }) => account)
    const [info] = await store.list()
    const credential = info === undefined ? null : await store.read(info)
    const refreshToken = credential?.type === 'oauth' ? credential.grant.refreshToken?.reveal() : undefined
    const { client_id } = await client.clientInformation()
    const body = new URLSearchParams({ token: refreshToken ?? '', client_id })
    expect((await fetch(`${server.origin}/token/revocation`, { method: 'POST', body })).status).toBe(200)
    await expireAll(store)
    expect(await client.tokens()).toBeUndefined()
    await begin(client)
    expect(shown).toHaveLength(2)
    expect((await store.list()).map(({ account }) => account)).toEqual(before)
    await finish(client)
    expect(await client.tokens()).toBeDefined()
  })

  it('a verifier is there for a login that was begun here, and for no other', async () => {
    const { servers } = await open()
    expect(() => clientOf(servers).codeVerifier()).toThrow(TypeError)
  })
})
