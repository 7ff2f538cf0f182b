import { execFile } from 'node:child_process'
import { mkdir, stat } from 'node:fs/promises'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { key, type Stage, setStage } from './stage.ts'

// What other libraries for tokens have been seen to do, each shown not to happen here.

let stage: Stage
beforeEach(async () => {
  stage = await setStage()
  await stage.login()
  stage.server.reset()
})
afterEach(() => stage.stop())

const refreshes = (): number => stage.server.counts().token['refresh_token'] ?? 0
const resourceOf = (path: string): string => `${stage.server.origin}${path}`

/** As if time had passed: what is left of how long a token lives. */
async function age(expiresInMs: number, lifetimeMs: number): Promise<void> {
  await stage.store.update(key, (current) => {
    if (current?.type !== 'oauth') return undefined
    const now = Date.now()
    const times = { expiresAt: now + expiresInMs, obtainedAt: now + expiresInMs - lifetimeMs }
    return { ...current, tokens: current.tokens.map((token) => ({ ...token, ...times })) }
  })
}

describe('a resource', () => {
  test('is part of what a token is remembered by: A, B, A, B costs one refresh each', async () => {
    await stage.expire()
    const urls = [stage.urls.files, stage.urls.mail, stage.urls.files, stage.urls.mail]
    const tokens = []
    for (const url of urls) tokens.push(await stage.broker.getToken(url))
    expect(refreshes()).toBe(2)
    const [a, b, again, bAgain] = tokens.map((token) => token.reveal())
    expect([again, bAgain]).toEqual([a, b])
    expect(a).not.toBe(b)
  })

  test('that is not asked for gets no token of one', async () => {
    await stage.broker.getToken(stage.urls.files)
    const plain = await stage.broker.getToken({ provider: 'demo', scopes: [] }).catch((error: unknown) => error)
    const resources = (await stage.credential()).tokens.map(({ resource }) => resource)
    expect(resources).toContain(resourceOf('/files'))
    expect((plain as { resource?: string }).resource).toBeUndefined()
  })
})

test('a look at what is stored leaves the lock of another process alone', async () => {
  const lock = `${stage.path}.lock`
  await mkdir(lock)
  await stage.broker.getToken(stage.urls.files)
  await stage.newBroker().getToken(stage.urls.files)
  expect((await stat(lock)).isDirectory()).toBe(true)
})

test('one 503 keeps nobody from being served by the next try', async () => {
  await stage.expire()
  stage.server.fault({ status: 503 })
  const first = await stage.broker.getToken(stage.urls.files).catch((error: unknown) => error)
  expect(first).toMatchObject({ code: 'server_unavailable' })
  const begun = performance.now()
  expect((await stage.broker.getToken(stage.urls.files)).scopes).toEqual(['files:read'])
  expect(performance.now() - begun).toBeLessThan(10_000)
})

test('a refresh in the background is not waited for, and the next caller has its token', async () => {
  await age(100_000, 3_600_000)
  const old = (await stage.credential()).tokens[0]?.accessToken.reveal()
  stage.server.setTokenDelay(300)
  const begun = performance.now()
  expect((await stage.broker.getToken(stage.urls.files)).reveal()).toBe(old)
  expect(performance.now() - begun).toBeLessThan(250)
  for (;;) {
    const seen = await stage.credential()
    if (seen.tokens.some(({ accessToken }) => accessToken.reveal() !== old) && seen.lease === null) break
    await stage.store.waitForChange(key, seen, { timeoutMs: 500 })
  }
  expect((await stage.broker.getToken(stage.urls.files)).reveal()).not.toBe(old)
  expect(refreshes()).toBe(1)
})

describe('a refresh token', () => {
  test('that was rotated is kept, however often', async () => {
    for (let round = 0; round < 4; round++) {
      await stage.expire()
      await stage.newBroker().getToken(stage.urls.files)
    }
    expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 4 }, reuse: 0, revoked: 0 })
  })

  test('that the answer leaves out is still the one', async () => {
    await stage.stop()
    stage = await setStage({ rotate: false, provider: { refresh: { rotation: 'none', narrowing: 'honoured' } } })
    await stage.login()
    const before = (await stage.credential()).grant.refreshToken?.reveal()
    stage.server.mutateResponse(({ refresh_token: _, ...body }) => body)
    for (let round = 0; round < 2; round++) {
      await stage.expire()
      await stage.broker.getToken(stage.urls.files)
    }
    expect((await stage.credential()).grant.refreshToken?.reveal()).toBe(before)
  })
})

test('a token that lives for four more minutes is served while the server is down', async () => {
  await age(240_000, 3_600_000)
  stage.server.fault({ status: 500 }, 'nothing', { status: 503 })
  const token = await stage.broker.getToken(stage.urls.files, { minTtlMs: 600_000 })
  expect(token.expiresAt).toBeGreaterThan(Date.now() + 200_000)
})

test('a server that cannot be reached is no reason to log in, and the credential stays', async () => {
  await stage.expire()
  const { grant } = await stage.credential()
  await stage.server.stop()
  await expect(stage.broker.getToken(stage.urls.files)).rejects.toMatchObject({
    ...{ code: 'server_unavailable', remedy: 'retry' },
    detail: { sent: false },
  })
  expect((await stage.credential()).grant).toEqual(grant)
})

test('no timer keeps a process alive', async () => {
  const program = `
    import { openStore, TokenBroker } from 'authkeep'
    const broker = new TokenBroker({ store: await openStore({ path: process.argv[1] }), providers: [JSON.parse(process.argv[2])] })
    await broker.getToken(process.argv[3])
    console.log('served')
  `
  await age(100_000, 3_600_000)
  const words = [stage.path, JSON.stringify(stage.provider), stage.urls.files]
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program, ...words])
  expect(stdout).toBe('served\n')
  expect(stage.server.counts().reuse).toBe(0)
})

test('read does not satisfy read and write', async () => {
  const wide = { provider: 'demo', scopes: ['files:read', 'files:write'], resource: resourceOf('/files') }
  await expect(stage.broker.getToken(wide)).rejects.toMatchObject({
    code: 'scope_missing',
    detail: { missing: ['files:write'] },
  })
  expect(refreshes()).toBe(0)
})

test('a token that was granted for another scope is not handed out', async () => {
  await stage.expire()
  stage.server.mutateResponse((body) => ({ ...body, scope: 'mail:read' }))
  await expect(stage.broker.getToken(stage.urls.files)).rejects.toMatchObject({
    code: 'scope_missing',
    detail: { missing: ['files:read'] },
  })
})

test('nobody is told to log in by mistake, however many ask at once', async () => {
  const brokers = Array.from({ length: 4 }, () => stage.newBroker())
  for (let round = 0; round < 5; round++) {
    await stage.expire()
    const urls = [stage.urls.files, stage.urls.mail]
    const calls = Array.from({ length: 200 }, (_, n) => (brokers[n % 4] ?? stage.broker).getToken(urls[n % 2] ?? ''))
    const failed = (await Promise.allSettled(calls)).filter(({ status }) => status === 'rejected')
    expect(failed).toEqual([])
  }
  expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 10 }, reuse: 0, inFlightMax: 1 })
})
