import { once } from 'node:events'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { key, type Stage, setStage } from '../broker/stage.ts'
import { Worker } from './process.ts'

describe('a signal while a refresh token is under way', () => {
  let stage: Stage
  beforeEach(async () => {
    stage = await setStage()
    await stage.login()
    await stage.expire()
    stage.server.reset()
    stage.server.setTokenDelay(400)
  })
  afterEach(() => stage.stop())

  /** A process whose refresh has been sent, and has no answer yet. */
  async function sending(options: object = {}): Promise<Worker> {
    const { path, provider, urls } = stage
    const worker = new Worker('worker.mjs', { path, provider, url: urls.files, ...options })
    await worker.next()
    worker.go()
    for (;;) {
      const credential = await stage.credential()
      if (credential.lease?.sentAt != null && stage.server.counts().arrived === 1) return worker
      await stage.store.waitForChange(key, credential, { timeoutMs: 20 })
    }
  }

  async function expectStored(generation: number): Promise<void> {
    const { grant, lease, tokens } = await stage.credential()
    expect([grant.generation, grant.state, lease]).toEqual([generation, 'live', null])
    expect(tokens.some(({ expiresAt }) => expiresAt !== null && expiresAt > Date.now())).toBe(true)
    expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
  }

  test.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)(
    '%s: the successor is stored, then the process dies of it',
    async (signal) => {
      const { generation } = (await stage.credential()).grant
      const worker = await sending()
      const ended = once(worker.child, 'exit')
      worker.child.kill(signal)
      expect(await ended).toEqual([null, signal])
      await expectStored(generation + 1)
    },
  )

  test('a program that listens itself hears of it, is not ended, and gets its token', async () => {
    const { generation } = (await stage.credential()).grant
    const worker = await sending({ once: 'SIGTERM' })
    worker.child.kill('SIGTERM')
    expect(await worker.next()).toEqual({ heard: 'SIGTERM' })
    expect(await worker.next()).toHaveProperty('token')
    await worker.end()
    expect([worker.child.exitCode, worker.child.signalCode]).toEqual([0, null])
    await expectStored(generation + 1)
  })

  test('afterwards a signal does what it always does, at once', async () => {
    const worker = await sending()
    expect(await worker.next()).toHaveProperty('token')
    const ended = once(worker.child, 'exit')
    worker.child.kill('SIGTERM')
    expect(await ended).toEqual([null, 'SIGTERM'])
  })

  test('a server that does not answer holds the process for no longer than a refresh may take', async () => {
    stage.server.setTokenDelay(60_000)
    const timing = { leaseMs: 2_000, httpTimeoutMs: 900, commitAllowanceMs: 300 }
    const worker = await sending({ timing })
    const ended = once(worker.child, 'exit')
    worker.child.kill('SIGTERM')
    expect(await ended).toEqual([null, 'SIGTERM'])
    expect((await stage.credential()).grant.state).toBe('in_doubt')
  })
})
