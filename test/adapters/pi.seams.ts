import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { listen } from '../../examples/server/authorization-server.ts'
import type { OAuthCredential } from '../../src/credential.ts'
import { openStore } from '../../src/store/store.ts'
import { expired, key } from '../broker/stage.ts'
import { type Desk, openDesk } from '../cli/desk.ts'
import { type ModelServer, startModelServer } from '../seams/model-server.ts'
import { type Program, startProgram } from '../seams/program.ts'

const own = { provider: 'pi.own', account: 'default' }

let desk: Desk
let api: ModelServer
let programs: Program[]

beforeEach(async () => {
  // pi replaces what has less than 5 min left.
  desk = await openDesk({ accessTokenSeconds: 3_600 })
  api = await startModelServer(desk.server)
  programs = []
  const endpoints = [{ url: `${api.origin}/v1/*`, scopes: ['files:read'], resource: `${desk.server.origin}/files` }]
  await desk.addProvider('demo', { scopes: ['openid', 'offline_access', 'files:read'], endpoints })
  expect(await desk.login()).toMatchObject({ code: 0 })
  desk.server.reset()
})
afterEach(async () => {
  for (const { child } of programs) child.kill('SIGKILL')
  await Promise.all([desk.clear(), api.stop()])
})

function start(tokenEndpoint = `${desk.server.origin}/token`): Program {
  const program = startProgram('pi.ts', desk.home, {
    ...{ BASE_URL: `${api.origin}/v1`, TOKEN_ENDPOINT: tokenEndpoint, CLIENT_ID: desk.server.clientId },
  })
  programs.push(program)
  return program
}

async function withStore<T>(use: (store: Awaited<ReturnType<typeof openStore>>) => Promise<T>): Promise<T> {
  const store = await openStore({ path: join(desk.home, 'auth.json') })
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}

/** The login of the desk, taken from authkeep: only pi is to know of it. */
async function takeRefreshToken(): Promise<string> {
  const [token = ''] = await desk.refreshTokens()
  await withStore(async (store) => store.update(key, () => null))
  return token
}

const entry = async (): Promise<OAuthCredential> =>
  (await withStore(async (store) => store.read(own))) as OAuthCredential
const refreshes = (): number => desk.server.counts().token['refresh_token'] ?? 0
const bearers = (): readonly string[] => [...new Set(api.calls.map(({ bearer }) => bearer))]
const ofOwn = 'own hello'

/** Until a refresh has arrived at the server. */
async function arrival(): Promise<void> {
  await expect.poll(() => desk.server.counts().arrived, { timeout: 20_000 }).toBeGreaterThan(0)
}

describe('the real pi-ai with tokens of the broker', () => {
  it('calls with one token, and with the next one after it has expired, refreshed once for two processes', async () => {
    const two = [start(), start()]
    const ask = async (): Promise<readonly string[]> => Promise.all(two.map(async (each) => each.ask('demo hello')))
    expect(await ask()).toEqual(['served', 'served'])
    const before = refreshes()
    const first = bearers()
    expect(first).toHaveLength(1)
    await withStore(async (store) => store.update(key, (current) => expired(current)))
    desk.server.setTokenDelay(300)
    expect(await ask()).toEqual(['served', 'served'])
    expect(bearers()).toHaveLength(2)
    expect(api.calls.every(({ status }) => status === 200)).toBe(true)
    expect(refreshes() - before).toBe(1)
    expect(desk.server.counts()).toMatchObject({ reuse: 0, revoked: 0 })
    expect(await Promise.all(two.map(async (each) => each.end()))).toEqual([0, 0])
    expect(two.map((each) => each.said())).toEqual(['', ''])
  })

  it('says what stands in the way of a token, and asks nobody', async () => {
    await withStore(async (store) =>
      store.update(key, (current) =>
        current?.type === 'oauth' ? { ...current, tokens: [], grant: { ...current.grant, state: 'dead' } } : undefined,
      ),
    )
    expect(await start().ask('demo hello')).toMatch(/no longer accepts the login/)
    expect(await desk.authkeep('logout', 'demo', '--local')).toMatchObject({ code: 0 })
    expect(await start().ask('demo hello')).toMatch(/^no answer/)
    expect(api.calls).toEqual([])
  })
})

describe('the real pi-ai with a login of its own', () => {
  it('is refreshed by pi, once for two processes, and shown to nobody in between', async () => {
    const two = [start(), start()]
    const token = await takeRefreshToken()
    expect(await two[0]?.ask(`login ${token}`)).toBe('logged in')
    desk.server.setTokenDelay(300)
    expect(await Promise.all(two.map(async (each) => each.ask(ofOwn)))).toEqual(['served', 'served'])
    expect(bearers()).toHaveLength(1)
    expect(desk.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0, revoked: 0 })
    expect(await entry()).toMatchObject({ lease: null, grant: { state: 'live', generation: 2 } })
    expect(await readFile(join(desk.home, 'auth.json'), 'utf8')).not.toContain(token)
    expect(await Promise.all(two.map(async (each) => each.end()))).toEqual([0, 0])
  })

  it('is served after a kill -9 in the callback, where the server had not carried it out', async () => {
    const silent = createServer()
    const killed = start(`${await listen(silent, 0)}/token`)
    try {
      await killed.ask(`login ${await takeRefreshToken()}`)
      const arrived = once(silent, 'request')
      void killed.ask(ofOwn).catch(() => undefined)
      await arrived
      expect((await entry()).lease?.sentAt).toBeTypeOf('number')
      killed.child.kill('SIGKILL')
      await once(killed.child, 'close')
    } finally {
      silent.close()
    }
    expect(await start().ask(ofOwn)).toBe('served')
    expect(desk.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0, revoked: 0 })
    expect(await entry()).toMatchObject({ lease: null, grant: { state: 'live' } })
  })

  it('is known to be lost after a kill -9 behind which the server has rotated, and kept', async () => {
    const killed = start()
    const token = await takeRefreshToken()
    await killed.ask(`login ${token}`)
    desk.server.fault({ slowMs: 60_000 })
    void killed.ask(ofOwn).catch(() => undefined)
    await expect.poll(refreshes, { timeout: 20_000 }).toBe(1)
    killed.child.kill('SIGKILL')
    await once(killed.child, 'close')
    const next = start()
    expect(await next.ask(ofOwn)).toMatch(/HTTP 400/)
    expect((await entry()).grant).toMatchObject({ state: 'in_doubt', replays: 1 })
    expect(await next.ask(ofOwn)).toMatch(/was interrupted, and its refresh token may have been spent/)
    // The second try was the last one.
    expect(desk.server.counts()).toMatchObject({ arrived: 2, reuse: 1 })
    expect((await entry()).grant.refreshToken?.reveal()).toBe(token)
    expect(api.calls).toEqual([])
  })

  it('keeps a login that comes while another process still refreshes the one before', async () => {
    const slow = start()
    const token = await takeRefreshToken()
    await slow.ask(`login ${token}`)
    desk.server.setTokenDelay(1_500)
    const late = slow.ask(ofOwn)
    await arrival()
    // Somebody who does not wait for the lease: a login is put there by hand.
    await withStore(async (store) => store.update(own, () => null))
    expect(await start().ask('login of-somebody-else')).toBe('logged in')
    expect(await late).toMatch(/served|no answer/)
    const { grant, lease } = await entry()
    expect(grant.refreshToken?.reveal()).toBe('of-somebody-else')
    expect({ lease, spare: grant.spare }).toEqual({ lease: null, spare: undefined })
  })
})
