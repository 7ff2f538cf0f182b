import { afterEach, describe, expect, test } from 'vitest'
import { completeLogin, type RobotOptions } from '../../examples/server/robot.ts'
import type { AuthorizeHandler } from '../../src/broker/ask.ts'
import type { TokenBroker } from '../../src/broker/broker.ts'
import type { GrantFlow } from '../../src/grant/flow.ts'
import { loopbackFlow } from '../../src/grant/loopback.ts'
import type { Endpoint, Provider } from '../../src/index.ts'
import { type Answer, type Api, type Arrival, refuse, startApi } from './api.ts'
import { key, type Stage, setStage } from './stage.ts'

const ok: Answer = { status: 200, body: 'served' }
const bearer = (arrival: Arrival): string => /^Bearer (.+)$/.exec(arrival.headers.authorization ?? '')?.[1] ?? ''

let stage: Stage
let api: Api
let other: Api | undefined

/** An API whose endpoints want a token for the demo server's files, and a person who is logged in. */
async function set(
  answer: (arrival: Arrival, nth: number) => Answer,
  endpoints: readonly Omit<Endpoint, 'resource'>[] = [{ url: '/files', scopes: ['files:read'] }],
  more: Partial<Provider> = {},
): Promise<void> {
  api = await startApi(answer)
  stage = await setStage({
    provider: (demo) => ({
      scopes: ['openid', 'offline_access', 'files:read'],
      endpoints: endpoints.map((one) => ({
        ...one,
        url: one.url.startsWith('/') ? api.origin + one.url : one.url,
        resource: demo.endpoints?.[0]?.resource ?? '',
      })),
      ...more,
    }),
  })
  await stage.login()
  stage.server.reset()
}

const url = (path = '/files'): string => api.origin + path

function robot(options?: RobotOptions, seen: URL[] = []): GrantFlow {
  return loopbackFlow({
    openBrowser: (page) => {
      seen.push(page)
      void completeLogin(page, options).catch(() => undefined)
    },
  })
}

/** A broker whose application asks the robot. */
function asking(options?: RobotOptions): {
  broker: TokenBroker
  asked: Parameters<AuthorizeHandler>[0][]
  pages: URL[]
} {
  const asked: Parameters<AuthorizeHandler>[0][] = []
  const pages: URL[] = []
  const broker: TokenBroker = stage.newBroker({
    onAuthorize: async (request) => {
      asked.push(request)
      await broker.authorize(request.target, robot(options, pages))
    },
  })
  return { broker, asked, pages }
}

afterEach(async () => {
  await Promise.all([stage.stop(), api.stop(), other?.stop()])
  other = undefined
})

describe('a token that the API calls invalid', () => {
  test('is replaced once, and the call made again with its body', async () => {
    await set((_, nth) => (nth === 1 ? refuse(401, 'Bearer error="invalid_token"') : ok))
    const response = await stage.broker.fetch(url(), { method: 'POST', body: new URLSearchParams({ a: '1' }) })
    expect([response.status, await response.text()]).toEqual([200, 'served'])
    const [first, second, third] = api.arrivals
    expect(third).toBeUndefined()
    expect([first?.body, second?.body]).toEqual(['a=1', 'a=1'])
    expect(second && bearer(second)).not.toBe(first && bearer(first))
  })

  test('twice is the answer of the API', async () => {
    await set(() => refuse(401, 'Bearer error="invalid_token"', 'no'))
    const response = await stage.broker.fetch(url())
    expect([response.status, await response.text()]).toEqual([401, 'no'])
    expect(api.arrivals.length).toBe(2)
  })

  test('and cannot be replaced now: the refusal is the answer', async () => {
    await set(() => refuse(401, 'Bearer error="invalid_token"', 'no'))
    await stage.broker.getToken(url())
    stage.server.fault({ status: 503 })
    const response = await stage.broker.fetch(url())
    expect([response.status, await response.text()]).toEqual([401, 'no'])
    expect(api.arrivals.length).toBe(1)
  })

  test('and has no successor: the error says how to log in', async () => {
    await set(() => refuse(401, 'Bearer error="invalid_token"'))
    await stage.broker.getToken(url())
    stage.server.fault({ status: 400, body: '{"error":"invalid_grant"}' })
    await expect(stage.broker.fetch(url())).rejects.toMatchObject({ code: 'grant_revoked' })
    expect(await stage.store.read(key)).not.toBeNull()
  })
})

describe('an edge in front of the API', () => {
  const page = `<!doctype html><title>Just a moment...</title>${'<script></script>'.repeat(4_000)}`
  const html = { 'content-type': 'text/html', server: 'cloudflare', 'cf-ray': '8f-FRA' }

  test.each([
    [401, { ...html, 'cf-mitigated': 'challenge' }],
    [401, html],
    [403, { ...html, 'cf-mitigated': 'challenge' }],
    [401, { ...html, 'cf-mitigated': 'challenge', 'www-authenticate': 'Bearer error="invalid_token"' }],
    [403, { ...html, 'x-amzn-waf-action': 'captcha', 'www-authenticate': 'Bearer scope="mail:send"' }],
  ])('that answers %i with %j is the answer, and costs no token', async (status, headers) => {
    await set(() => ({ status, headers, body: page }))
    await stage.broker.getToken(url())
    stage.server.reset()
    const response = await stage.broker.fetch(url())
    expect([response.status, await response.text()]).toEqual([status, page])
    expect(stage.server.counts().arrived).toBe(0)
    expect(api.arrivals.length).toBe(1)
    expect(await stage.store.readState(`:endpoint:${url()}`)).toBeNull()
  })
})

describe('a refusal', () => {
  test('of any length is handed on', async () => {
    const long = 'x'.repeat(300_000)
    await set(() => ({ status: 403, body: long }))
    expect(await (await stage.broker.fetch(url())).text()).toBe(long)
  })
})

describe('a body', () => {
  test.each([
    ['a string', 'text'],
    ['bytes', new TextEncoder().encode('text')],
    ['a blob', new Blob(['text'])],
  ])('that is %s is sent again', async (_, body) => {
    await set((_arrival, nth) => (nth === 1 ? refuse(401, 'Bearer error="invalid_token"') : ok))
    expect((await stage.broker.fetch(url(), { method: 'PUT', body })).status).toBe(200)
    expect(api.arrivals.map(({ body }) => body)).toEqual(['text', 'text'])
  })

  test('that is a form is encoded anew', async () => {
    await set((_, nth) => (nth === 1 ? refuse(401, 'Bearer error="invalid_token"') : ok))
    const body = new FormData()
    body.set('name', 'value')
    expect((await stage.broker.fetch(url(), { method: 'POST', body })).status).toBe(200)
    for (const arrival of api.arrivals) {
      const boundary = /boundary=(.+)$/.exec(arrival.headers['content-type'] ?? '')?.[1] ?? 'none'
      expect(arrival.body).toContain(`--${boundary}`)
    }
  })

  test.each(['stream', 'request'] as const)('that is a %s is sent once, and the refusal returned', async (kind) => {
    await set(() => refuse(403, 'Bearer error="insufficient_scope", scope="files:write"', 'more'))
    const body = new Blob(['text']).stream()
    const response =
      kind === 'stream'
        ? await stage.broker.fetch(url(), { method: 'POST', body, duplex: 'half' })
        : await stage.broker.fetch(new Request(url(), { method: 'POST', body: 'text' }))
    expect([response.status, await response.text()]).toEqual([403, 'more'])
    expect(api.arrivals.map((arrival) => arrival.body)).toEqual(['text'])
    // What it taught is known all the same.
    expect(await stage.store.readState(`:endpoint:${url()}`)).toMatchObject({
      methods: { POST: { scopes: ['files:write'] } },
    })
  })
})

describe('scopes that the API asks for', () => {
  const wantsWrite = (arrival: Arrival): Answer =>
    arrival.method === 'POST' ? refuse(403, 'Bearer error="insufficient_scope", scope="files:write"') : ok

  test('and the grant covers are fetched, and remembered for the method', async () => {
    let wide = ''
    await set(
      (arrival) => {
        if (arrival.method !== 'POST') return ok
        wide ||= bearer(arrival)
        return bearer(arrival) === wide ? wantsWrite(arrival) : ok
      },
      [{ url: '/files', scopes: ['files:read'] }],
      { scopes: ['openid', 'offline_access', 'files:read', 'files:write'] },
    )
    await stage.expire()
    expect((await stage.broker.fetch(url(), { method: 'POST' })).status).toBe(200)
    expect(api.arrivals.length).toBe(2)
    const token = await stage.newBroker().getToken(url(), { method: 'POST' })
    expect(token.scopes).toEqual(['files:read', 'files:write'])
    expect((await stage.broker.getToken(url())).scopes).toEqual(['files:read'])
  })

  test('and the grant lacks are an error with the login, at once the next time', async () => {
    await set(wantsWrite)
    const missing = { code: 'scope_missing', detail: { missing: ['files:write'] } }
    await expect(stage.broker.fetch(url(), { method: 'POST' })).rejects.toMatchObject(missing)
    expect(api.arrivals.length).toBe(1)
    await expect(stage.newBroker().fetch(url(), { method: 'POST' })).rejects.toMatchObject(missing)
    expect(api.arrivals.length).toBe(1)
    expect((await stage.broker.fetch(url())).status).toBe(200)
    const refused = await stage.broker.explain(url(), { method: 'POST' })
    expect(refused.requirement?.scopes).toEqual(['files:read', 'files:write'])
  })

  test('at a pattern with a star stand in the way of no other path', async () => {
    await set(
      (arrival) => (arrival.path === '/files/secret' ? wantsWrite({ ...arrival, method: 'POST' }) : ok),
      [{ url: '/files/*', scopes: ['files:read'] }],
    )
    await expect(stage.broker.fetch(url('/files/secret'))).rejects.toMatchObject({ code: 'scope_missing' })
    expect((await stage.broker.fetch(url('/files/public'))).status).toBe(200)
  })

  test('are read from a message as well', async () => {
    await set(() => ({ status: 401, body: '{"error":{"message":"Missing scopes: files:write"}}' }))
    await expect(stage.broker.fetch(url())).rejects.toMatchObject({
      code: 'scope_missing',
      detail: { missing: ['files:write'] },
    })
  })

  test('are asked of a person together with the old ones, once for all callers', async () => {
    await set((arrival) => (arrival.method === 'POST' && api.arrivals.length <= 20 ? wantsWrite(arrival) : ok))
    const before = await stage.credential()
    const { broker, asked, pages } = asking()
    const calls = Array.from({ length: 20 }, () => broker.fetch(url(), { method: 'POST' }))
    expect((await Promise.all(calls)).map(({ status }) => status)).toEqual(Array<number>(20).fill(200))
    expect(asked.length).toBe(1)
    expect(asked[0]).toMatchObject({ target: { provider: 'demo', scopes: ['files:write'] } })
    const scope = pages[0]?.searchParams.get('scope')?.split(' ')
    expect(scope).toEqual(expect.arrayContaining([...before.grant.scopes, 'files:write']))
    expect((await stage.credential()).grant.scopes).toContain('files:write')
  })

  test('and a person refuses: everything stays as it was, and nobody is asked again', async () => {
    await set(wantsWrite)
    const { broker, asked } = asking({ deny: true })
    const before = await stage.credential()
    await expect(broker.fetch(url(), { method: 'POST' })).rejects.toMatchObject({
      code: 'authorization_required',
      detail: { reason: 'denied' },
    })
    await expect(broker.fetch(url(), { method: 'POST' })).rejects.toMatchObject({ code: 'scope_missing' })
    expect(asked.length).toBe(1)
    expect((await stage.credential()).grant).toMatchObject({ generation: before.grant.generation })
    expect((await broker.fetch(url())).status).toBe(200)
  })

  test('and the token has already: the refusal is the answer', async () => {
    await set(() => refuse(403, 'Bearer error="insufficient_scope", scope="files:read"'))
    expect((await stage.broker.fetch(url())).status).toBe(403)
    expect(api.arrivals.length).toBe(1)
  })
})

describe('a login that is too weak or too old (RFC 9470)', () => {
  const challenge = 'Bearer error="insufficient_user_authentication", acr_values="mfa", max_age="60"'

  test('is an error that says what to log in with', async () => {
    await set(() => refuse(401, challenge))
    await expect(stage.broker.fetch(url())).rejects.toMatchObject({
      code: 'step_up_required',
      detail: { acrValues: ['mfa'], maxAge: 60 },
    })
    expect(stage.server.counts().arrived).toBe(0)
  })

  test('is replaced by a person, once', async () => {
    await set((_, nth) => (nth === 1 ? refuse(401, challenge) : ok))
    const { broker, asked, pages } = asking()
    expect((await broker.fetch(url())).status).toBe(200)
    expect(asked.length).toBe(1)
    expect(Object.fromEntries(pages[0]?.searchParams ?? [])).toMatchObject({ acr_values: 'mfa', max_age: '60' })
  })
})

describe('a redirect', () => {
  const headers = { 'x-team': '{metadata.team}' }
  const to = (location: string, status = 302): Answer => ({ status, headers: { location } })
  const withTeam = async (): Promise<void> => {
    await stage.store.update(key, (current) => current && { ...current, metadata: { team: 'red' } })
  }

  test('to another origin leaves the token and the headers of the endpoint behind', async () => {
    other = await startApi(() => ok)
    await set(
      () => to(`${other?.origin}/files`),
      [
        { url: '/files', scopes: ['files:read'], headers },
        { url: `${other.origin}/files`, scopes: ['files:read'], headers },
      ],
    )
    await withTeam()
    const response = await stage.broker.fetch(url(), { headers: { 'x-mine': 'yes', cookie: 'a=b' } })
    expect([response.status, response.redirected, response.url]).toEqual([200, true, `${other.origin}/files`])
    expect(api.arrivals[0]?.headers).toMatchObject({ 'x-team': 'red', cookie: 'a=b' })
    const arrived = other.arrivals[0]?.headers
    expect(arrived).toMatchObject({ 'x-mine': 'yes' })
    for (const name of ['authorization', 'x-team', 'dpop', 'cookie']) expect(arrived).not.toHaveProperty(name)
  })

  test('that comes back does not bring them back', async () => {
    other = await startApi((): Answer => to(url('/files?again')))
    const away = other.origin
    await set((arrival) => (arrival.path === '/files' ? to(away) : ok))
    await stage.broker.fetch(url())
    expect(api.arrivals.map((arrival) => bearer(arrival) !== '')).toEqual([true, false])
  })

  test('to another declared path of the same origin keeps them, to an undeclared one not', async () => {
    await set(
      ({ path }) => (path === '/files' ? to('/more') : path === '/more' ? to('/elsewhere') : ok),
      ['/files', '/more'].map((path) => ({ url: path, scopes: ['files:read'], headers })),
    )
    await withTeam()
    await stage.broker.fetch(url())
    expect(api.arrivals.map((arrival) => [bearer(arrival) !== '', arrival.headers['x-team']])).toEqual([
      [true, 'red'],
      [true, 'red'],
      [false, undefined],
    ])
  })

  test.each([
    [303, 'PUT', 'GET', ''],
    [302, 'POST', 'GET', ''],
    [302, 'PUT', 'PUT', 'text'],
    [307, 'POST', 'POST', 'text'],
  ])('%i turns %s into %s', async (status, method, then, body) => {
    await set((_, nth) => (nth === 1 ? to('/files?moved', status) : ok))
    await stage.broker.fetch(url(), { method, body: 'text' })
    expect(api.arrivals[1]).toMatchObject({ method: then, body, path: '/files?moved' })
  })

  test('is returned or refused where the caller wants that, and given up after twenty', async () => {
    await set(() => to('/files'))
    expect((await stage.broker.fetch(url(), { redirect: 'manual' })).status).toBe(302)
    await expect(stage.broker.fetch(url(), { redirect: 'error' })).rejects.toThrow(TypeError)
    api.arrivals.length = 0
    await expect(stage.broker.fetch(url())).rejects.toThrow('too many redirects')
    expect(api.arrivals.length).toBe(21)
  })
})

test('429 and its Retry-After are the answer of the API', async () => {
  await set(() => ({ status: 429, headers: { 'retry-after': '7' } }))
  const response = await stage.broker.fetch(url())
  expect([response.status, response.headers.get('retry-after')]).toEqual([429, '7'])
  expect(api.arrivals.length).toBe(1)
})
