import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { TokenBroker, type TokenBrokerOptions } from '../../src/broker/broker.ts'
import { type Credential, Secret } from '../../src/credential.ts'
import { apiKeyFlow } from '../../src/grant/api-key.ts'
import type { Provider } from '../../src/provider.ts'
import { memoryBackend } from '../../src/store/backend.ts'
import { type CredentialStore, openStore } from '../../src/store/store.ts'

/** Two ways to one service, each a server of its own, and a token endpoint that nobody should need. */
interface Place {
  readonly origin: string
  /** The tokens that arrived, in order. */
  readonly seen: string[]
  answer: (request: IncomingMessage, response: ServerResponse, token: string) => void
}

let servers: Server[]
let [chat, api, issuer]: Place[] = []
beforeEach(async () => {
  servers = []
  ;[chat, api, issuer] = await Promise.all([open(), open(), open()])
})
afterEach(() => {
  for (const server of servers) server.close().closeAllConnections()
})

async function open(): Promise<Place> {
  const place = { origin: '', seen: [] as string[], answer: ok }
  const server = createServer((request, response) => {
    const token = request.headers.authorization?.replace('Bearer ', '') ?? 'none'
    place.seen.push(token)
    place.answer(request, response, token)
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  place.origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return place
}

const send = (response: ServerResponse, status: number, body: string | object, headers: object = {}): void => {
  const isText = typeof body === 'string'
  response.writeHead(status, { 'content-type': isText ? 'text/html' : 'application/json', ...headers })
  response.end(isText ? body : JSON.stringify(body))
}
const ok: Place['answer'] = (_, response) => send(response, 200, { ok: true })
const challenge: Place['answer'] = (_, response) =>
  send(response, 403, '<html><link rel="dns-prefetch" href="//x"><title>Just a moment...</title></html>', {
    ...{ server: 'cloudflare', 'cf-mitigated': 'challenge', 'cf-ray': '8f0-FRA' },
  })
const usedUp =
  (resetsAt: number): Place['answer'] =>
  (_, response) =>
    send(response, 429, { error: { type: 'usage_limit_reached', plan_type: 'plus', resets_at: resetsAt / 1000 } })

function providers(): readonly [Provider, Provider] {
  const [at, keys] = [place(chat).origin, place(api).origin]
  const registration = { issuer: place(issuer).origin, client: { id: 'app' } }
  const metadata = { token_endpoint: `${place(issuer).origin}/token` }
  return [
    { id: 'signin', ...registration, metadata, endpoints: [{ url: `${at}/backend/*`, service: 'responses' }] },
    {
      ...{ id: 'keys', ...registration, metadata },
      endpoints: [{ url: `${keys}/v1/*`, accepts: ['api_key'], service: 'responses' }],
    },
  ]
}
const place = (one: Place | undefined): Place => {
  if (one === undefined) throw new Error('not open')
  return one
}

const login = (): Credential => ({
  ...{ type: 'oauth', provider: 'signin', account: 'me', issuer: place(issuer).origin, clientId: 'app', subject: 'u' },
  grant: {
    ...{ scopes: ['openid'], evidence: 'response', resources: [], refreshToken: new Secret('rt') },
    ...{ refreshExpiresAt: null, generation: 1, obtainedAt: 0, state: 'live', replays: 0 },
  },
  tokens: [
    {
      ...{ accessToken: new Secret('at'), tokenType: 'Bearer', scopes: ['openid'], resource: null },
      ...{ expiresAt: Date.now() + 9_000_000, obtainedAt: Date.now(), evidence: 'response' },
    },
  ],
  lease: null,
})
const key = (account = 'default', value = `sk-${account}`): Credential => ({
  ...{ type: 'api_key', provider: 'keys', account, key: new Secret(value) },
})

async function scene(
  credentials: readonly Credential[],
  options: Partial<TokenBrokerOptions> = {},
): Promise<{ readonly broker: TokenBroker; readonly store: CredentialStore }> {
  const store = await openStore({ backend: memoryBackend() })
  for (const credential of credentials) await store.update(credential, () => credential)
  return { broker: new TokenBroker({ store, providers: providers(), environment: {}, ...options }), store }
}
const call = (broker: TokenBroker, init: RequestInit = {}): Promise<Response> =>
  broker.fetchService({ service: 'responses' }, '/responses', { method: 'POST', body: '{}', ...init })

describe('a call to a service', () => {
  test('goes by the first route', async () => {
    const { broker } = await scene([login(), key()])
    await expect(call(broker).then((response) => response.json())).resolves.toEqual({ ok: true })
    expect([chat?.seen, api?.seen]).toEqual([['at'], []])
  })

  test('falls over from a challenge, which refreshes nothing, and leaves login and account as they were', async () => {
    place(chat).answer = challenge
    const { broker, store } = await scene([login(), key()])
    const before = await store.read({ provider: 'signin', account: 'me' })
    for (let round = 0; round < 3; round++) await expect(call(broker)).resolves.toMatchObject({ status: 200 })
    expect([chat?.seen, api?.seen, issuer?.seen]).toEqual([['at', 'at', 'at'], Array(3).fill('sk-default'), []])
    await expect(store.read({ provider: 'signin', account: 'me' })).resolves.toBe(before)
    expect((await broker.accounts('signin')).resting.size).toBe(0)
  })

  test('that ends at a challenge says so in one sentence, and what would work', async () => {
    place(chat).answer = challenge
    const { broker } = await scene([login()])
    await expect(call(broker)).rejects.toMatchObject({
      code: 'edge_challenge',
      message: expect.not.stringMatching(/dns/i) as string,
      detail: {
        ...{ host: new URL(place(chat).origin).host, vendor: 'Cloudflare', ray: '8f0-FRA' },
        alternatives: [`${place(api).origin}/v1 after authkeep login keys --flow api-key`],
      },
    })
    expect(issuer?.seen).toEqual([])
  })

  test.each([
    ['401 for a key', 401, { error: { code: 'invalid_api_key', message: 'Incorrect API key provided' } }],
    ['403 for a scope', 403, { error: { message: 'Missing scopes: api.responses.write' } }],
  ])('falls over after %s', async (_, status, body) => {
    place(chat).answer = (_request, response) => send(response, status, body)
    const chats = providers()[0]
    const staticLogin: Credential = {
      type: 'token',
      provider: 'signin',
      account: 'me',
      token: new Secret('t'),
      expiresAt: null,
    }
    const { broker } = await scene([staticLogin, key()], { providers: [chats, providers()[1]] })
    await expect(call(broker)).resolves.toMatchObject({ status: 200 })
    expect(api?.seen).toEqual(['sk-default'])
  })

  test('falls over when nothing listens, because nothing was sent', async () => {
    servers[0]?.close()
    const { broker } = await scene([login(), key()])
    await expect(call(broker)).resolves.toMatchObject({ status: 200 })
  })

  test('is made once where the server may have carried it out', async () => {
    place(chat).answer = (_, response) => send(response, 500, { error: { message: 'oops' } })
    const { broker } = await scene([login(), key()])
    await expect(call(broker)).resolves.toMatchObject({ status: 500 })
    place(chat).answer = (request) => request.socket.destroy()
    await expect(call(broker)).rejects.toThrow('fetch failed')
    expect(api?.seen).toEqual([])
  })

  test('whose fault is its own is returned as it came', async () => {
    place(chat).answer = (_, response) => send(response, 400, { error: { message: 'no such model' } })
    const { broker } = await scene([login(), key()])
    const response = await call(broker)
    expect(response.status).toBe(400)
    await expect(response.json()).resolves.toEqual({ error: { message: 'no such model' } })
  })

  test('with a body that can be read only once is sent once', async () => {
    place(chat).answer = challenge
    const { broker } = await scene([login(), key()])
    const body = new Response('{}').body
    await expect(call(broker, { body, duplex: 'half' })).rejects.toMatchObject({ code: 'edge_challenge' })
    expect(api?.seen).toEqual([])
  })

  test.each(['responses', '/../admin', '/..%2fadmin', 'https://evil.example/', '@evil.example/'])(
    'does not leave the base URL by %s',
    async (path) => {
      const [wide, keys] = providers()
      const url = place(chat).origin
      const endpoints = [{ url: `${url}/*`, baseUrl: `${url}/backend`, service: 'responses' }]
      const { broker } = await scene([login()], { providers: [{ ...wide, endpoints }, keys] })
      await expect(broker.fetchService({ service: 'responses' }, path)).rejects.toThrow()
      expect(chat?.seen).toEqual([])
    },
  )

  test('goes where the caller says', async () => {
    const { broker } = await scene([login(), key()])
    const baseUrl = `${place(api).origin}/v1`
    const response = await broker.fetchService({ service: 'responses', baseUrl }, '/responses')
    expect([response.status, chat?.seen, api?.seen]).toEqual([200, [], ['sk-default']])
  })
})

describe('an account at its limit', () => {
  test('is left alone until the limit ends, by every broker of the store', async () => {
    let now = Date.now()
    const { broker, store } = await scene([login(), key()], { now: () => now })
    place(chat).answer = usedUp(now + 3_600_000)
    await expect(call(broker)).resolves.toMatchObject({ status: 200 })
    const other = new TokenBroker({ store, providers: providers(), environment: {}, now: () => now })
    await expect(call(other)).resolves.toMatchObject({ status: 200 })
    expect([chat?.seen, api?.seen]).toEqual([['at'], ['sk-default', 'sk-default']])
    const route = await other.route({ service: 'responses' })
    expect(route.passedOver[0]?.reason).toMatch(/left alone until .*usage_limited/)
    now += 3_600_001
    place(chat).answer = ok
    await call(broker)
    expect(chat?.seen).toEqual(['at', 'at'])
  })

  test('is an error that says until when, where there is no other; nothing is sent', async () => {
    const now = Date.now()
    place(api).answer = usedUp(now + 60_000)
    const { broker } = await scene([key()], { now: () => now })
    await expect(call(broker)).resolves.toMatchObject({ status: 429 })
    await expect(call(broker)).rejects.toMatchObject({
      ...{ code: 'account_resting', remedy: 'retry' },
      detail: { provider: 'keys', account: 'default', reason: 'usage_limited' },
    })
    expect(api?.seen).toHaveLength(1)
  })

  test('is not at one because of what a stranger says, to whom a redirect led without the token', async () => {
    place(chat).answer = (_, response) =>
      response.writeHead(307, { location: `${place(issuer).origin}/elsewhere` }).end()
    place(issuer).answer = usedUp(Date.now() + 60_000)
    const { broker } = await scene([login(), key()])
    await expect(call(broker)).resolves.toMatchObject({ status: 429 })
    expect([chat?.seen, issuer?.seen, api?.seen]).toEqual([['at'], ['none'], []])
    expect((await broker.accounts('signin')).resting.size).toBe(0)
  })

  test('is tried again after a new login, and with another key', async () => {
    const now = Date.now()
    place(api).answer = usedUp(now + 60_000)
    const { broker, store } = await scene([key()], { now: () => now })
    await call(broker)
    await broker.authorize({ provider: 'keys', account: 'default' }, apiKeyFlow({ key: 'sk-default' }))
    await expect(call(broker)).resolves.toMatchObject({ status: 429 })
    await store.update(key(), () => key('default', 'sk-other'))
    await expect(call(broker)).resolves.toMatchObject({ status: 429 })
    expect(api?.seen).toEqual(['sk-default', 'sk-default', 'sk-other'])
  })

  test('rests by the report of a caller who has sent the request himself', async () => {
    const now = Date.now()
    const { broker } = await scene([key()], { now: () => now })
    const route = await broker.route({ service: 'responses' })
    const response = new Response('{"error":{"message":"Rate limit reached"}}', {
      status: 429,
      headers: { 'retry-after': '30' },
    })
    await expect(route.report(response)).resolves.toMatchObject({ code: 'rate_limited', blamesCredential: false })
    expect((await broker.accounts('keys')).resting.get('default')).toMatchObject({
      ...{ reason: 'rate_limited', since: now, until: now + 30_000 },
    })
  })

  test('keeps its token as it was', async () => {
    place(chat).answer = usedUp(Date.now() + 60_000)
    const { broker, store } = await scene([login(), key()])
    const before = await store.read({ provider: 'signin', account: 'me' })
    await call(broker)
    await expect(store.read({ provider: 'signin', account: 'me' })).resolves.toBe(before)
  })
})

describe('several accounts', () => {
  const all = [key('a'), key('b'), key('c')]

  test('are a question until somebody says that any will do', async () => {
    const { broker } = await scene(all)
    await expect(call(broker)).rejects.toMatchObject({ code: 'account_ambiguous' })
  })

  test('serve in turn', async () => {
    const { broker } = await scene(all)
    await broker.setAccountOrder('keys', 'round_robin')
    for (let round = 0; round < 4; round++) await call(broker)
    expect(api?.seen).toEqual(['sk-a', 'sk-b', 'sk-c', 'sk-a'])
  })

  test('serve in the order that was given, and only those', async () => {
    place(api).answer = (_, response, token) =>
      token === 'sk-a' ? send(response, 200, {}) : usedUp(Date.now() + 9_000)(_, response, token)
    const { broker } = await scene(all)
    await broker.setAccountOrder('keys', ['c', 'a'])
    await call(broker)
    await call(broker)
    expect(api?.seen).toEqual(['sk-c', 'sk-a', 'sk-a'])
  })

  test('go on with the one that served last, also in another process', async () => {
    place(api).answer = (_, response, token) => send(response, token === 'sk-b' ? 200 : 401, {})
    const { broker, store } = await scene(all)
    await broker.setAccountOrder('keys', 'last_good')
    await call(broker)
    await call(new TokenBroker({ store, providers: providers(), environment: {} }))
    expect(api?.seen).toEqual(['sk-a', 'sk-b', 'sk-b'])
  })
})
