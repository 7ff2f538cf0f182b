import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { TokenBroker } from '../../src/broker/broker.ts'
import { type OAuthCredential, Secret } from '../../src/credential.ts'
import { clientCredentialsFlow } from '../../src/grant/client-credentials.ts'
import type { Provider } from '../../src/provider.ts'
import { memoryBackend } from '../../src/store/backend.ts'
import { CredentialStore } from '../../src/store/store.ts'
import { type FullServer, startFullServer } from '../grant/full-server.ts'

const key = { provider: 'service', account: 'default' }
const url = 'https://api.example/files'
const both = ['files:read', 'files:write']

let server: FullServer
let store: CredentialStore
let brokers: TokenBroker[]

beforeEach(async () => {
  server = await startFullServer()
  store = new CredentialStore(memoryBackend())
  brokers = []
})
afterEach(async () => {
  await Promise.all(brokers.map((one) => one.close()))
  await server.stop()
})

function broker(more: Partial<Provider> = {}, fetching: typeof fetch = fetch): TokenBroker {
  const endpoints = [{ url, scopes: ['files:read'], resource: server.resourceList[0] ?? '' }]
  const provider: Provider = { ...server.service, refresh: {}, endpoints, ...more }
  const made = new TokenBroker({ store, providers: [provider], fetch: fetching })
  brokers.push(made)
  return made
}

/** A service that has been given both scopes. */
async function obtained(by: TokenBroker, change: (entry: OAuthCredential) => OAuthCredential): Promise<void> {
  const resource = server.resourceList[0] ?? ''
  await by.authorize({ provider: 'service', scopes: both, resource }, clientCredentialsFlow())
  await store.update(key, (current) => (current?.type === 'oauth' ? change(current) : undefined))
  server.reset()
}
const withoutTokens = (entry: OAuthCredential): OAuthCredential => ({ ...entry, tokens: [] })
const counted = (): Readonly<Record<string, number>> => server.counts().token

describe('a client that obtains tokens by itself', () => {
  test('asks again for what is needed, once for all callers', async () => {
    const service = broker()
    await obtained(service, withoutTokens)
    const tokens = await Promise.all(Array.from({ length: 100 }, () => service.getToken(url)))
    expect(new Set(tokens.map((token) => token.reveal())).size).toBe(1)
    expect(tokens[0]?.scopes).toEqual(['files:read'])
    expect(counted()).toEqual({ client_credentials: 1 })
    expect(await broker().getToken(url)).toMatchObject({ scopes: ['files:read'] })
    expect(counted()).toEqual({ client_credentials: 1 })
  })

  test('asks again after a refusal of its token', async () => {
    const service = broker()
    await obtained(service, (entry) => entry)
    const refused = (await service.getToken(url)).reveal()
    const other = await service.getToken(url, { rejected: refused })
    expect(other.reveal()).not.toBe(refused)
  })

  test('hears of a server that is down, and loses nothing', async () => {
    const service = broker()
    await obtained(service, withoutTokens)
    server.fault({ status: 503 })
    await expect(service.getToken(url)).rejects.toMatchObject({ code: 'server_unavailable' })
    expect((await service.getToken(url)).scopes).toEqual(['files:read'])
  })

  test('is told what it was never given before anything is sent', async () => {
    const service = broker()
    await obtained(service, withoutTokens)
    const resource = server.resourceList[0] ?? ''
    await expect(service.getToken({ provider: 'service', scopes: ['mail:read'], resource })).rejects.toMatchObject({
      code: 'scope_missing',
    })
    expect(counted()).toEqual({})
  })
})

describe('a server that exchanges tokens', () => {
  const exchange = 'urn:ietf:params:oauth:grant-type:token-exchange'
  /** As a login that has only its wide token. */
  const wideOnly = ({ grant, ...entry }: OAuthCredential): OAuthCredential => {
    const { reissue: _, ...rest } = grant
    return { ...entry, grant: rest }
  }

  test('gives a narrower token for a wider one, which stays', async () => {
    const service = broker({ tokenExchange: true })
    await obtained(service, wideOnly)
    const token = await service.getToken(url)
    expect(token.scopes).toEqual(['files:read'])
    expect(counted()).toEqual({ [exchange]: 1 })
    expect((await service.getToken(url)).reveal()).toBe(token.reveal())
    const resource = token.resource ?? ''
    expect((await service.getToken({ provider: 'service', scopes: both, resource })).scopes).toEqual(both)
    expect(counted()).toEqual({ [exchange]: 1 })
  })

  test('and fails: the wider token is handed out, labelled, where it is allowed', async () => {
    const service = broker({ tokenExchange: true })
    await obtained(service, wideOnly)
    server.fault({ status: 503 }, { status: 503 })
    await expect(service.getToken(url, { allowWider: false })).rejects.toMatchObject({ code: 'server_unavailable' })
    expect((await service.getToken(url)).scopes).toEqual(both)
  })

  test('is not asked with a token that is refused or expired', async () => {
    const service = broker({ tokenExchange: true })
    await obtained(service, (entry) => ({
      ...wideOnly(entry),
      tokens: entry.tokens.map((token) => ({ ...token, accessToken: new Secret('old'), expiresAt: 1 })),
    }))
    await expect(service.getToken(url)).rejects.toMatchObject({ detail: { reason: 'no_refresh_token' } })
    expect(counted()).toEqual({})
  })
})
