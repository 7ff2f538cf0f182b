import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type AuthorizationServer, startAuthorizationServer } from '../../examples/server/authorization-server.ts'
import { demoProvider } from '../../examples/server/demo-provider.ts'
import { completeLogin, type FinalPage, type RobotOptions } from '../../examples/server/robot.ts'
import { AuthkeepError } from '../../src/errors.ts'
import { loopbackFlow } from '../../src/grant/loopback.ts'
import type { Provider } from '../../src/provider.ts'
import { expectNoSecret, grantRequest, nobody, oauth, rejection } from './setup.ts'

let server: AuthorizationServer
let provider: Provider
let resources: readonly string[]

beforeAll(async () => {
  server = await startAuthorizationServer()
  provider = demoProvider(server)
  resources = Object.keys(server.resources)
})
afterEach(() => server.reset())
afterAll(() => server.stop())

interface Visit {
  readonly page: Promise<FinalPage>
  readonly url: Promise<URL>
  readonly openBrowser: (url: URL) => void
}

/** A browser with a robot at it. */
function robot(options: RobotOptions = {}, visit = (url: URL) => completeLogin(url, options)): Visit {
  let opened: (url: URL) => void = () => undefined
  const url = new Promise<URL>((resolve) => {
    opened = resolve
  })
  const page = url.then(visit)
  // A robot whose login was called off finds nobody to redirect to; tests that care await its page.
  page.catch(() => undefined)
  return { url, page, openBrowser: (shown) => opened(shown) }
}

const redirectOf = (url: URL): URL => new URL(url.searchParams.get('redirect_uri') ?? '')

const isIntrospection = (input: Parameters<typeof fetch>[0]): boolean =>
  typeof input === 'string' && input.includes('introspection')

async function listening(url: URL): Promise<boolean> {
  return fetch(url).then(
    () => true,
    () => false,
  )
}

describe('a login through the browser', () => {
  it('brings home the grant, and says so in the browser only then', async () => {
    const { openBrowser, page, url } = robot({ login: 'bob' })
    const before = Date.now()
    const answer = oauth(await loopbackFlow({ openBrowser }).run(grantRequest(provider, { resources })))
    expect(answer.resources).toEqual(resources)
    expect(answer.scopes).toEqual(['files:read', 'mail:read', 'offline_access', 'openid'])
    expect(answer.evidence).toBe('introspection')
    expect(answer.token).toMatchObject({
      tokenType: 'Bearer',
      scopes: ['files:read'],
      evidence: 'response',
      resource: resources[0],
      subject: 'bob',
      refreshExpiresAt: null,
    })
    expect(answer.token.expiresAt).toBeGreaterThanOrEqual(before + 299_000)
    expectNoSecret(answer, [answer.token.accessToken.reveal(), answer.token.refreshToken?.reveal() ?? 'none'])
    expect(await page).toMatchObject({ status: 200 })
    expect((await page).html).toContain('You are logged in')
    expect(await listening(redirectOf(await url))).toBe(false)
    expect(server.counts()).toMatchObject({ arrived: 1, token: { authorization_code: 1 } })
  })

  it('asks with PKCE, state, nonce and every resource', async () => {
    const { openBrowser, page, url } = robot()
    await loopbackFlow({ openBrowser }).run(grantRequest(provider, { resources }))
    await page
    const { searchParams } = await url
    expect(searchParams.getAll('resource')).toEqual(resources)
    expect(searchParams.get('code_challenge_method')).toBe('S256')
    expect(searchParams.get('prompt')).toBe('consent')
    expect(searchParams.get('scope')).toBe('openid offline_access files:read mail:read')
    for (const random of ['state', 'nonce', 'code_challenge']) expect(searchParams.get(random)).toMatch(/^[\w-]{43}$/)
    expect(redirectOf(await url)).toMatchObject({ hostname: '127.0.0.1', pathname: '/callback' })
  })

  it('reports fewer scopes when the person grants fewer', async () => {
    const { openBrowser } = robot({ scopesToReject: ['files:write'] })
    const scopes = [...(provider.scopes ?? []), 'files:write']
    const request = grantRequest(provider, { scopes, resources: resources.slice(0, 1) })
    const answer = oauth(await loopbackFlow({ openBrowser }).run(request))
    expect(answer).toMatchObject({ scopes: ['files:read', 'offline_access', 'openid'], evidence: 'response' })
  })

  it('asks the server what a grant over several resources covers', async () => {
    const { openBrowser } = robot({ scopesToReject: ['mail:read'] })
    const answer = oauth(await loopbackFlow({ openBrowser }).run(grantRequest(provider, { resources })))
    expect(answer).toMatchObject({ scopes: ['files:read', 'offline_access', 'openid'], evidence: 'introspection' })
  })

  it('assumes the rest of a grant over several resources when the server does not tell', async () => {
    const { openBrowser } = robot({ scopesToReject: ['files:read'] })
    const blind: typeof fetch = (input, init) =>
      isIntrospection(input) ? Promise.resolve(new Response('', { status: 403 })) : fetch(input, init)
    const answer = oauth(await loopbackFlow({ openBrowser }).run(grantRequest(provider, { resources, fetch: blind })))
    // About files:read the first token's scope is final: the provider's endpoints say it belongs to that resource.
    expect(answer).toMatchObject({ scopes: ['mail:read', 'offline_access', 'openid'], evidence: 'assumed' })
  })

  it('works on localhost too', async () => {
    const { openBrowser, url } = robot()
    const there: Provider = { ...provider, redirect: { host: 'localhost', path: '/auth/callback' } }
    const answer = await loopbackFlow({ openBrowser }).run(grantRequest(there))
    expect(answer.type).toBe('oauth')
    expect(redirectOf(await url)).toMatchObject({ hostname: 'localhost', pathname: '/auth/callback' })
  })

  it('goes on when the browser cannot be opened', async () => {
    const { openBrowser, page } = robot()
    const broken = (url: URL): never => {
      openBrowser(url)
      throw new Error('no browser here')
    }
    expect(await loopbackFlow({ openBrowser: broken }).run(grantRequest(provider))).toMatchObject({ type: 'oauth' })
    await page
  })
})

describe('a login that fails', () => {
  async function failing(
    visit: (url: URL) => Promise<FinalPage>,
    more: Parameters<typeof grantRequest>[1] = {},
    of: Provider = provider,
  ): Promise<{ error: unknown; page: FinalPage; url: URL }> {
    const browser = robot({}, visit)
    const error = await rejection(loopbackFlow({ openBrowser: browser.openBrowser }).run(grantRequest(of, more)))
    const url = await browser.url
    expect(await listening(redirectOf(url))).toBe(false)
    return { error, page: await browser.page, url }
  }

  /** Lets the robot log in, but changes the redirect on its way back. */
  const tampering =
    (change: (redirect: URL) => void) =>
    async (url: URL): Promise<FinalPage> => {
      const state = url.searchParams.get('state') ?? ''
      const redirect = redirectOf(url)
      redirect.searchParams.set('code', 'SECRET-CODE')
      redirect.searchParams.set('state', state)
      redirect.searchParams.set('iss', server.issuer)
      change(redirect)
      const response = await fetch(redirect)
      return { url: redirect, status: response.status, html: await response.text() }
    }

  it('says that the person said no', async () => {
    const { error, page } = await failing((url) => completeLogin(url, { deny: true }))
    const detail = { provider: 'demo', account: 'default', reason: 'denied' }
    expect(error).toMatchObject({ code: 'authorization_required', detail })
    expect(page.status).toBe(400)
    expect(page.html).toContain('the request was denied')
  })

  it('passes on another error of the redirect, escaped in the page', async () => {
    const visit = tampering(({ searchParams }) => {
      searchParams.set('error', 'invalid_scope')
      searchParams.set('error_description', '<img src=x onerror=alert(1)>')
    })
    const { error, page } = await failing(visit)
    expect(error).toMatchObject({ code: 'server_rejected', detail: { status: null, error: 'invalid_scope' } })
    expect(page.html).not.toContain('<img')
    expect(page.html).toContain('&#60;img')
  })

  it.each([
    [
      'another issuer (RFC 9207)',
      (url: URL) => url.searchParams.set('iss', 'https://evil'),
      'the redirect comes from another issuer',
    ],
    ['no issuer though the server sends it', (url: URL) => url.searchParams.delete('iss'), 'the redirect is malformed'],
    ['no code', (url: URL) => url.searchParams.delete('code'), 'the redirect is malformed'],
  ])('refuses a redirect with %s, and exchanges nothing', async (_, change, what) => {
    const { error, page } = await failing(tampering(change))
    expect(error).toMatchObject({ code: 'response_invalid', detail: { provider: 'demo', status: null, what } })
    expect(page.status).toBe(400)
    expect(server.counts().arrived).toBe(0)
    expectNoSecret(error, ['SECRET-CODE'])
  })

  it('says that the server refused the code', async () => {
    const { error, page } = await failing(tampering(() => undefined))
    expect(error).toMatchObject({ code: 'server_rejected', detail: { status: 400, error: 'invalid_grant' } })
    expect(page.html).toContain('The login failed')
    expectNoSecret(error, ['SECRET-CODE'])
  })

  it.each([
    ['html', 'response_invalid', { status: 200, what: 'the token endpoint answered with a web page' }],
    ['empty400', 'response_invalid', { status: 400 }],
    ['nothing', 'server_unavailable', { sent: true, cause: 'UND_ERR_SOCKET' }],
    ['lost', 'server_unavailable', { sent: true, cause: 'UND_ERR_SOCKET' }],
    [{ status: 503 }, 'server_unavailable', { status: 503, sent: true }],
    [{ status: 429, retryAfter: '2' }, 'server_unavailable', { status: 429, sent: true, retryAfterMs: 2000 }],
    [
      { status: 403, headers: { 'cf-mitigated': 'challenge', 'cf-ray': '8f-FRA' } },
      'edge_challenge',
      { ray: '8f-FRA' },
    ],
  ] as const)('tells what the token endpoint did: %j', async (fault, code, detail) => {
    server.fault(fault)
    const { error, page } = await failing(completeLogin)
    expect(error).toMatchObject({ code, detail })
    expect(page.html).toContain('The login failed')
  })

  it.each([
    ['no token type', { token_type: undefined }, 'its token_type is missing or malformed'],
    ['no ID token though asked for one', { id_token: undefined }, 'it does not follow the protocol'],
  ])('refuses an answer with %s', async (_, members, what) => {
    server.mutateResponse((body) => ({ ...body, ...members }))
    const { error } = await failing(completeLogin)
    expect(error).toMatchObject({ code: 'response_invalid', detail: { status: 200, what } })
  })

  it('says that a token endpoint nobody listens at got nothing', async () => {
    const metadata = { token_endpoint: `${await nobody()}/token`, authorization_endpoint: `${server.origin}/auth` }
    const { error } = await failing(completeLogin, {}, { ...provider, metadata })
    expect(error).toMatchObject({ code: 'server_unavailable', detail: { sent: false, cause: 'ECONNREFUSED' } })
  })

  it('finds no server before it listens or opens a browser', async () => {
    const openBrowser = (): never => {
      throw new Error('must not be opened')
    }
    const gone = { ...provider, issuer: await nobody() }
    const error = await rejection(loopbackFlow({ openBrowser }).run(grantRequest(gone)))
    expect(error).toMatchObject({ code: 'server_unavailable', detail: { sent: false } })
  })

  it('gives up when nobody comes', async () => {
    const { openBrowser, url } = robot({}, () => Promise.reject(new Error('nobody')))
    const flow = loopbackFlow({ openBrowser, timeoutMs: 20 })
    const error = await rejection(flow.run(grantRequest(provider)))
    expect(error).toMatchObject({ code: 'authorization_required', detail: { reason: 'timed_out' } })
    expect(await listening(redirectOf(await url))).toBe(false)
  })

  it('ends with the reason of its signal, while it waits and before it begins', async () => {
    const abort = new AbortController()
    const reason = new Error('never mind')
    const { openBrowser, url } = robot()
    const opening = (shown: URL): void => {
      openBrowser(shown)
      abort.abort(reason)
    }
    const request = grantRequest(provider, { signal: abort.signal })
    expect(await rejection(loopbackFlow({ openBrowser: opening }).run(request))).toBe(reason)
    expect(await listening(redirectOf(await url))).toBe(false)
    expect(await rejection(loopbackFlow().run(request))).toBe(reason)
  })

  it('says so when every redirect port is taken', async () => {
    const squatters = await Promise.all([squat(), squat()])
    const ports = squatters.map(({ port }) => port)
    const error = await rejection(loopbackFlow().run(grantRequest({ ...provider, redirect: { ports } })))
    expect(error).toMatchObject({
      code: 'redirect_unavailable',
      detail: { provider: 'demo', ports, errno: 'EADDRINUSE' },
    })
    const { openBrowser, url } = robot()
    await squatters[1].leave()
    await loopbackFlow({ openBrowser }).run(grantRequest({ ...provider, redirect: { ports } }))
    expect(redirectOf(await url).port).toBe(String(ports[1]))
    await squatters[0].leave()
  })
})

it('tells the browser of success only after the grant has been kept', async () => {
  const { openBrowser, page } = robot()
  let shown = false
  void page.then(() => {
    shown = true
  })
  const keep = async (): Promise<void> => {
    await fetch(`${server.origin}/.well-known/openid-configuration`)
    expect(shown).toBe(false)
  }
  await loopbackFlow({ openBrowser }).run(grantRequest(provider, { keep }))
  expect((await page).html).toContain('You are logged in')
})

it('tells the browser of a failure where the grant could not be kept', async () => {
  const { openBrowser, page } = robot()
  const full = new AuthkeepError('store_failed', { path: '/a/b', operation: 'write', errno: 'ENOSPC', unspent: true })
  const keep = (): Promise<void> => Promise.reject(full)
  expect(await rejection(loopbackFlow({ openBrowser }).run(grantRequest(provider, { keep })))).toBe(full)
  expect((await page).html).toContain('The login failed')
  expect((await page).html).toContain('ENOSPC')
})

async function squat(): Promise<{ port: number; leave: () => Promise<void> }> {
  const squatter = createServer((_request, response) => void response.writeHead(404).end())
  await new Promise<void>((resolve) => squatter.listen(0, '127.0.0.1', resolve))
  return {
    port: (squatter.address() as AddressInfo).port,
    leave: () => new Promise((resolve) => squatter.close(() => resolve())),
  }
}
