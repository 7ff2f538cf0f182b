import { expect, test } from 'vitest'
import { TokenBroker } from '../../src/broker/broker.ts'
import { type ApiKeyCredential, Secret } from '../../src/credential.ts'
import type { Provider } from '../../src/provider.ts'
import { memoryBackend, type StoreBackend } from '../../src/store/backend.ts'
import { CredentialStore } from '../../src/store/store.ts'
import { setStage } from './stage.ts'

const url = 'https://api.example.com/v1'
const provider: Provider = {
  ...{ id: 'acme', issuer: 'https://login.example.com', client: { id: 'acme' } },
  endpoints: [{ url, accepts: ['api_key'] }],
}
const credential: ApiKeyCredential = {
  ...{ type: 'api_key', provider: 'acme', account: 'default' },
  key: new Secret('of the person'),
}

function brokerOn(backend: StoreBackend): TokenBroker {
  return new TokenBroker({ store: new CredentialStore(backend), providers: [provider], environment: {} })
}

async function storeIn(backend: StoreBackend): Promise<void> {
  await new CredentialStore(backend).update(credential, () => credential)
}

test('1000 callers at once look at the store as often as one', async () => {
  const backend = memoryBackend()
  await storeIn(backend)
  const read = backend.read.bind(backend)
  let looks = 0
  backend.read = (name) => {
    looks++
    return read(name)
  }
  await brokerOn(backend).getToken(url)
  const ofOne = looks
  const broker = brokerOn(backend)
  looks = 0
  await Promise.all(Array.from({ length: 1_000 }, () => broker.getToken(url)))
  expect(looks).toBe(ofOne)
})

test('who asks while another one looks sees what was stored in between', async () => {
  const backend = memoryBackend()
  const keys = backend.keys.bind(backend)
  let answer: (names: readonly string[]) => void = () => undefined
  const looking = new Promise<void>((resolve) => {
    backend.keys = () => {
      backend.keys = keys
      resolve()
      return new Promise((later) => (answer = later))
    }
  })
  const broker = brokerOn(backend)
  const early = broker.getToken(url)
  await looking
  await storeIn(backend)
  expect((await broker.getToken(url)).reveal()).toBe('of the person')
  answer([])
  await expect(early).rejects.toMatchObject({ code: 'authorization_required' })
})

test('what was asked for before the broker was closed is handed out', async () => {
  const backend = memoryBackend()
  await storeIn(backend)
  const broker = brokerOn(backend)
  const [token] = await Promise.all([broker.getToken(url), broker.close()])
  expect(token.reveal()).toBe('of the person')
  await expect(broker.getToken(url)).rejects.toThrow(TypeError)
})

test('1000 callers over 8 resources: all served, by 8 refreshes, one after the other', async () => {
  const paths = Array.from({ length: 8 }, (_, n) => `/api-${n}`)
  const stage = await setStage({
    resources: Object.fromEntries(paths.map((path) => [path, [`${path.slice(1)}:read`]])),
  })
  try {
    const { origin } = stage.server
    const endpoints = paths.map((path) => ({
      url: `${origin}${path}`,
      scopes: [`${path.slice(1)}:read`],
      resource: `${origin}${path}`,
    }))
    const scopes = ['openid', 'offline_access', ...endpoints.flatMap((endpoint) => endpoint.scopes)]
    const broker = stage.newBroker({ providers: [{ ...stage.provider, scopes, endpoints }] })
    await stage.login(broker)
    await stage.expire()
    stage.server.reset()
    stage.server.setTokenDelay(20)
    const tokens = await Promise.all(
      Array.from({ length: 1_000 }, (_, n) => broker.getToken(`${origin}${paths[n % 8] ?? ''}`)),
    )
    for (const [n, token] of tokens.entries()) expect(token.scopes).toEqual([`api-${n % 8}:read`])
    expect(new Set(tokens.map((token) => token.reveal())).size).toBe(8)
    expect(stage.server.counts()).toMatchObject({
      ...{ arrived: 8, token: { refresh_token: 8 }, inFlightMax: 1, reuse: 0, revoked: 0 },
    })
  } finally {
    await stage.stop()
  }
})
