import { once } from 'node:events'
import { mkdir, readFile, rmdir } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Fault } from '../../examples/server/faults.ts'
import { Secret } from '../../src/credential.ts'
import { AuthkeepError } from '../../src/errors.ts'
import { apiKeyFlow } from '../../src/grant/api-key.ts'
import type { StoreBackend } from '../../src/store/backend.ts'
import { fileBackend } from '../../src/store/file.ts'
import { openStore } from '../../src/store/store.ts'
import { key, type Stage, setStage } from './stage.ts'

/** Fault × what the caller hears × what the entry says afterwards × what the next call does. */
const cases: readonly {
  name: string
  fault: Fault
  error: object
  state: 'live' | 'in_doubt' | 'dead'
  next: 'served' | object
}[] = [
  {
    name: 'an edge that asks for a browser check',
    fault: { status: 403, headers: { 'content-type': 'text/html', 'cf-mitigated': 'challenge', 'cf-ray': '8f-FRA' } },
    error: { code: 'edge_challenge', remedy: 'fix', detail: { vendor: 'Cloudflare', ray: '8f-FRA' } },
    state: 'live',
    next: 'served',
  },
  {
    name: 'an edge that asks for it on its page only',
    fault: {
      status: 503,
      headers: { 'content-type': 'text/html', server: 'cloudflare', 'cf-ray': '8f-FRA' },
      body: '<!doctype html><title>Just a moment...</title>',
    },
    error: { code: 'edge_challenge', detail: { vendor: 'Cloudflare', ray: '8f-FRA' } },
    state: 'live',
    next: 'served',
  },
  {
    name: 'a network that answers with HTML',
    fault: 'html',
    error: { code: 'server_unavailable', remedy: 'retry', detail: { sent: true } },
    state: 'in_doubt',
    next: 'served',
  },
  {
    name: 'a connection that closes without an answer',
    fault: 'nothing',
    error: { code: 'server_unavailable', remedy: 'retry', detail: { sent: true } },
    state: 'in_doubt',
    next: 'served',
  },
  {
    name: 'HTTP 500',
    fault: { status: 500 },
    error: { code: 'server_unavailable', detail: { status: 500, sent: true } },
    state: 'in_doubt',
    next: 'served',
  },
  {
    name: 'HTTP 429',
    fault: { status: 429, retryAfter: '7' },
    error: { code: 'server_unavailable', detail: { status: 429, retryAfterMs: 7_000 } },
    state: 'live',
    next: 'served',
  },
  {
    name: 'an empty HTTP 400',
    fault: 'empty400',
    error: { code: 'server_unavailable', detail: { sent: true } },
    state: 'in_doubt',
    next: 'served',
  },
  {
    name: 'invalid_grant',
    fault: { status: 400, body: '{"error":"invalid_grant"}' },
    error: { code: 'grant_revoked', remedy: 'authorize' },
    state: 'dead',
    next: { code: 'grant_revoked' },
  },
  {
    name: 'invalid_client',
    fault: { status: 401, body: '{"error":"invalid_client"}' },
    error: { code: 'server_rejected', remedy: 'fix', detail: { error: 'invalid_client' } },
    state: 'live',
    next: 'served',
  },
  {
    name: 'an answer that was lost after the server had rotated',
    fault: 'lost',
    error: { code: 'server_unavailable', detail: { sent: true } },
    state: 'in_doubt',
    // The server detects the reuse: that is the strict window, and it is named.
    next: { code: 'grant_revoked' },
  },
]

describe('a token endpoint that fails', () => {
  let stage: Stage
  beforeEach(async () => {
    stage = await setStage()
    await stage.login()
    stage.server.reset()
  })
  afterEach(() => stage.stop())

  test.each(cases)('$name', async ({ fault, error, state, next }) => {
    await stage.expire()
    const before = await stage.credential()
    stage.server.fault(fault)
    const caught = await stage.broker.getToken(stage.urls.files).catch((thrown: unknown) => thrown)
    expect(caught).toBeInstanceOf(AuthkeepError)
    expect(caught).toMatchObject(error)

    const after = await stage.credential()
    expect(after.grant.refreshToken?.reveal()).toBe(before.grant.refreshToken?.reveal())
    expect(after.grant.state).toBe(state)
    expect(after.lease).toBeNull()
    expect(stage.server.counts().arrived).toBe(1)

    const again = stage.broker.getToken(stage.urls.files)
    if (next === 'served') expect((await again).scopes).toEqual(['files:read'])
    else await expect(again).rejects.toMatchObject(next)
  })

  test('a refresh in doubt is replayed once, and never a third time', async () => {
    await stage.expire()
    stage.server.fault({ status: 500 }, { status: 500 }, { status: 500 })
    await expect(stage.broker.getToken(stage.urls.files)).rejects.toMatchObject({ code: 'server_unavailable' })
    await expect(stage.broker.getToken(stage.urls.files)).rejects.toMatchObject({ code: 'server_unavailable' })
    await expect(stage.broker.getToken(stage.urls.files)).rejects.toMatchObject({
      code: 'refresh_interrupted',
      detail: { stage: 'replayed' },
    })
    expect(stage.server.counts().arrived).toBe(2)
    expect((await stage.credential()).grant.refreshToken).not.toBeNull()
  })

  test('while a token still lives, a refresh that fails is not the caller’s problem', async () => {
    const living = await stage.broker.getToken(stage.urls.files)
    stage.server.fault({ status: 500 })
    const served = await stage.broker.getToken(stage.urls.files, { minTtlMs: 24 * 3_600_000 })
    expect(served.reveal()).toBe(living.reveal())
    expect(stage.server.counts().arrived).toBeGreaterThan(0)
  })

  test('an edge that asks for a browser check takes nothing: the login, its tokens and their host', async () => {
    const living = await stage.broker.getToken(stage.urls.files)
    const before = await stage.credential()
    stage.server.fault({ status: 403, headers: { 'cf-mitigated': 'challenge' } })
    const served = await stage.broker.getToken(stage.urls.files, { minTtlMs: 24 * 3_600_000 })
    expect(served.reveal()).toBe(living.reveal())
    const after = await stage.credential()
    expect([after.grant, after.tokens, after.lease]).toEqual([before.grant, before.tokens, null])
    await stage.expire()
    stage.server.fault({ status: 403, headers: { 'cf-mitigated': 'challenge' } })
    await expect(stage.broker.getToken(stage.urls.files)).rejects.toMatchObject({
      code: 'edge_challenge',
      detail: { host: new URL(stage.server.issuer).host },
    })
    expect((await stage.broker.getToken(stage.urls.files)).scopes).toEqual(['files:read'])
    expect(stage.server.counts().reuse).toBe(0)
  })

  test('a server that is gone costs nothing', async () => {
    await stage.broker.getToken(stage.urls.files)
    await stage.expire()
    const closed = createServer().listen(0, '127.0.0.1')
    await once(closed, 'listening')
    const { port } = closed.address() as AddressInfo
    closed.close()
    const broker = stage.newBroker({
      fetch: (input, init) => {
        const { url, method } = new Request(input, init)
        // Discovery answers; the token endpoint is on a port where nobody listens any more.
        return method === 'POST' ? fetch(`http://127.0.0.1:${port}/`, { method }) : fetch(url, init)
      },
    })
    await expect(broker.getToken(stage.urls.files)).rejects.toMatchObject({
      code: 'server_unavailable',
      detail: { sent: false },
    })
    const { grant, lease } = await stage.credential()
    expect([grant.state, grant.replays, lease]).toEqual(['live', 0, null])
    expect((await stage.broker.getToken(stage.urls.files)).scopes).toEqual(['files:read'])
  })

  test.each([
    ['scope: null', (body: object) => ({ ...body, scope: null })],
    ['no token_type', (body: object) => ({ ...body, token_type: undefined })],
    ['an ID token of somebody else', (body: object) => ({ ...body, id_token: 'eyJhbGciOiJub25lIn0.e30.' })],
    ['a negative lifetime', (body: object) => ({ ...body, expires_in: -1 })],
  ])('an answer with %s is refused, and its successor is kept', async (_, mutation) => {
    await stage.expire()
    const before = await stage.credential()
    stage.server.mutateResponse(mutation)
    await expect(stage.broker.getToken(stage.urls.files)).rejects.toMatchObject({ code: 'response_invalid' })
    const after = await stage.credential()
    expect(after.grant.refreshToken?.reveal()).not.toBe(before.grant.refreshToken?.reveal())
    expect(after.grant.generation).toBe(before.grant.generation + 1)
    expect(after.lease).toBeNull()
    stage.server.mutateResponse(null)
    expect((await stage.broker.getToken(stage.urls.files)).scopes).toEqual(['files:read'])
    expect(stage.server.counts().reuse).toBe(0)
  })

  test('an answer with too few scopes is stored as what it is and not handed out', async () => {
    await stage.expire()
    stage.server.mutateResponse((body) => ({ ...body, scope: 'openid' }))
    await expect(stage.broker.getToken(stage.urls.files)).rejects.toMatchObject({
      code: 'scope_missing',
      detail: { missing: ['files:read'], obtainable: false },
    })
    expect(stage.server.counts().arrived).toBe(1)
  })

  test('a missing refresh_token in the answer means: keep the one there is', async () => {
    await stage.expire()
    stage.server.mutateResponse((body) => ({ ...body, refresh_token: undefined }))
    const before = await stage.credential()
    expect((await stage.broker.getToken(stage.urls.files)).scopes).toEqual(['files:read'])
    expect((await stage.credential()).grant.refreshToken?.reveal()).toBe(before.grant.refreshToken?.reveal())
  })

  test('a logout during the refresh stays a logout, and the successor is revoked', async () => {
    await stage.expire()
    const broker = stage.newBroker({
      fetch: async (input, init) => {
        const response = await fetch(input, init)
        if (new Request(input, init).url.endsWith('/token')) await stage.store.update(key, () => null)
        return response
      },
    })
    await expect(broker.getToken(stage.urls.files)).rejects.toMatchObject({ code: 'authorization_required' })
    expect(await stage.store.read(key)).toBeNull()
    expect(stage.server.counts().revoked).toBeGreaterThan(0)
  })

  test('a store that cannot be written fails before the refresh token is spent', async () => {
    await stage.expire()
    // Root may write anywhere: a directory in the place of the lock's record is as good as a read-only file system.
    await mkdir(`${stage.path}.lock.owner`)
    await expect(stage.broker.getToken(stage.urls.files)).rejects.toMatchObject({
      code: 'store_failed',
      detail: { unspent: true },
    })
    expect(stage.server.counts().arrived).toBe(0)
    await rmdir(`${stage.path}.lock.owner`)
    expect((await stage.broker.getToken(stage.urls.files)).scopes).toEqual(['files:read'])
    expect(await readFile(stage.path, 'utf8')).not.toContain('padding')
  })
})

describe('a login that comes in while a refresh is under way', () => {
  test('stays the login; the late successor is kept beside it for one try', async () => {
    const stage = await setStage()
    try {
      await stage.login()
      await stage.expire()
      const broker = stage.newBroker({
        fetch: async (input, init) => {
          const response = await fetch(input, init)
          if (new Request(input, init).url.endsWith('/token')) await stage.login()
          return response
        },
      })
      await broker.getToken(stage.urls.files)
      const { grant } = await stage.credential()
      expect(grant.predecessor).toBeUndefined()
      expect(grant.spare).toBeDefined()
      expect(stage.server.counts()).toMatchObject({ token: { authorization_code: 2, refresh_token: 1 }, reuse: 0 })
      await stage.expire()
      expect((await stage.broker.getToken(stage.urls.files)).scopes).toEqual(['files:read'])
      expect(stage.server.counts().reuse).toBe(0)
    } finally {
      await stage.stop()
    }
  })
})

test('a refusal of the old refresh token says nothing about the login that came in between', async () => {
  const stage = await setStage()
  try {
    await stage.login()
    await stage.expire()
    stage.server.fault({ status: 400, body: '{"error":"invalid_grant"}' })
    let hasLoggedIn = false
    const broker = stage.newBroker({
      fetch: async (input, init) => {
        const response = await fetch(input, init)
        if (!hasLoggedIn && new Request(input, init).url.endsWith('/token')) {
          hasLoggedIn = true
          await stage.login()
        }
        return response
      },
    })
    expect((await broker.getToken(stage.urls.files)).scopes).toEqual(['files:read'])
    expect((await stage.credential()).grant.state).toBe('live')
  } finally {
    await stage.stop()
  }
})

describe('a store that fails after the token was sent', () => {
  /** A backend whose `nth` commit and those after it fail, until `heal`. */
  function failingFrom(backend: StoreBackend, nth: () => number): StoreBackend {
    let count = 0
    return {
      exclusion: 'cas',
      read: (name) => backend.read(name),
      keys: () => backend.keys(),
      waitForChange: (...wait) => backend.waitForChange(...wait),
      close: () => backend.close(),
      async commit(changes) {
        if (++count < nth()) return backend.commit(changes)
        throw new AuthkeepError('store_failed', { path: 'x', operation: 'write', errno: 'ENOSPC', unspent: true })
      },
    }
  }

  test.each([
    ['the successor', 3],
    ['the access token', 4],
  ])('%s cannot be written: told as spent, nothing lost, and the next call serves at once', async (_, nth) => {
    const stage = await setStage()
    try {
      await stage.login()
      await stage.expire()
      stage.server.reset()
      let limit = nth
      const backend = failingFrom(fileBackend({ path: stage.path }), () => limit)
      const store = await openStore({ backend })
      const broker = stage.newBroker({ store })
      await expect(broker.getToken(stage.urls.files)).rejects.toMatchObject({
        code: 'store_failed',
        detail: { unspent: false },
      })
      limit = Infinity
      expect((await broker.getToken(stage.urls.files)).scopes).toEqual(['files:read'])
      const { grant, lease } = await stage.credential()
      expect([grant.state, lease]).toEqual(['live', null])
      expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 2 }, reuse: 0 })
      await broker.close()
    } finally {
      await stage.stop()
    }
  })
})

describe('what else there is to hold on to', () => {
  let stage: Stage
  beforeEach(async () => {
    stage = await setStage()
    await stage.login()
    stage.server.reset()
  })
  afterEach(() => stage.stop())

  test('a spare refresh token gets one try when the primary is refused', async () => {
    const { grant } = await stage.credential()
    if (grant.refreshToken === null) throw new Error('no refresh token')
    const spare = { refreshToken: grant.refreshToken, obtainedAt: grant.obtainedAt }
    await stage.store.update(key, (current) =>
      current?.type === 'oauth'
        ? { ...current, grant: { ...current.grant, refreshToken: new Secret('never issued'), spare } }
        : undefined,
    )
    await stage.expire()
    expect((await stage.broker.getToken(stage.urls.files)).scopes).toEqual(['files:read'])
    expect((await stage.credential()).grant.spare).toBeUndefined()
    expect(stage.server.counts().token['refresh_token']).toBe(2)
  })

  test('a token close to its end, with nothing to renew it, is served to its end', async () => {
    await stage.store.update(key, (current) =>
      current?.type === 'oauth'
        ? {
            ...current,
            grant: { ...current.grant, refreshToken: null },
            tokens: current.tokens.map((token) => ({ ...token, obtainedAt: 1, expiresAt: Date.now() + 20_000 })),
          }
        : undefined,
    )
    expect((await stage.broker.getToken(stage.urls.files)).scopes).toEqual(['files:read'])
    await stage.expire()
    await expect(stage.broker.getToken(stage.urls.files)).rejects.toMatchObject({
      code: 'authorization_required',
      detail: { reason: 'no_refresh_token' },
    })
  })

  test('an API key does not take the place of a login', async () => {
    const login = await stage.credential()
    await expect(stage.broker.authorize({ provider: 'demo' }, apiKeyFlow({ key: 'sk-key' }))).rejects.toMatchObject({
      code: 'account_ambiguous',
    })
    expect(await stage.credential()).toEqual(login)
  })
})
