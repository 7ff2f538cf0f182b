import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { TokenBroker } from '../../src/broker/broker.ts'
import { piAuthJsonFormat } from '../../src/formats/pi-auth-json.ts'
import { openStore } from '../../src/store/store.ts'
import { key, type Stage, setStage } from '../broker/stage.ts'
import { Worker } from './process.ts'

interface PiFile {
  readonly demo: {
    readonly access: string
    readonly refresh: string
    readonly expires: number
    readonly authkeep?: object
  }
}

/** How long the owner waits for a lock that nobody touches; pi's 30 s, shortened. */
const staleMs = 5_000
const target = { provider: 'demo', scopes: ['openid'] }

describe("processes that share a file with its owner, which refreshes under the file's lock", () => {
  let stage: Stage
  let path: string
  const workers: Worker[] = []
  beforeEach(async () => {
    stage = await setStage()
    await stage.login()
    const { grant, tokens } = await stage.credential()
    const [token] = tokens
    path = join(stage.directory, 'pi', 'auth.json')
    const store = await openStore({ path, format: piAuthJsonFormat })
    // An empty store first, for the directory; then what pi would have written.
    await store.updateState(':made', () => ({}))
    await store.close()
    const demo = {
      type: 'oauth',
      access: token?.accessToken.reveal(),
      refresh: grant.refreshToken?.reveal(),
      expires: 1,
    }
    await writeFile(path, JSON.stringify({ other: { type: 'api_key', key: 'k' }, demo }, null, 2))
    stage.server.reset()
  })
  afterEach(async () => {
    await Promise.all(workers.splice(0).map((worker) => worker.end()))
    await stage.stop()
  })

  const file = async (): Promise<PiFile> => JSON.parse(await readFile(path, 'utf8')) as PiFile

  async function expire(): Promise<void> {
    const { demo, ...others } = await file()
    await writeFile(path, JSON.stringify({ ...others, demo: { ...demo, expires: 1 } }, null, 2))
  }

  async function started(worker: Worker): Promise<Worker> {
    workers.push(worker)
    await worker.next()
    return worker
  }

  async function ours(stopAt?: 'sent'): Promise<Worker> {
    const { provider } = stage
    return started(new Worker('worker.mjs', { path, provider, url: target, stopAt, format: 'piAuthJsonFormat' }))
  }

  async function owner(): Promise<Worker> {
    const { server } = stage
    const tokenEndpoint = `${server.origin}/token`
    return started(new Worker('owner.mjs', { path, tokenEndpoint, clientId: server.clientId, staleMs }))
  }

  async function takeOver(): Promise<void> {
    const store = await openStore({ path, format: piAuthJsonFormat })
    const broker = new TokenBroker({ store, providers: [stage.provider] })
    await broker.takeOver(key)
    await broker.close()
    await store.close()
  }

  test('taken over: each expiry is one refresh, by whichever of them, and all have the same token', async () => {
    await takeOver()
    const all = await Promise.all([owner(), ours(), owner(), ours()])
    for (let round = 1; round <= 4; round++) {
      await expire()
      for (const worker of all) worker.go()
      const answers = await Promise.all(all.map((worker) => worker.next()))
      const { demo } = await file()
      expect(answers).toMatchObject(all.map(() => ({ token: demo.access })))
      expect(stage.server.counts()).toMatchObject({ token: { refresh_token: round }, reuse: 0 })
    }
    expect(await file()).toHaveProperty('other', { type: 'api_key', key: 'k' })
  })

  test('the owner waits while we refresh, for longer than it would wait for the dead', async () => {
    await takeOver()
    stage.server.setTokenDelay(staleMs + 2_000)
    const [mine, theirs] = [await ours(), await owner()]
    mine.go()
    await expect
      .poll(async () => (await file()).demo.authkeep, { timeout: 10_000 })
      .toHaveProperty('lease.sentAt', expect.any(Number))
    theirs.go()
    const [a, b] = [await mine.next(), await theirs.next()]
    expect(a).toHaveProperty('token')
    expect(b['token']).toBe(a['token'])
    expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
  })

  test('borrowed: we wait for nobody and refresh nothing; what the owner has renewed is used', async () => {
    const [mine, theirs] = [await ours(), await owner()]
    const before = await readFile(path, 'utf8')
    mine.go()
    expect(await mine.next()).toMatchObject({
      error: 'authorization_required',
      detail: { reason: 'borrowed', owner: 'pi', provider: 'demo' },
    })
    expect(await readFile(path, 'utf8')).toBe(before)
    expect(stage.server.counts().token).not.toHaveProperty('refresh_token')
    theirs.go()
    const { token } = await theirs.next()
    mine.go()
    expect(await mine.next()).toMatchObject({ token })
    expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
  })

  test('one of ours is killed with the lock held: the owner goes on when it goes stale, and nothing is spent twice', async () => {
    await takeOver()
    const [victim, theirs] = [await ours('sent'), await owner()]
    victim.go()
    expect(await victim.next()).toEqual({ stopped: 'sent' })
    await victim.kill()
    theirs.go()
    const { token } = await theirs.next()
    expect(token).toBe((await file()).demo.access)
    const mine = await ours()
    mine.go()
    expect(await mine.next()).toMatchObject({ token })
    expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
  })
})
