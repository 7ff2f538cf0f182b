import { inspect } from 'node:util'
import { decodeJwt } from 'jose'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { completeLogin } from '../../examples/server/robot.ts'
import { TokenBroker } from '../../src/broker/broker.ts'
import { type OAuthCredential, Secret } from '../../src/credential.ts'
import { dpopNonces } from '../../src/grant/dpop.ts'
import { loopbackFlow } from '../../src/grant/loopback.ts'
import type { Provider } from '../../src/provider.ts'
import { memoryBackend } from '../../src/store/backend.ts'
import { CredentialStore } from '../../src/store/store.ts'
import { type FullServer, startFullServer } from '../grant/full-server.ts'
import { type Answer, type Api, refuse, startApi } from './api.ts'

const key = { provider: 'demo', account: 'default' }
let server: FullServer
let api: Api
let answer: (nth: number) => Answer = () => ({ status: 200 })
let store: CredentialStore
let broker: TokenBroker

beforeEach(async () => {
  server = await startFullServer()
  api = await startApi((_, nth) => answer(nth))
  const provider: Provider = {
    ...server.person,
    dpop: 'required',
    scopes: ['openid', 'offline_access', 'files:read'],
    endpoints: [{ url: `${api.origin}/files`, scopes: ['files:read'], resource: server.resourceList[0] ?? '' }],
  }
  store = new CredentialStore(memoryBackend())
  broker = new TokenBroker({ store, providers: [provider] })
  await login()
})
afterEach(async () => {
  await broker.close()
  await Promise.all([server.stop(), api.stop()])
})

const login = (): Promise<unknown> =>
  broker.authorize({ provider: 'demo' }, loopbackFlow({ openBrowser: (url) => void completeLogin(url) }))
async function credential(): Promise<OAuthCredential> {
  const found = await store.read(key)
  if (found?.type !== 'oauth') throw new Error('no login')
  return found
}
const claims = (header: unknown): Record<string, unknown> => decodeJwt(String(header))
const url = (): string => `${api.origin}/files`

describe('a login that is bound to a key', () => {
  test('keeps the key with the refresh token, and shows neither', async () => {
    const { dpopKey } = await credential()
    expect(dpopKey?.jkt).toMatch(/^[\w-]{43}$/)
    const printed = [await credential(), await broker.getToken(url()), await store.list()]
      .flatMap((value) => [inspect(value, { depth: 9, showHidden: true }), JSON.stringify(value)])
      .join()
    const { d } = JSON.parse(dpopKey?.privateJwk.reveal() ?? '') as { d: string }
    expect(printed).not.toContain(d)
  })

  test('is refreshed with a proof of it, with the nonce that the server wants', async () => {
    server.requireNonce(true)
    await store.update(key, (current) => (current?.type === 'oauth' ? { ...current, tokens: [] } : undefined))
    const token = await broker.getToken(url())
    expect(token.type).toBe('DPoP')
    expect(server.counts()).toMatchObject({ reuse: 0 })
  })

  test('goes on with its key after another login', async () => {
    const before = (await credential()).dpopKey
    await login()
    expect((await credential()).dpopKey).toEqual(before)
  })

  test('proves each request anew, for its method and URL', async () => {
    await broker.fetch(`${url()}?page=1`)
    await broker.fetch(url(), { method: 'POST', body: 'x' })
    const proofs = api.arrivals.map(({ headers }) => claims(headers['dpop']))
    expect(proofs).toMatchObject([
      { htm: 'GET', htu: url() },
      { htm: 'POST', htu: url() },
    ])
    expect(new Set(proofs.map(({ jti }) => jti)).size).toBe(2)
    expect(api.arrivals[0]?.headers.authorization).toMatch(/^DPoP /)
  })

  test('uses the nonce that an API wants, once, and goes on with it', async () => {
    answer = (nth) =>
      nth === 1
        ? {
            ...refuse(401, 'DPoP error="use_dpop_nonce"'),
            headers: { 'www-authenticate': 'DPoP error="use_dpop_nonce"', 'dpop-nonce': 'n-1' },
          }
        : { status: 200 }
    expect((await broker.fetch(url())).status).toBe(200)
    await broker.fetch(url())
    expect(api.arrivals.map(({ headers }) => claims(headers['dpop'])['nonce'])).toEqual([undefined, 'n-1', 'n-1'])
    answer = () => refuse(401, 'DPoP error="use_dpop_nonce"')
    expect((await broker.fetch(url())).status).toBe(401)
    expect(api.arrivals.length).toBe(5)
    expect(dpopNonces.get(url())).toBe('n-1')
  })

  test('proves nothing without a request to prove', async () => {
    const token = await broker.getToken(url())
    await expect(token.headers()).rejects.toThrow(TypeError)
    await store.update(key, (current) => {
      if (current?.type !== 'oauth') return undefined
      const { dpopKey: _, ...unbound } = current
      return { ...unbound, tokens: current.tokens.map((one) => ({ ...one, accessToken: new Secret('x') })) }
    })
    const stray = await broker.getToken(url())
    await expect(stray.headers({ method: 'GET', url: url() })).rejects.toMatchObject({ code: 'not_supported' })
  })
})
