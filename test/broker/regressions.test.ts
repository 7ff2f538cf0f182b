import { EventEmitter, once } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { TokenBroker } from '../../src/broker/broker.ts'
import { fingerprint, type OAuthCredential, Secret } from '../../src/credential.ts'
import { AuthkeepError } from '../../src/errors.ts'
import type { GrantFlow } from '../../src/grant/flow.ts'
import { thisOwner } from '../../src/owner.ts'
import type { Provider } from '../../src/provider.ts'
import { memoryBackend } from '../../src/store/backend.ts'
import { fileBackend } from '../../src/store/file.ts'
import { CredentialStore, openStore } from '../../src/store/store.ts'
import { expired, key, type Stage, setStage } from './stage.ts'

const issuer = 'https://as.example'

/** Nothing but a refresh token: the first request has to refresh. */
function refreshable(provider: string): OAuthCredential {
  return {
    ...{ type: 'oauth', provider, account: 'me', issuer, clientId: 'cli', subject: null, tokens: [], lease: null },
    grant: {
      ...{ scopes: [], evidence: 'assumed', resources: [], refreshExpiresAt: null, generation: 0, obtainedAt: 0 },
      ...{ refreshToken: new Secret(`refresh-${provider}`), state: 'live', replays: 0 },
    },
  }
}

async function storeOf(...credentials: readonly OAuthCredential[]): Promise<CredentialStore> {
  const store = await openStore({ backend: memoryBackend() })
  for (const credential of credentials) await store.update(credential, () => credential)
  return store
}

describe('without a server', () => {
  test('two providers of one issuer each use their own token endpoint', async () => {
    const hosts: string[] = []
    const provider = (id: string): Provider => ({
      ...{ id, issuer, client: { id: 'cli' }, metadata: { token_endpoint: `https://${id}.example/token` } },
      endpoints: [{ url: `https://api.example/${id}` }],
    })
    const broker = new TokenBroker({
      store: await storeOf(refreshable('first'), refreshable('second')),
      providers: [provider('first'), provider('second')],
      async fetch(input, init) {
        hosts.push(new URL(new Request(input, init).url).host)
        return Response.json({ error: 'invalid_client' }, { status: 401 })
      },
    })
    for (const id of ['first', 'second']) {
      await expect(broker.getToken({ provider: id })).rejects.toMatchObject({ code: 'server_rejected' })
    }
    expect(hosts).toEqual(['first.example', 'second.example'])
    await broker.close()
  })

  test('metadata without a token endpoint is an answer that cannot be used', async () => {
    const broker = new TokenBroker({
      store: await storeOf(refreshable('acme')),
      providers: [{ id: 'acme', issuer, client: { id: 'cli' } }],
      fetch: async () => Response.json({ issuer, authorization_endpoint: `${issuer}/authorize` }),
    })
    const caught = await broker.getToken({ provider: 'acme' }).catch((thrown: unknown) => thrown)
    expect(caught).toBeInstanceOf(AuthkeepError)
    expect(caught).toMatchObject({ code: 'response_invalid' })
    await broker.close()
  })

  test('a fetch whose signal is aborted already rejects, and leaves no rejection that nobody handles', async () => {
    const unhandled: unknown[] = []
    const note = (reason: unknown): void => void unhandled.push(reason)
    process.on('unhandledRejection', note)
    try {
      const url = 'https://api.example/files'
      const provider: Provider = { id: 'acme', issuer, client: { id: 'cli' }, endpoints: [{ url }] }
      const broker = new TokenBroker({ store: await storeOf(), providers: [provider] })
      await expect(broker.fetch(url, { signal: AbortSignal.abort() })).rejects.toMatchObject({ name: 'AbortError' })
      for (let turns = 0; turns < 10; turns++) await turn()
      expect(unhandled).toEqual([])
      await broker.close()
    } finally {
      process.off('unhandledRejection', note)
    }
  })
})

describe('with a person logged in', () => {
  let stage: Stage
  beforeEach(async () => {
    stage = await setStage()
    await stage.login()
    stage.server.reset()
  })
  afterEach(() => stage.stop())

  /** The tokens for files expire, the others live on. */
  async function expireFiles(): Promise<void> {
    await stage.store.update(key, (current) => {
      const after = expired(current)
      if (current?.type !== 'oauth' || after?.type !== 'oauth') return undefined
      const tokens = current.tokens.map((token, index) =>
        token.scopes.includes('files:read') ? after.tokens[index]! : token,
      )
      return { ...current, tokens }
    })
  }

  /** A store on the same file whose third commit, the one of the successor, and all after it fail until `heal`. */
  function storeLosingSuccessors(): { store: CredentialStore; heal: () => void } {
    const backend = fileBackend({ path: stage.path })
    const commit = backend.commit.bind(backend)
    let count = 0
    let isHealed = false
    backend.commit = async (changes) => {
      if (++count < 3 || isHealed) return commit(changes)
      throw new AuthkeepError('store_failed', { path: 'x', operation: 'write', errno: 'ENOSPC', unspent: true })
    }
    return { store: new CredentialStore(backend), heal: () => void (isHealed = true) }
  }

  test('a claim on a stale look does not spend a token that has come into doubt meanwhile', async () => {
    await stage.broker.getToken(stage.urls.files)
    await stage.broker.getToken(stage.urls.mail)
    await expireFiles()
    const events = new EventEmitter()
    const discovering = once(events, 'discovering')
    const goOn = once(events, 'go on')
    const slow = stage.newBroker({
      async fetch(input, init) {
        if (new Request(input, init).method === 'GET') {
          events.emit('discovering')
          await goOn
        }
        return fetch(input, init)
      },
    })
    const late = slow.getToken(stage.urls.files).catch((thrown: unknown) => thrown)
    await discovering
    stage.server.reset()
    stage.server.fault('lost')
    await expect(stage.broker.getToken(stage.urls.files)).rejects.toMatchObject({ code: 'server_unavailable' })
    expect((await stage.credential()).grant.state).toBe('in_doubt')
    events.emit('go on')
    expect(await late).toBeInstanceOf(AuthkeepError)
    expect(stage.server.counts()).toMatchObject({ arrived: 1, reuse: 0 })
    expect((await stage.credential()).grant).toMatchObject({ state: 'in_doubt', replays: 0 })
  })

  test('endpoints that differ in their headers only do not share a flight', async () => {
    const files = stage.provider.endpoints!.find(({ url }) => url === stage.urls.files)!
    const urls = ['one', 'two'].map((name) => `${stage.api.origin}/${name}`)
    const added = urls.map((url) => ({ ...files, url, headers: { 'x-which': url } }))
    const provider = { ...stage.provider, endpoints: [...stage.provider.endpoints!, ...added] }
    await stage.expire()
    const broker = stage.newBroker({ providers: [provider] })
    const tokens = await Promise.all(urls.map((url) => broker.getToken(url)))
    const headers = await Promise.all(tokens.map((token) => token.headers()))
    expect(headers.map((each) => each['x-which'])).toEqual(urls)
    expect(stage.server.counts().token['refresh_token']).toBe(1)
  })

  test('close does not wait for a lease of somebody else', async () => {
    await stage.expire()
    const { grant } = await stage.credential()
    const lease = {
      ...{ id: 'theirs', ms: 20_000, claimedAt: Date.now(), sentAt: null },
      owner: { ...thisOwner(), host: 'elsewhere', instance: 'theirs' },
      token: fingerprint(grant.refreshToken!),
    }
    await stage.store.update(key, (current) => (current?.type === 'oauth' ? { ...current, lease } : undefined))
    const waiting = vi.spyOn(stage.store, 'waitForChange')
    const broker = stage.newBroker()
    const answer = broker.getToken(stage.urls.files).catch((thrown: unknown) => thrown)
    await vi.waitFor(() => expect(waiting).toHaveBeenCalled())
    const startedAt = performance.now()
    await broker.close()
    expect(performance.now() - startedAt).toBeLessThan(5_000)
    expect(await answer).toBeInstanceOf(TypeError)
    expect(stage.server.counts().arrived).toBe(0)
    expect((await stage.credential()).lease?.id).toBe('theirs')
  })

  test('an answer with neither a token nor a successor leaves a doubt', async () => {
    await stage.broker.getToken(stage.urls.files)
    await stage.broker.getToken(stage.urls.mail)
    await expireFiles()
    stage.server.reset()
    stage.server.mutateResponse(() => ({}))
    await expect(stage.broker.getToken(stage.urls.files)).rejects.toMatchObject({ code: 'response_invalid' })
    const { grant, lease } = await stage.credential()
    expect([grant.state, lease]).toEqual(['in_doubt', null])
    stage.server.mutateResponse(null)
    await expect(stage.broker.getToken(stage.urls.files)).rejects.toBeInstanceOf(AuthkeepError)
    expect(stage.server.counts().reuse).toBe(0)
  })

  test('a login of the same person that brings no refresh token keeps the stored one', async () => {
    const { grant, subject } = await stage.credential()
    const { scopes, resources } = grant
    const flow: GrantFlow = {
      name: 'without a refresh token',
      run: async () => ({
        ...{ type: 'oauth', scopes, evidence: 'response', resources },
        token: {
          ...{ accessToken: new Secret('another'), tokenType: 'Bearer', scopes, evidence: 'response', resource: null },
          ...{ refreshToken: null, refreshExpiresAt: null, idToken: null, subject },
          ...{ obtainedAt: Date.now(), expiresAt: Date.now() + 3_600_000 },
        },
      }),
    }
    await stage.broker.authorize({ provider: 'demo' }, flow)
    expect((await stage.credential()).grant.refreshToken?.reveal()).toBe(grant.refreshToken!.reveal())
  })

  test('a living token is served while a successor cannot be saved', async () => {
    const living = await stage.broker.getToken(stage.urls.files)
    stage.server.reset()
    const { store, heal } = storeLosingSuccessors()
    const broker = stage.newBroker({ store })
    const forLong = { minTtlMs: 24 * 3_600_000 }
    for (let call = 0; call < 2; call++) {
      expect((await broker.getToken(stage.urls.files, forLong)).reveal()).toBe(living.reveal())
    }
    expect(stage.server.counts().token['refresh_token']).toBe(1)
    heal()
    await broker.close()
  })

  test('a lease whose successor is only in memory is not taken for abandoned by another broker', async () => {
    await stage.expire()
    const { store, heal } = storeLosingSuccessors()
    const broker = stage.newBroker({ store })
    await expect(broker.getToken(stage.urls.files)).rejects.toMatchObject({
      code: 'store_failed',
      detail: { unspent: false },
    })
    const waiting = vi.spyOn(stage.store, 'waitForChange')
    const other = stage.broker.getToken(stage.urls.files)
    await vi.waitFor(() => expect(waiting).toHaveBeenCalled())
    expect((await stage.credential()).grant.state).toBe('live')
    heal()
    expect((await other).scopes).toEqual(['files:read'])
    expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 2 }, reuse: 0 })
    await broker.close()
  })

  test('the time-out of a refresh holds with a fetch that ignores its signal', async () => {
    await stage.expire()
    const broker = stage.newBroker({
      timing: { leaseMs: 10_000, httpTimeoutMs: 100, commitAllowanceMs: 1_000 },
      fetch: (input, init) =>
        new Request(input, init).method === 'POST' ? new Promise(() => undefined) : fetch(input, init),
    })
    await expect(broker.getToken(stage.urls.files)).rejects.toMatchObject({
      code: 'server_unavailable',
      detail: { sent: true },
    })
    const { grant, lease } = await stage.credential()
    expect([grant.state, lease]).toEqual(['in_doubt', null])
  })
})
