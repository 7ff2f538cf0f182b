import { inspect } from 'node:util'
import fc from 'fast-check'
import { decodeJwt } from 'jose'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { AccessToken } from '../../src/broker/access-token.ts'
import { TokenBroker } from '../../src/broker/broker.ts'
import { type Credential, Secret } from '../../src/credential.ts'
import { generateDpopKey } from '../../src/grant/dpop.ts'
import type { Provider } from '../../src/provider.ts'
import { memoryBackend } from '../../src/store/backend.ts'
import { openStore } from '../../src/store/store.ts'
import { type Answer, type Api, type Arrival, startApi } from './api.ts'
import { type Hosts, startHosts, type Visit } from './hosts.ts'
import { isCovered } from './oracle.ts'

const common = { issuer: 'https://auth.example', client: { id: 'app' } }
const account = { 'Acme-Account': '{metadata.account}' }
const acme: Provider = {
  ...{ ...common, id: 'acme' },
  endpoints: [
    { url: 'https://api.example/v1/*', headers: account, service: 'files' },
    { url: 'https://api.example/exact', headers: account },
    { url: 'https://files.example:8443/*', headers: account },
    { url: 'https://*.tenants.example/*' },
    { url: 'https://straße.example/*' },
    { url: 'http://127.0.0.1:8080/*' },
  ],
}
const wide: Provider = { ...common, id: 'wide', endpoints: [{ url: 'https://wide.example/*' }] }
const bound: Provider = { ...common, id: 'bound', endpoints: [{ url: 'https://bound.example/v1/*' }] }
const keys: Provider = {
  ...{ ...common, id: 'keys', apiKeyHeader: 'X-Api-Key' },
  endpoints: [{ url: 'https://keys.example/v1/*', accepts: ['api_key'] }],
}
const variables: Provider = {
  ...{ ...common, id: 'variables', environment: { THE_TOKEN: 'token' } },
  endpoints: [{ url: 'https://variables.example/v1/*' }],
}
const providers = [acme, wide, bound, keys, variables]
const dpopKey = generateDpopKey()
const secrets = /acme-secret|wide-secret|bound-secret|keys-secret|variables-secret|the-account/

let hosts: Hosts
let broker: TokenBroker

beforeAll(async () => {
  hosts = await startHosts()
})
beforeEach(async () => {
  hosts.visits.length = 0
  hosts.answer = () => undefined
  broker = await brokerOf(providers)
})
afterAll(() => hosts.stop())

async function brokerOf(declared: readonly Provider[], send: typeof fetch = hosts.fetch): Promise<TokenBroker> {
  const store = await openStore({ backend: memoryBackend() })
  const of = (provider: string) => ({ provider, account: 'default', metadata: { account: 'the-account' } }) as const
  const credentials: readonly Credential[] = [
    { ...of('acme'), type: 'token', token: new Secret('acme-secret'), expiresAt: null },
    { ...of('wide'), type: 'token', token: new Secret('wide-secret'), expiresAt: null },
    { ...of('keys'), type: 'api_key', key: new Secret('keys-secret') },
    {
      ...{ ...of('bound'), type: 'oauth', issuer: common.issuer, clientId: 'app', subject: null, lease: null },
      grant: {
        ...{ scopes: [], evidence: 'response', resources: [], refreshToken: null, refreshExpiresAt: null },
        ...{ generation: 1, obtainedAt: 0, state: 'live', replays: 0 },
      },
      tokens: [
        {
          ...{ accessToken: new Secret('bound-secret'), tokenType: 'DPoP', scopes: [], resource: null },
          ...{ expiresAt: Date.now() + 3_600_000, obtainedAt: Date.now(), evidence: 'response' },
        },
      ],
      dpopKey: await dpopKey,
    },
  ]
  for (const credential of credentials) await store.update(credential, () => credential)
  const environment = { THE_TOKEN: 'variables-secret' }
  return new TokenBroker({ store, providers: declared, environment, fetch: send })
}

/** The names of the headers that carry something that is not for everybody. */
function carriedBy({ headers, path, body }: Visit): readonly string[] {
  expect(path + body).not.toMatch(secrets)
  const found = Object.entries(headers).filter(([name, value]) => name === 'dpop' || secrets.test(String(value)))
  return found.map(([name]) => name).sort()
}

/** Who saw what: `origin+path` of every visit, with the headers it carried. */
const seen = (): readonly (readonly [string, ...(readonly string[])])[] =>
  hosts.visits.map((visit) => [visit.origin + visit.path, ...carriedBy(visit)])

const start = 'https://api.example/v1/start'
const both = ['acme-account', 'authorization'] as const
const isStart = ({ origin, path }: Visit): boolean => origin + path === start
const redirectsTo =
  (location: string, status = 302) =>
  (visit: Visit) =>
    isStart(visit) ? { status, headers: { location } } : undefined

describe.each([301, 302, 303, 307, 308])('a redirect with %i', (status) => {
  test.each([
    ['/v1/next', 'https://api.example/v1/next'],
    ['next', 'https://api.example/v1/next'],
    ['/exact', 'https://api.example/exact'],
    ['https:next', 'https://api.example/v1/next'],
    ['https://API.EXAMPLE:443/v1/next', 'https://api.example/v1/next'],
    ['https://api%2eexample/v1/next', 'https://api.example/v1/next'],
    ['/x/../v1/ne\txt', 'https://api.example/v1/next'],
  ])('to %j, which is declared at the same origin, carries the token', async (location, arrival) => {
    hosts.answer = redirectsTo(location, status)
    expect((await broker.fetch(start, { method: 'POST' })).status).toBe(200)
    expect(seen()).toEqual([
      [start, ...both],
      [arrival, ...both],
    ])
  })

  test.each([
    ['another path', '/admin', 'https://api.example/admin'],
    ['a path that begins like the declared one', '/v10/x', 'https://api.example/v10/x'],
    ['the declared path without its slash', '/v1evil', 'https://api.example/v1evil'],
    ['the declared path in capitals', '/V1/x', 'https://api.example/V1/x'],
    ['something below an exact path', '/exact/x', 'https://api.example/exact/x'],
    ['a path that climbs', '/v1/../admin', 'https://api.example/admin'],
    ['a path that climbs, encoded', '/v1/%2e%2E/admin', 'https://api.example/admin'],
    ['a path that climbs once it is decoded', '/v1/..%2fadmin', 'https://api.example/v1/..%2fadmin'],
    ['a path that climbs without its parameter', '/v1/..;a=b/admin', 'https://api.example/v1/..;a=b/admin'],
    ['a path, by one slash', 'https:/evil.test/v1/x', 'https://api.example/evil.test/v1/x'],
    ['another port', 'https://api.example:8443/v1/x', 'https://api.example:8443/v1/x'],
    ['plain http', 'http://api.example/v1/x', 'http://api.example/v1/x'],
    ['plain http on the port of https', 'http://api.example:443/v1/x', 'http://api.example:443/v1/x'],
    ['a longer name', 'https://api.example.evil.test/v1/x', 'https://api.example.evil.test/v1/x'],
    ['the name with a dot behind', 'https://api.example./v1/x', 'https://api.example./v1/x'],
    ['a name in another script', 'https://%D0%B0pi.example/v1/x', 'https://xn--pi-6kc.example/v1/x'],
    ['another declared host of the provider', 'https://files.example:8443/x', 'https://files.example:8443/x'],
    ['a host of another provider', 'https://wide.example/x', 'https://wide.example/x'],
    ['two slashes', '//evil.test/v1/x', 'https://evil.test/v1/x'],
    ['two backslashes', '\\\\evil.test/v1/x', 'https://evil.test/v1/x'],
    ['a slash and a backslash', '/\\evil.test/v1/x', 'https://evil.test/v1/x'],
    ['two slashes with a tab between them', '/\t/evil.test/v1/x', 'https://evil.test/v1/x'],
    ['a scheme with a tab inside', 'ht\ttps://evil.test/v1/x', 'https://evil.test/v1/x'],
    ['a host with the name in its query', 'https://evil.test?api.example/v1/x', 'https://evil.test/?api.example/v1/x'],
    ['a host with the name in its fragment', 'https://evil.test#api.example/v1/x', 'https://evil.test/'],
  ])('to %s leaves everything behind', async (_, location, arrival) => {
    hosts.answer = redirectsTo(location, status)
    await broker.fetch(start, { headers: { cookie: 'mine', 'proxy-authorization': 'mine' } })
    expect(seen()).toEqual([[start, ...both], [arrival]])
    const [first, second] = hosts.visits
    const own = second?.origin === first?.origin ? ['mine', 'mine'] : [undefined, undefined]
    expect([second?.headers.cookie, second?.headers['proxy-authorization']]).toEqual(own)
  })

  test.each([
    'https://api.example@evil.test/v1/x',
    'https://user:pass@api.example/v1/x',
    'data:text/plain,x',
    'file:///v1/x',
    'javascript:fetch("/v1/x")',
    'blob:https://api.example/v1/x',
    'ftp://api.example/v1/x',
    'wss://api.example/v1/x',
    'https://',
    'https://a b/',
  ])('to %s is an error, and goes nowhere', async (location) => {
    hosts.answer = redirectsTo(location, status)
    await expect(broker.fetch(start)).rejects.toBeInstanceOf(TypeError)
    expect(seen()).toEqual([[start, ...both]])
  })
})

describe('an answer that leads on', () => {
  test.each([
    [200, { refresh: '0;url=https://evil.test/' }],
    [302, { refresh: '0;url=https://evil.test/' }],
    [300, { location: 'https://evil.test/' }],
    [304, { location: 'https://evil.test/' }],
    [305, { location: 'https://evil.test/' }],
    [201, { location: 'https://evil.test/', 'content-location': 'https://evil.test/' }],
  ])('%i with %j is not followed', async (status, headers) => {
    hosts.answer = () => ({ status, headers: headers as unknown as Record<string, string> })
    expect((await broker.fetch(start)).status).toBe(status)
    expect(seen()).toEqual([[start, ...both]])
  })

  test.each([
    ['another origin', 'https://evil.test/away'],
    ['an undeclared path', 'https://api.example/away'],
    ['another declared host', 'https://files.example:8443/away'],
  ])('away to %s and back again does not bring the token back', async (_, away) => {
    const replies: Record<string, string> = {
      '/v1/start': away,
      '/away': 'https://api.example/v1/back',
      '/v1/back': 'on',
    }
    hosts.answer = ({ path }) =>
      replies[path] === undefined ? undefined : { status: 307, headers: { location: replies[path] } }
    await broker.fetch(start, { method: 'POST', body: 'x' })
    expect(seen()).toEqual([[start, ...both], [away], ['https://api.example/v1/back'], ['https://api.example/v1/on']])
  })

  test('in a circle of two hosts ends, and one of them has seen the token, once', async () => {
    hosts.answer = (visit) => ({ status: 302, headers: { location: isStart(visit) ? 'https://evil.test/' : start } })
    await expect(broker.fetch(start)).rejects.toThrow('too many redirects')
    expect(hosts.visits.length).toBe(21)
    expect(seen().filter(([, ...carried]) => carried.length > 0)).toEqual([[start, ...both]])
  })

  test.each([
    'Bearer error="invalid_token"',
    'DPoP error="use_dpop_nonce"',
    'Bearer error="insufficient_scope", scope="all"',
  ])(
    'to a host that refuses with %s: the refusal is the answer, and nothing is tried with a token',
    async (challenge) => {
      const headers = { 'www-authenticate': challenge, 'dpop-nonce': 'n' }
      hosts.answer = (visit) => redirectsTo('https://evil.test/')(visit) ?? { status: 401, headers }
      expect((await broker.fetch(start)).status).toBe(401)
      expect(seen()).toEqual([[start, ...both], ['https://evil.test/']])
    },
  )

  test('a stream that becomes a GET leaves everything behind, too', async () => {
    hosts.answer = redirectsTo('https://evil.test/x', 303)
    const body = new Blob(['text']).stream()
    await broker.fetch(start, { method: 'POST', body, duplex: 'half' })
    expect(seen()).toEqual([[start, ...both], ['https://evil.test/x']])
    expect(hosts.visits.map(({ method, body }) => [method, body])).toEqual([
      ['POST', 'text'],
      ['GET', ''],
    ])
  })
})

describe('every kind of credential', () => {
  test.each([
    ['an API key in a header of its own', 'https://keys.example', ['x-api-key']],
    ['one of the environment', 'https://variables.example', ['authorization']],
    ['one that is bound to a key, with its proof', 'https://bound.example', ['authorization', 'dpop']],
  ])('%s stays where it is declared', async (_, origin, carried) => {
    const first = `${origin}/v1/start`
    for (const away of ['https://evil.test/v1/x', `${origin}/v2/x`, `${origin}:8443/v1/x`]) {
      hosts.visits.length = 0
      hosts.answer = ({ path }) => (path === '/v1/start' ? { status: 302, headers: { location: away } } : undefined)
      await broker.fetch(first)
      expect(seen()).toEqual([[first, ...carried], [away]])
      const request = { method: 'GET', url: away }
      await expect((await broker.getToken(first)).headers(request)).rejects.toMatchObject({ code: 'host_not_bound' })
      await expect(broker.getToken(away)).rejects.toMatchObject({ code: 'endpoint_unknown' })
    }
  })

  test('a proof names the URL that its request goes to, whatever becomes of the objects that asked for it', async () => {
    const htu = (headers: Readonly<Record<string, unknown>>): unknown => decodeJwt(String(headers['dpop']))['htu']
    hosts.answer = ({ path }) => (path.endsWith('?a') ? { status: 302, headers: { location: '/v1/y' } } : undefined)
    await broker.fetch('https://bound.example/v1/x?a')
    expect(hosts.visits.map(({ headers }) => htu(headers))).toEqual([
      'https://bound.example/v1/x',
      'https://bound.example/v1/y',
    ])
    const token = await broker.getToken('https://bound.example/v1/x')
    const url = new URL('https://bound.example/v1/x?a#b')
    const request = { method: 'GET', url: url as unknown as string }
    const pending = token.headers(request)
    url.host = 'evil.test'
    request.url = 'https://evil.test/v1/x'
    expect(htu(await pending)).toBe('https://bound.example/v1/x')
  })
})

describe('an authorization server that redirects', () => {
  const login: Provider = {
    ...{ ...common, id: 'login' },
    metadata: {
      issuer: common.issuer,
      token_endpoint: 'https://auth.example/token',
      revocation_endpoint: 'https://auth.example/revoke',
    },
    endpoints: [{ url: 'https://login.example/*' }],
  }

  async function loggedIn(): Promise<TokenBroker> {
    const store = await openStore({ backend: memoryBackend() })
    const refreshToken = new Secret('refresh-secret')
    const entry: Credential = {
      ...{
        provider: 'login',
        account: 'default',
        type: 'oauth',
        issuer: common.issuer,
        clientId: 'app',
        subject: null,
      },
      grant: {
        ...{ scopes: [], evidence: 'response', resources: [], refreshToken, refreshExpiresAt: null },
        ...{ generation: 1, obtainedAt: 0, state: 'live', replays: 0 },
      },
      ...{ tokens: [], lease: null },
    }
    await store.update(entry, () => entry)
    return new TokenBroker({ store, providers: [login], environment: {}, fetch: hosts.fetch })
  }

  test.each([
    [301, 'https://evil.test/'],
    [302, 'https://evil.test/'],
    [303, 'https://evil.test/'],
    [307, 'https://evil.test/'],
    [308, 'https://evil.test/'],
    [307, 'https://auth.example/elsewhere'],
    [308, 'https://auth.example:8443/token'],
    [307, 'http://auth.example/token'],
  ])('with %i to %s is given the refresh token where it is declared, and nowhere else', async (status, location) => {
    hosts.answer = () => ({ status, headers: { location } })
    const one = await loggedIn()
    await expect(one.getToken('https://login.example/')).rejects.toHaveProperty('code')
    await one.revoke({ provider: 'login', account: 'default' }).catch(() => undefined)
    await one.close()
    const places = new Set(hosts.visits.map(({ origin, path }) => origin + path))
    expect([...places]).toEqual(['https://auth.example/token', 'https://auth.example/revoke'])
    expect(hosts.visits.map(({ body }) => body.includes('refresh-secret'))).not.toContain(false)
  })
})

describe('with the fetch of Node', () => {
  let apis: readonly Api[] = []
  afterEach(() => Promise.all(apis.map((api) => api.stop())))

  test.each([
    ['another port', (_: URL, other: URL) => `${other.origin}/v1/x`, 1],
    ['another name of the machine', ({ port }: URL) => `http://localhost:${port}/v1/x`, 0],
    ['an undeclared path', ({ origin }: URL) => `${origin}/v2`, 0],
    ['two slashes and another port', (_: URL, { host }: URL) => `//${host}/v1/x`, 1],
  ])('a redirect to %s leaves everything behind', async (_, to, at) => {
    let location = ''
    const answers = (arrival: Arrival): Answer =>
      arrival.path === '/v1/start' ? { status: 307, headers: { location } } : { status: 200 }
    apis = await Promise.all([startApi(answers), startApi(answers)])
    const [declared = '', other = ''] = apis.map(({ origin }) => origin)
    location = to(new URL(declared), new URL(other))
    const one = await brokerOf([{ ...acme, endpoints: [{ url: `${declared}/v1/*`, headers: account }] }], fetch)
    const response = await one.fetch(`${declared}/v1/start`, {
      method: 'POST',
      body: 'x',
      headers: { host: 'evil.test' },
    })
    expect(response.status).toBe(200)
    const arrivals = apis.flatMap((api, index) => api.arrivals.map((arrival) => ({ index, arrival })))
    expect(
      arrivals.map(({ index, arrival: { path, headers } }) => [index, path, secrets.test(JSON.stringify(headers))]),
    ).toEqual([
      [0, '/v1/start', true],
      [at, new URL(location, declared).pathname, false],
    ])
    expect(arrivals[0]?.arrival.headers.host).toBe(new URL(declared).host)
  })
})

// Every spelling here leads to a host or a path that is not declared, or to none.
const undeclared: readonly (readonly [string, string])[] = [
  ['a longer name', 'https://api.example.evil.test/v1/x'],
  ['a name in front', 'https://evil-api.example/v1/x'],
  ['a subdomain', 'https://evil.api.example/v1/x'],
  ['the parent', 'https://example/v1/x'],
  ['a hyphen for the dot', 'https://api-example/v1/x'],
  ['no dot', 'https://apiexample/v1/x'],
  ['an underscore for the dot', 'https://api_example/v1/x'],
  ['the name as a user', 'https://api.example@evil.test/v1/x'],
  ['the name as a user with an encoded slash', 'https://api.example%2f@evil.test/v1/x'],
  ['the name as a user with a password', 'https://api.example:443@evil.test/v1/x'],
  ['two at signs', 'https://a@api.example@evil.test/v1/x'],
  ['a user before the name', 'https://evil@api.example/v1/x'],
  ['a password before the name', 'https://:evil@api.example/v1/x'],
  ['the name in the query', 'https://evil.test?api.example/v1/x'],
  ['the name in the fragment', 'https://evil.test#api.example/v1/x'],
  ['the name in the path', 'https://evil.test/api.example/v1/x'],
  ['the name behind a backslash', 'https://evil.test\\@api.example/v1/x'],
  ['the name before a backslash', 'https://api.example\\@evil.test/v1/x'],
  ['an encoded at sign', 'https://api.example%40evil.test/v1/x'],
  ['an encoded null', 'https://api.example%00.evil.test/v1/x'],
  ['another port', 'https://api.example:8443/v1/x'],
  ['port 0', 'https://api.example:0/v1/x'],
  ['port 80', 'https://api.example:80/v1/x'],
  ['no port where one is declared', 'https://files.example/x'],
  ['the port of https where another is declared', 'https://files.example:443/x'],
  ['plain http', 'http://api.example/v1/x'],
  ['plain http on the port of https', 'http://api.example:443/v1/x'],
  ['a web socket', 'wss://api.example/v1/x'],
  ['a web socket in clear', 'ws://api.example/v1/x'],
  ['FTP', 'ftp://api.example/v1/x'],
  ['a file', 'file://api.example/v1/x'],
  ['a blob of the origin', 'blob:https://api.example/v1/x'],
  ['a scheme of its own', 'httpss://api.example/v1/x'],
  ['a dot behind', 'https://api.example./v1/x'],
  ['two dots behind', 'https://api.example../v1/x'],
  ['an empty label', 'https://api..example/v1/x'],
  ['an empty label in front', 'https://.api.example/v1/x'],
  ['a Cyrillic letter', 'https://\u0430pi.example/v1/x'],
  ['the same in punycode', 'https://xn--pi-6kc.example/v1/x'],
  ['a Greek letter', 'https://api.ex\u03B1mple/v1/x'],
  ['a dotless i', 'https://ap\u0131.example/v1/x'],
  ['an accent', 'https://api\u0301.example/v1/x'],
  ['a letter that looks like a slash', 'https://api.example\u2044.evil.test/v1/x'],
  ['a letter that becomes a slash', 'https://api.example\u2100.evil.test/v1/x'],
  ['a full-width at sign', 'https://api.example\uFF20evil.test/v1/x'],
  ['a full-width slash', 'https://api.example\uFF0Fevil.test/v1/x'],
  ['ss for ß', 'https://strasse.example/v1/x'],
  ['a path that begins alike', 'https://api.example/v10'],
  ['the base without its slash', 'https://api.example/v1'],
  ['letters behind the base', 'https://api.example/v1evil'],
  ['another case', 'https://api.example/V1/x'],
  ['two slashes', 'https://api.example//v1/x'],
  ['an encoded letter', 'https://api.example/%761/x'],
  ['a path that climbs', 'https://api.example/v1/../admin'],
  ['a path that climbs, encoded', 'https://api.example/v1/%2e%2e/admin'],
  ['an encoded slash', 'https://api.example/v1%2fx'],
  ['a climb by an encoded slash', 'https://api.example/v1/..%2Fadmin'],
  ['a climb by an encoded backslash', 'https://api.example/v1/..%5cadmin'],
  ['a climb with everything encoded', 'https://api.example/v1/%2E%2e%2fadmin'],
  ['a climb with a parameter', 'https://api.example/v1/..;/admin'],
  ['a climb with a parameter, encoded', 'https://api.example/v1/x%2f..;a=b%2fadmin'],
  ['something below an exact path', 'https://api.example/exact/'],
  ['two labels for a star', 'https://a.b.tenants.example/x'],
  ['no label for a star', 'https://tenants.example/x'],
  ['an empty label for a star', 'https://.tenants.example/x'],
  ['an empty label behind a star', 'https://a..tenants.example/x'],
  ['a path for a star', 'https://evil.test/.tenants.example/x'],
  ['a query for a star', 'https://evil.test?.tenants.example/x'],
  ['a fragment for a star', 'https://evil.test#.tenants.example/x'],
  ['a user for a star', 'https://evil@a.tenants.example/x'],
  ['IPv4 in IPv6', 'http://[::ffff:127.0.0.1]:8080/x'],
  ['IPv6 loopback', 'http://[::1]:8080/x'],
  ['the name of loopback', 'http://localhost:8080/x'],
  ['another address of loopback', 'http://127.0.0.2:8080/x'],
  ['any address', 'http://0.0.0.0:8080/x'],
  ['loopback with another port', 'http://127.0.0.1:8081/x'],
  ['loopback without its port', 'http://127.1/x'],
  ['loopback as https', 'https://127.0.0.1:8080/x'],
  ['a name that begins like loopback', 'http://127.0.0.1.evil.test:8080/x'],
]

describe('a URL with', () => {
  test.each(undeclared)('%s is not called, and gets no token and no headers', async (_, url) => {
    const token = await broker.getToken(start)
    const attempts = [
      broker.fetch(url),
      broker.getToken(url),
      Promise.resolve().then(() => token.headers({ method: 'GET', url })),
    ]
    for (const attempt of attempts) {
      const error: unknown = await attempt.then(String, (reason: unknown) => reason)
      if (!(error instanceof TypeError)) {
        expect((error as { code?: string }).code).toMatch(/^(endpoint_unknown|host_not_bound)$/)
      }
      expect(inspect(error, { depth: 9 })).not.toMatch(secrets)
    }
    expect(hosts.visits).toEqual([])
  })

  test.each([
    ['capitals', 'HTTPS://API.EXAMPLE/v1/x', 'https://api.example/v1/x'],
    ['the default port', 'https://api.example:443/v1/x', 'https://api.example/v1/x'],
    ['the default port and zeros', 'https://api.example:000443/v1/x', 'https://api.example/v1/x'],
    ['a port of its own', 'https://files.example:8443/x', 'https://files.example:8443/x'],
    ['dot segments that come back', 'https://api.example/x/../v1/./x', 'https://api.example/v1/x'],
    ['an encoded slash that does not climb', 'https://api.example/v1/a%2fb', 'https://api.example/v1/a%2fb'],
    ['dots that are no segment', 'https://api.example/v1/..a/...', 'https://api.example/v1/..a/...'],
    [
      'a query and a fragment',
      'https://api.example/v1/x?@evil.test/#//evil.test',
      'https://api.example/v1/x?@evil.test/',
    ],
    ['an encoded dot in the host', 'https://api%2Eexample/v1/x', 'https://api.example/v1/x'],
    ['a full-width dot', 'https://api\uFF0Eexample/v1/x', 'https://api.example/v1/x'],
    ['an ideographic dot', 'https://api\u3002example/v1/x', 'https://api.example/v1/x'],
    ['full-width letters', 'https://\uFF41\uFF50\uFF49.example/v1/x', 'https://api.example/v1/x'],
    ['a letter of no width', 'https://a\u200Bpi.example/v1/x', 'https://api.example/v1/x'],
    ['a soft hyphen', 'https://a\u00ADpi.example/v1/x', 'https://api.example/v1/x'],
    ['ß', 'https://straße.example/x', 'https://xn--strae-oqa.example/x'],
    ['a label for a star', 'https://a.tenants.example/x', 'https://a.tenants.example/x'],
    ['a label in another script for a star', 'https://\u0430.tenants.example/x', 'https://xn--80a.tenants.example/x'],
    ['loopback in two parts', 'http://127.1:8080/x', 'http://127.0.0.1:8080/x'],
    ['loopback in hexadecimal', 'http://0x7f.1:8080/x', 'http://127.0.0.1:8080/x'],
    ['loopback in octal', 'http://0177.0.0.01:8080/x', 'http://127.0.0.1:8080/x'],
    ['loopback as one number', 'http://2130706433:8080/x', 'http://127.0.0.1:8080/x'],
  ])('%s leads to the declared host, by the name that is declared', async (_, url, arrival) => {
    await broker.fetch(url)
    const [[at, ...carried] = ['']] = seen()
    expect([at, hosts.visits.length]).toEqual([arrival, 1])
    expect(carried).toContain('authorization')
    const { servername } = hosts.visits[0] ?? {}
    if (servername !== undefined) expect(servername).toBe(new URL(arrival).hostname)
  })

  test.each([
    ['a backslash, which others take for a part of a user', 'https://wide.example\\@evil.test/x'],
    ['two of them for slashes', 'https://\\wide.example\\@evil.test/x'],
    ['a line break', 'https://wide.exam\nple/x'],
    ['a tab', 'https://wide.exa\tmple/x'],
  ])('%s may be another host for the program that gets the token: refused', async (_, url) => {
    const token = await broker.getToken('https://wide.example/')
    await expect(broker.getToken(url)).rejects.toBeInstanceOf(TypeError)
    await expect(token.headers({ method: 'GET', url })).rejects.toBeInstanceOf(TypeError)
    // What fetches by itself cannot be of two minds.
    await broker.fetch(url)
    expect(seen()).toMatchObject([[expect.stringMatching(/^https:\/\/wide\.example\//) as string, 'authorization']])
  })
})

describe('what a caller gives', () => {
  test.each<[string, () => Promise<unknown>]>([
    ['in small letters', () => broker.fetch(start, { headers: { authorization: 'Bearer mine' } })],
    ['in capitals', () => broker.fetch(start, { headers: { AUTHORIZATION: 'Bearer mine' } })],
    ['in a list', () => broker.fetch(start, { headers: [['Authorization', 'Basic x']] })],
    ['in a Request', () => broker.fetch(new Request(start, { headers: { Authorization: 'x' } }))],
    ['beside a Request', () => broker.fetch(new Request(start), { headers: new Headers({ aUTHORIZATION: 'x' }) })],
  ])('an Authorization header %s is refused', async (_, attempt) => {
    await expect(attempt()).rejects.toThrow(new TypeError('the request carries an Authorization header already'))
    expect(hosts.visits).toEqual([])
  })

  test('a Host header changes nothing: the host is that of the URL', async () => {
    await broker.fetch(start, { headers: { Host: 'evil.test' } })
    await broker.fetch(new Request(start, { headers: { host: 'evil.test' } }))
    expect(seen()).toEqual([
      [start, ...both],
      [start, ...both],
    ])
  })

  test('a header by the name of a declared one is replaced, and is not sent on in its place', async () => {
    hosts.answer = redirectsTo('https://evil.test/')
    await broker.fetch(start, { headers: { 'ACME-account': 'mine' } })
    expect(seen()).toEqual([[start, ...both], ['https://evil.test/']])
    expect(hosts.visits[0]?.headers['acme-account']).toBe('the-account')
  })

  test('a Request is called as it is', async () => {
    await broker.fetch(new Request(start, { method: 'PUT', body: 'text' }))
    expect(seen()).toEqual([[start, ...both]])
    await expect(broker.fetch(new Request('https://evil.test/v1/x'))).rejects.toMatchObject({
      code: 'endpoint_unknown',
    })
    expect(hosts.visits.length).toBe(1)
  })

  test('a URL that is changed after the call does not change where it goes', async () => {
    const url = new URL(start)
    const pending = broker.fetch(url)
    url.host = 'evil.test'
    await pending
    expect(seen()).toEqual([[start, ...both]])
  })

  test.each<[string, () => { target: URL | { provider: string }; change: () => void }]>([
    [
      'a URL',
      () => {
        const target = new URL(start)
        return { target, change: () => (target.href = 'https://wide.example/') }
      },
    ],
    [
      'an object',
      () => {
        const target = { provider: 'acme' }
        return { target, change: () => (target.provider = 'wide') }
      },
    ],
  ])('%s that is changed after the call gets no other token, and no later call does', async (_, made) => {
    const { target, change } = made()
    const pending = broker.getToken(target)
    change()
    const revealed = async (token: Promise<AccessToken>): Promise<string> => (await token).reveal()
    expect(await revealed(pending)).toBe('acme-secret')
    expect(await revealed(broker.getToken(made().target))).toBe('acme-secret')
    expect(await revealed(broker.getToken(target))).toBe('wide-secret')
  })
})

describe('a base URL', () => {
  const route = (baseUrl: string, trustBaseUrl = false) => broker.route({ service: 'files', baseUrl, trustBaseUrl })
  const headersAt = async (baseUrl: string, url: string, isTrusted: boolean): Promise<unknown> =>
    (await route(baseUrl, isTrusted)).headers({ method: 'GET', url })

  test.each([
    'https://api.example/v1',
    'https://api.example/v1/',
    'https://API.example:443/v1//',
    'https://api.example/v1/eu',
    'https://api.example/x/../v1',
    'https://api.example/exact',
    'https://files.example:8443',
  ])('%s that is declared needs no trust, and is not trusted further', async (baseUrl) => {
    for (const isTrusted of [false, true]) {
      const found = await route(baseUrl, isTrusted)
      const declared = new URL(found.baseUrl).href.replace(/(v1)$/, '$1/x')
      await expect(found.headers({ method: 'GET', url: declared })).resolves.toHaveProperty('authorization')
      for (const url of ['https://api.example/admin', 'https://api.example/v10', 'https://files.example/x']) {
        await expect(found.headers({ method: 'GET', url })).rejects.toMatchObject({ code: 'host_not_bound' })
      }
    }
  })

  test.each([
    'https://api.example',
    'https://api.example/v10',
    'https://api.example/v1evil',
    'https://api.example/v1/../admin',
    'https://api.example/v1/%2e%2e/admin',
    'https://api.example/v1/..%2fadmin',
    'https://api.example/v1%2fx',
    'https://api.example/V1',
    'https://api.example:8443/v1',
    'https://api.example.evil.test/v1',
    'https://\u0430pi.example/v1',
    'https://files.example',
    'https://wide.example',
  ])('%s is not declared: no credential', async (baseUrl) => {
    await expect(route(baseUrl)).rejects.toMatchObject({ code: 'host_not_bound' })
  })

  test.each([
    ...['https://api.example./v1', 'http://api.example/v1', 'https://api.example/v1?a', 'https://api.example/v1#a'],
    ...[
      'https://api.example\\@evil.test',
      'https://evil@api.example/v1',
      'https://api.exam\nple/v1',
      'wss://api.example/v1',
    ],
    ...['https://*.example/v1', 'https://api.example/*', '//api.example/v1', '/v1', ''],
  ])('%j is none, trusted or not', async (baseUrl) => {
    await expect(route(baseUrl, false)).rejects.toBeInstanceOf(TypeError)
    await expect(route(baseUrl, true)).rejects.toBeInstanceOf(TypeError)
  })

  test('that is trusted gets the token at it and below, and nowhere beside or above', async () => {
    const base = 'https://RELAY.test:443/a/../acme/'
    for (const url of ['https://relay.test/acme', 'https://relay.test/acme/x/y?z', 'https://relay.test:443/acme/']) {
      await expect(headersAt(base, url, true)).resolves.toHaveProperty('authorization')
    }
    for (const url of [
      ...['https://relay.test/', 'https://relay.test/a/x', 'https://relay.test/acme2', 'https://relay.test/acme%2fx'],
      ...['https://relay.test/acme/../x', 'https://relay.test/acme/..%2fx', 'https://relay.test/acme/..;/x'],
      ...['http://relay.test/acme/x', 'https://relay.test:8443/acme/x', 'https://relay.test./acme/x'],
      ...['https://x@relay.test/acme/x', 'https://relay.test.evil.test/acme/x', 'https://evil.relay.test/acme/x'],
    ]) {
      await expect(headersAt(base, url, true), url).rejects.toMatchObject({ code: 'host_not_bound' })
    }
    await expect(headersAt(base, 'https://relay.test\\@evil.test/acme/x', true)).rejects.toBeInstanceOf(TypeError)
  })

  test('that climbs once it is decoded is trusted with nothing', async () => {
    const base = 'https://relay.test/acme/..%2fx'
    await expect(headersAt(base, `${base}/y`, true)).rejects.toMatchObject({ code: 'host_not_bound' })
  })

  test('that an endpoint declares is on a host of its own', async () => {
    const declare = (endpoint: object): Promise<TokenBroker> =>
      brokerOf([{ ...acme, endpoints: [{ url: 'https://api.example/v1/x', service: 'files', ...endpoint }] }])
    await expect(declare({ baseUrl: 'https://api.example:443' })).resolves.toBeInstanceOf(TokenBroker)
    const star = 'https://*.tenants.example/v1/*'
    await expect(declare({ url: star, baseUrl: 'https://a.tenants.example/v1' })).resolves.toBeInstanceOf(TokenBroker)
    for (const wrong of [
      ...[
        'https://evil.test/v1',
        'https://api.example.evil.test',
        'https://api.example:8443/v1',
        'https://api.example./',
      ],
      ...['https://evil@api.example/v1', 'http://api.example/v1', 'nonsense'].values(),
    ]) {
      await expect(declare({ baseUrl: wrong }), wrong).rejects.toMatchObject({ code: 'provider_invalid' })
    }
    // Up to its star such a URL is no host, or somebody else's.
    await expect(declare({ url: star })).rejects.toMatchObject({ code: 'provider_invalid' })
  })
})

describe('a call to a service', () => {
  const relay = { service: 'files', baseUrl: 'https://relay.test/acme', trustBaseUrl: true }

  test.each([
    ['/x', 'https://api.example/v1/x'],
    ['//evil.test/x', 'https://api.example/v1//evil.test/x'],
    ['/\\evil.test/x', 'https://api.example/v1//evil.test/x'],
    ['/@evil.test', 'https://api.example/v1/@evil.test'],
    ['/a/../x?https://evil.test', 'https://api.example/v1/x?https://evil.test'],
  ])('with the path %s stays below the base', async (path, arrival) => {
    await broker.fetchService({ service: 'files' }, path)
    expect(seen()).toEqual([[arrival, ...both]])
  })

  test.each([
    ...['', 'x', '@evil.test/x', '.evil.test/x', ':8443/x', '0/x', '?x', '#x', '\\x', 'https://evil.test/v1/x'],
    ...['/../admin', '/%2e%2e/admin', '/..', '/../../evil.test', '/..%2fadmin', '/..;/admin', '/x/..%5c..%5cadmin'],
  ])('with the path %j is refused', async (path) => {
    for (const service of [{ service: 'files' }, relay]) {
      const error: unknown = await broker.fetchService(service, path).then(String, (reason: unknown) => reason)
      if (!(error instanceof TypeError)) expect(error).toMatchObject({ code: 'host_not_bound' })
    }
    expect(hosts.visits).toEqual([])
  })

  test('at a base URL that is not declared sends nothing; trusted, it goes there and not to where that redirects', async () => {
    await expect(broker.fetchService({ ...relay, trustBaseUrl: false }, '/x')).rejects.toMatchObject({
      code: 'host_not_bound',
    })
    expect(hosts.visits).toEqual([])
    for (const [location, arrival, ...carried] of [
      ['/acme/y', 'https://relay.test/acme/y', ...both],
      ['/other', 'https://relay.test/other'],
      ['https://api.example/v1/x', 'https://api.example/v1/x'],
      ['https://evil.test/acme/y', 'https://evil.test/acme/y'],
    ] as const) {
      hosts.visits.length = 0
      hosts.answer = ({ path }) => (path === '/acme/x' ? { status: 302, headers: { location } } : undefined)
      await broker.fetchService(relay, '/x')
      expect(seen()).toEqual([
        ['https://relay.test/acme/x', ...both],
        [arrival, ...carried],
      ])
    }
  })

  test('that goes on to another provider gives each host its own credential', async () => {
    const one = await brokerOf([
      acme,
      { ...wide, endpoints: [{ url: 'https://wide.example/*', service: 'files' }] },
      { ...keys, endpoints: [{ url: 'https://keys.example/v1/*', accepts: ['api_key'], service: 'files' }] },
    ])
    hosts.answer = ({ origin }) => (origin === 'https://keys.example' ? undefined : { status: 401 })
    expect((await one.fetchService({ service: 'files' }, '/x')).status).toBe(200)
    const given = hosts.visits.map(({ origin, headers }) => [
      origin,
      JSON.stringify(headers).match(new RegExp(secrets, 'g')),
    ])
    expect(given).toEqual([
      ['https://api.example', ['the-account', 'acme-secret']],
      ['https://wide.example', ['wide-secret']],
      ['https://keys.example', ['keys-secret']],
    ])
  })
})

describe('whatever is declared and whatever is asked for', () => {
  const oneOf = (...values: readonly string[]) => fc.constantFrom(...values)
  const name = oneOf(
    'api.example',
    'API.example',
    '\u0430pi.example',
    'api.example.',
    'a.api.example',
    'example.test',
    'x',
  )
  const host = fc.oneof(
    { weight: 4, arbitrary: fc.constant('api.example') },
    name,
    fc
      .tuple(
        oneOf('*', '*.', 'u@', '', 'a', '.', '*.*.', 'q.'),
        name,
        oneOf('', '*', '.evil.test', '@evil.test', '%2e'),
      )
      .map((parts) => parts.join('')),
    fc.webAuthority(),
  )
  const port = oneOf('', '', '', '', '', ':443', ':80', ':8443', ':*')
  const step = oneOf(
    'v1',
    'v10',
    'V1',
    '*',
    'v1*',
    '..',
    '%2e%2e',
    '..%2f',
    '..;a',
    '%2f',
    '',
    'a',
    '.',
    '%',
    '\\',
    '\t',
  )
  const path = fc.array(step, { maxLength: 4 }).map((steps) => steps.map((each) => `/${each}`).join(''))
  const tail = oneOf('', '', '', '', '', '?q', '#f', '?*', '@evil.test')
  const scheme = oneOf(...Array<string>(8).fill('https://'), 'http://', 'https:/\\', 'wss://', '//', '')
  const spelling = fc.oneof(
    { weight: 8, arbitrary: fc.tuple(scheme, host, port, path, tail).map((parts) => parts.join('')) },
    { weight: 1, arbitrary: fc.webUrl() },
    { weight: 1, arbitrary: fc.string() },
  )

  /** Calls a URL that redirects; says of every visit whether it carried the token. */
  async function visitsOf(patterns: readonly string[], urls: readonly [string, string]): Promise<readonly Visit[]> {
    const [first, location] = urls
    hosts.visits.length = 0
    hosts.answer = () =>
      hosts.visits.length === 1 && /^[\t\x20-\x7E]*$/.test(location)
        ? { status: 307, headers: { location } }
        : undefined
    const fit: string[] = []
    for (const url of patterns) {
      const isFit = await brokerOf([{ ...acme, endpoints: [{ url }] }]).then(
        () => true,
        () => false,
      )
      if (isFit) fit.push(url)
    }
    const one = await brokerOf([{ ...acme, endpoints: fit.map((url) => ({ url, headers: account })) }])
    await one.fetch(first).catch(() => undefined)
    return [...hosts.visits]
  }

  test('a token arrives only where a pattern covers it, letter by letter, and never again after that', async () => {
    let arrived = 0
    await fc.assert(
      fc.asyncProperty(
        fc.array(spelling, { minLength: 1, maxLength: 3 }),
        spelling,
        spelling,
        async (patterns, a, b) => {
          // Half of the time what is asked for is close to what is declared.
          const visits = await visitsOf(patterns, [a.length % 2 === 0 ? (patterns[0] ?? a).replaceAll('*', 'w') : a, b])
          const carrying = visits.filter((visit) => carriedBy(visit).length > 0)
          arrived += carrying.length
          for (const visit of carrying) {
            expect(patterns.some((pattern) => isCovered(pattern, visit.origin, visit.path))).toBe(true)
          }
          // The first ones, all of one origin.
          expect(visits.slice(0, carrying.length)).toEqual(carrying)
          expect(new Set(carrying.map(({ origin }) => origin)).size).toBeLessThan(2)
        },
      ),
      { numRuns: 500 },
    )
    expect(arrived).toBeGreaterThan(20)
  })
})
