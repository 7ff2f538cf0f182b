import { afterEach, describe, expect, it } from 'vitest'
import { Secret } from '../../src/credential.ts'
import { apiKeyFlow } from '../../src/grant/api-key.ts'
import { deviceFlow } from '../../src/grant/device-code.ts'
import { loopbackFlow } from '../../src/grant/loopback.ts'
import { pasteFlow } from '../../src/grant/paste.ts'
import type { KeyLogin, Provider } from '../../src/provider.ts'
import { parseProvider } from '../../src/provider-files.ts'
import { anthropic } from '../../src/providers/anthropic.ts'
import { github } from '../../src/providers/github.ts'
import { google } from '../../src/providers/google.ts'
import { openai } from '../../src/providers/openai.ts'
import { openrouter } from '../../src/providers/openrouter.ts'
import { rejection } from '../grant/setup.ts'
import { createSigner } from './signer.ts'
import { type Asked, challengeOf, type Desk, movedTo, openDesk, simulate, visit } from './simulated.ts'

let server: Awaited<ReturnType<typeof simulate>>
let desk: Desk
afterEach(async () => {
  await desk.close()
  await server.stop()
})

const lastTo = (path: string): Asked | undefined => server.asked.findLast(({ url }) => url.pathname === path)
const browser = loopbackFlow({ openBrowser: visit })

describe.each([
  [openai, 'api.openai.com', '/v1/models', { authorization: 'Bearer sk-1' }, 'x-api-key'],
  [
    anthropic,
    'api.anthropic.com',
    '/v1/messages',
    { 'x-api-key': 'sk-1', 'anthropic-version': '2023-06-01' },
    'authorization',
  ],
] as const)('%o with an API key', (make, host, path, headers, absent) => {
  it('sends it in the header that the API reads', async () => {
    server = await simulate({ [`GET ${path}`]: () => [200, {}] })
    const provider = await movedTo(server.origin, make(), [host])
    desk = await openDesk(provider)
    await desk.broker.authorize({ provider: provider.id }, apiKeyFlow({ key: 'sk-1' }))
    expect((await desk.broker.fetch(`${server.origin}${path}`)).status).toBe(200)
    expect(lastTo(path)?.request.headers).toMatchObject(headers)
    expect(lastTo(path)?.request.headers).not.toHaveProperty(absent)
  })
})

it('anthropic: a static token goes as a bearer token', async () => {
  server = await simulate({ 'GET /v1/messages': () => [200, {}] })
  desk = await openDesk(await movedTo(server.origin, anthropic(), ['api.anthropic.com']))
  const token = new Secret('st-1')
  await desk.store.update({ provider: 'anthropic', account: 'default' }, () => ({
    ...{ type: 'token', provider: 'anthropic', account: 'default', token, expiresAt: null },
  }))
  await desk.broker.fetch(`${server.origin}/v1/messages`)
  expect(lastTo('/v1/messages')?.request.headers).toMatchObject({ authorization: 'Bearer st-1' })
  expect(lastTo('/v1/messages')?.request.headers).not.toHaveProperty('x-api-key')
})

describe('openrouter', () => {
  /** Sends the browser back with a code and nothing else, and gives a key for the code and its verifier. */
  async function open(): Promise<Provider> {
    let challenge: string | null = null
    server = await simulate({
      'GET /auth': ({ url }) => {
        challenge = url.searchParams.get('code_challenge')
        const back = new URL(url.searchParams.get('callback_url') ?? '')
        back.searchParams.set('code', 'c-1')
        return back
      },
      'POST /api/v1/auth/keys': ({ members, type }) => {
        const isRight = members['code'] === 'c-1' && challengeOf(members['code_verifier']) === challenge
        if (type !== 'application/json' || !isRight) return [403, { error: { message: 'No.', code: 403 } }]
        return [200, { key: 'sk-or-1', user_id: 'u' }]
      },
      'GET /api/v1/models': () => [200, {}],
    })
    const provider = await movedTo(server.origin, openrouter(), ['openrouter.ai'])
    desk = await openDesk(provider)
    return provider
  }

  it('gets an API key from a login in a browser', async () => {
    await open()
    await desk.broker.authorize({ provider: 'openrouter' }, browser)
    expect([...(lastTo('/auth')?.url.searchParams.keys() ?? [])].sort()).toEqual([
      ...['callback_url', 'code_challenge', 'code_challenge_method'],
    ])
    expect(Object.keys(lastTo('/api/v1/auth/keys')?.members ?? {}).sort()).toEqual([
      ...['code', 'code_challenge_method', 'code_verifier'],
    ])
    expect(await desk.store.list()).toMatchObject([{ type: 'api_key', provider: 'openrouter' }])
    await desk.broker.fetch(`${server.origin}/api/v1/models`)
    expect(lastTo('/api/v1/models')?.request.headers).toMatchObject({ authorization: 'Bearer sk-or-1' })
  })

  it('takes no other redirect for its own, although no state comes back', async () => {
    await open()
    const strays: number[] = []
    const openBrowser = async (url: URL): Promise<void> => {
      const { href, origin } = new URL(url.searchParams.get('callback_url') ?? '')
      for (const stray of [`${origin}/callback?code=c-2`, `${href}x?code=c-2`]) strays.push((await fetch(stray)).status)
      await visit(url)
    }
    await desk.broker.authorize({ provider: 'openrouter' }, loopbackFlow({ openBrowser }))
    expect(strays).toEqual([404, 404])
    expect(await desk.store.list()).toMatchObject([{ type: 'api_key' }])
  })

  it.each([(uri: URL) => uri.href, (uri: URL) => uri.searchParams.get('code') ?? ''])(
    'takes what the browser of another machine ended with, pasted',
    async (pasted) => {
      await open()
      const prompt = async (url: URL): Promise<string> => {
        const response = await fetch(url, { redirect: 'manual' })
        return pasted(new URL(response.headers.get('location') ?? ''))
      }
      await desk.broker.authorize({ provider: 'openrouter' }, pasteFlow({ prompt }))
      expect(await desk.store.list()).toMatchObject([{ type: 'api_key' }])
    },
  )

  it('stores nothing where the code is not ours', async () => {
    await open()
    const pasted = pasteFlow({ prompt: async () => 'c-of-somebody-else' })
    const failed = await rejection(desk.broker.authorize({ provider: 'openrouter' }, pasted))
    expect(failed).toMatchObject({ code: 'response_invalid', detail: { status: 403 } })
    expect(JSON.stringify(failed)).not.toContain('c-of-somebody-else')
    expect(await desk.store.list()).toEqual([])
  })

  it('has no login on another device, and says which there are', async () => {
    await open()
    const failed = await rejection(
      desk.broker.authorize({ provider: 'openrouter' }, deviceFlow({ show: () => undefined })),
    )
    expect(failed).toMatchObject({ code: 'flow_unavailable', detail: { alternatives: ['paste', 'browser'] } })
  })
})

describe('a login that brings an API key, at another server', () => {
  const keyLogin: KeyLogin = { members: { key: ['api_token'], code: ['ticket'] } }

  async function open(state?: string): Promise<void> {
    server = await simulate({
      'GET /authorize': ({ url }) => {
        const back = new URL(url.searchParams.get('redirect_uri') ?? '')
        const sent = state ?? url.searchParams.get('state') ?? ''
        back.search = new URLSearchParams({ ticket: 't-1', state: sent }).toString()
        return back
      },
      'POST /token': ({ members, type }) => {
        if (type !== 'application/x-www-form-urlencoded' || members['ticket'] !== 't-1') return [400, {}]
        return [200, { api_token: 'k-1' }]
      },
    })
    const [issuer, endpoint] = [server.origin, `${server.origin}/api`]
    const metadata = { authorization_endpoint: `${issuer}/authorize`, token_endpoint: `${issuer}/token` }
    const endpoints = [{ url: endpoint, accepts: ['api_key'] }]
    desk = await openDesk(
      await parseProvider({ id: 'acme', issuer, metadata, client: { id: 'cli' }, scopes: ['a'], keyLogin, endpoints }),
    )
  }

  it('sends all that RFC 6749 asks for unless it is left out, in a form', async () => {
    await open()
    await desk.broker.authorize({ provider: 'acme' }, browser)
    expect([...(lastTo('/authorize')?.url.searchParams.keys() ?? [])].sort()).toEqual([
      ...['client_id', 'code_challenge', 'code_challenge_method', 'redirect_uri', 'response_type', 'scope', 'state'],
    ])
    expect(Object.keys(lastTo('/token')?.members ?? {}).sort()).toEqual([
      ...['client_id', 'code_verifier', 'grant_type', 'redirect_uri', 'ticket'],
    ])
    expect((await desk.broker.getToken(`${server.origin}/api`)).reveal()).toBe('k-1')
  })

  it('refuses the redirect of another login', async () => {
    await open('of another')
    const prompt = async (url: URL): Promise<string> =>
      (await fetch(url, { redirect: 'manual' })).headers.get('location') ?? ''
    const failed = await rejection(desk.broker.authorize({ provider: 'acme' }, pasteFlow({ prompt })))
    expect(failed).toMatchObject({ code: 'response_invalid' })
    expect(lastTo('/token')).toBeUndefined()
  })
})

describe('github', () => {
  it('logs in on another device, and refreshes, with errors that come as successes', async () => {
    const polls: [number, unknown][] = [
      [200, { error: 'authorization_pending', error_description: 'Not yet.' }],
      [200, { error: 'slow_down', interval: 10 }],
    ]
    let refreshToken = ''
    let count = 0
    const issue = (): [number, unknown] => {
      refreshToken = `ghr_${++count}`
      const tokens = { access_token: `ghu_${count}`, refresh_token: refreshToken, token_type: 'bearer', scope: '' }
      return [200, { ...tokens, expires_in: 28_800, refresh_token_expires_in: 15_897_600 }]
    }
    const isJson = ({ request }: Asked): boolean => request.headers.accept === 'application/json'
    server = await simulate({
      'POST /login/device/code': (asked) => {
        if (!isJson(asked)) return [406, {}]
        const verification_uri = `${server.origin}/login/device`
        return [
          200,
          {
            device_code: '3584d83530557fdd1f46af8289938c8ef79f9dc5',
            user_code: 'ABCD-1234',
            verification_uri,
            expires_in: 900,
            interval: 5,
          },
        ]
      },
      'POST /login/oauth/access_token': (asked) => {
        if (!isJson(asked) || asked.members['client_id'] !== 'Iv1.mine') return [406, {}]
        if (asked.members['grant_type'] !== 'refresh_token') return polls.shift() ?? issue()
        return asked.members['refresh_token'] === refreshToken ? issue() : [200, { error: 'bad_refresh_token' }]
      },
      'GET /user': () => [200, {}],
    })
    const provider = github({ client: { id: 'Iv1.mine' } })
    desk = await openDesk(await movedTo(server.origin, provider, ['github.com', 'api.github.com']))
    const waits: number[] = []
    const flow = deviceFlow({ show: () => undefined, sleep: async (ms) => void waits.push(ms) })
    await desk.broker.authorize({ provider: 'github' }, flow)
    expect(waits).toEqual([5000, 5000, 10_000])
    expect(lastTo('/login/device/code')?.members).toEqual({ client_id: 'Iv1.mine' })
    const call = () => desk.broker.fetch(`${server.origin}/user`)
    await call()
    expect(lastTo('/user')?.request.headers).toMatchObject({ authorization: 'Bearer ghu_1' })
    await desk.expire()
    await call()
    expect(lastTo('/user')?.request.headers).toMatchObject({ authorization: 'Bearer ghu_2' })
    expect(lastTo('/login/oauth/access_token')?.members).not.toHaveProperty('scope')
    await desk.expire()
    refreshToken = 'another'
    expect(await rejection(call())).toMatchObject({ code: 'grant_revoked' })
  })
})

it('github: the scopes of an OAuth App come with commas between them', async () => {
  server = await simulate({
    'POST /login/device/code': () => {
      const verification_uri = `${server.origin}/login/device`
      return [200, { device_code: '3584d83530557fdd', user_code: 'ABCD-1234', verification_uri, expires_in: 900 }]
    },
    'POST /login/oauth/access_token': () => [200, { access_token: 'gho_1', token_type: 'bearer', scope: 'gist,repo' }],
  })
  const provider = { ...github({ client: { id: 'Ov2.mine' } }), scopes: ['repo', 'gist'] }
  desk = await openDesk(await movedTo(server.origin, provider, ['github.com', 'api.github.com']))
  const flow = deviceFlow({ show: () => undefined, sleep: () => Promise.resolve() })
  await desk.broker.authorize({ provider: 'github' }, flow)
  expect(lastTo('/login/device/code')?.members).toEqual({ client_id: 'Ov2.mine', scope: 'gist repo' })
  expect(await desk.store.list()).toMatchObject([{ scopes: ['gist', 'repo'] }])
})

describe('google', () => {
  it('logs in with the secret that is none, and refreshes with the token that stays', async () => {
    const signer = await createSigner()
    const client = { id: 'mine.apps.googleusercontent.com', secret: 'GOCSPX-1' }
    const email = 'https://www.googleapis.com/auth/userinfo.email'
    let login = new URLSearchParams()
    let count = 0
    server = await simulate({
      'GET /.well-known/openid-configuration': () => {
        const at = (path: string): string => `${server.origin}${path}`
        return [
          200,
          {
            ...{ issuer: server.origin, authorization_endpoint: at('/o/oauth2/v2/auth'), token_endpoint: at('/token') },
            ...{ revocation_endpoint: at('/revoke'), jwks_uri: at('/oauth2/v3/certs') },
            token_endpoint_auth_methods_supported: ['client_secret_post', 'client_secret_basic'],
          },
        ]
      },
      'GET /oauth2/v3/certs': () => [200, signer.jwks],
      'GET /o/oauth2/v2/auth': ({ url }) => {
        login = url.searchParams
        const back = new URL(login.get('redirect_uri') ?? '')
        back.search = new URLSearchParams({ code: '4/c', state: login.get('state') ?? '', scope: 'x' }).toString()
        return back
      },
      'POST /token': async ({ members }) => {
        if (members['client_secret'] !== client.secret) return [401, { error: 'invalid_client' }]
        const token = { access_token: `ya29.${++count}`, token_type: 'Bearer', expires_in: 3599 }
        if (members['grant_type'] === 'refresh_token')
          return members['refresh_token'] === '1//r' ? [200, { ...token, scope: `openid ${email}` }] : [400, {}]
        const id_token = await signer.idToken(server.origin, client.id, { nonce: login.get('nonce') })
        return [200, { ...token, scope: `${email} openid`, id_token, refresh_token: '1//r' }]
      },
      'POST /revoke': () => [200, {}],
      'GET /drive/v3/about': () => [200, {}],
    })
    const moved = await movedTo(server.origin, google({ client }), ['accounts.google.com', '*.googleapis.com'])
    desk = await openDesk(moved)
    await desk.broker.authorize({ provider: 'google' }, browser)
    expect(Object.fromEntries(login)).toMatchObject({ access_type: 'offline', prompt: 'consent', client_id: client.id })
    const call = () => desk.broker.fetch(`${server.origin}/drive/v3/about`)
    await call()
    expect(lastTo('/drive/v3/about')?.request.headers).toMatchObject({ authorization: 'Bearer ya29.1' })
    for (let round = 0; round < 2; round++) {
      await desk.expire()
      expect((await call()).status).toBe(200)
      expect(lastTo('/token')?.members).toMatchObject({ grant_type: 'refresh_token', refresh_token: '1//r' })
    }
    expect(await desk.broker.revoke({ provider: 'google', account: 'default' })).toEqual({ revoked: true })
  })
})
