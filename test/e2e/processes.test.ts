import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { key, type Stage, setStage } from '../broker/stage.ts'
import { Worker } from './process.ts'

describe('processes that share one file', () => {
  let stage: Stage
  const workers: Worker[] = []
  beforeEach(async () => {
    stage = await setStage()
    await stage.login()
    stage.server.reset()
  })
  afterEach(async () => {
    await Promise.all(workers.splice(0).map((worker) => worker.end()))
    await stage.stop()
  })

  async function start(stopAt?: 'claimed' | 'sent'): Promise<Worker> {
    const { path, provider, urls } = stage
    const worker = new Worker('worker.mjs', { path, provider, url: urls.files, stopAt })
    workers.push(worker)
    await worker.next()
    return worker
  }

  test('8 of them with one expired rotating token: one refresh, 8 of 8 served', async () => {
    const all = await Promise.all(Array.from({ length: 8 }, () => start()))
    for (let round = 1; round <= 3; round++) {
      await stage.expire()
      for (const worker of all) worker.go()
      const answers = await Promise.all(all.map((worker) => worker.next()))
      expect(new Set(answers.map(({ token }) => token)).size).toBe(1)
      expect(answers[0]?.['token']).toBeTypeOf('string')
      expect(stage.server.counts()).toMatchObject({ token: { refresh_token: round }, reuse: 0 })
    }
  })

  test('the holder of a lease is killed before it sends: another one refreshes, at once', async () => {
    await stage.expire()
    const holder = await start('claimed')
    holder.go()
    expect(await holder.next()).toEqual({ stopped: 'claimed' })
    expect((await stage.credential()).lease?.sentAt).toBeNull()
    const waiting = stage.broker.getToken(stage.urls.files)
    await holder.kill()
    expect((await waiting).scopes).toEqual(['files:read'])
    expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
  })

  test('the holder is killed when the token may be spent: the doubt is written down, and one replay made', async () => {
    await stage.expire()
    const holder = await start('sent')
    holder.go()
    expect(await holder.next()).toEqual({ stopped: 'sent' })
    await holder.kill()
    expect((await stage.broker.getToken(stage.urls.files)).scopes).toEqual(['files:read'])
    expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
  })

  test('a holder that is stopped, not dead, keeps its lease; when it wakes it goes on', async () => {
    await stage.expire()
    const holder = await start()
    stage.server.setTokenDelay(300)
    holder.go()
    await stage.store.waitForChange(key, await stage.credential(), { timeoutMs: 5_000 })
    holder.child.kill('SIGSTOP')
    const waiting = stage.broker.getToken(stage.urls.files)
    holder.child.kill('SIGCONT')
    const { token } = await holder.next()
    expect((await waiting).reveal()).toBe(token)
    expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
  })
})

describe('writers that share one file', () => {
  test('8 processes × 50 read-modify-writes: 400 of 400 are there, and nothing else', async () => {
    const stage = await setStage()
    try {
      const writers = Array.from({ length: 8 }, () => new Worker('writer.mjs', { path: stage.path, times: 50 }))
      const codes = await Promise.all(writers.map(async ({ child }) => (await once(child, 'exit'))[0] as number))
      expect(codes).toEqual(Array(8).fill(0))
      const document = JSON.parse(await readFile(stage.path, 'utf8')) as {
        credentials: Record<string, { key: string }>
      }
      expect(document.credentials['counter:default']?.key).toBe('400')
      const names = (await readdir(dirname(stage.path))).filter((name) => !name.includes('.gen-'))
      expect(names.sort()).toEqual(['auth.json', 'auth.json.bak'])
    } finally {
      await stage.stop()
    }
  })

  test('a writer that is killed at random moments never keeps the others waiting for long, and loses nothing', async () => {
    const stage = await setStage()
    try {
      let killed = 0
      const reader = new Worker('writer.mjs', { path: stage.path, times: 60 })
      const done = once(reader.child, 'exit')
      while (reader.child.exitCode === null) {
        const victim = new Worker('writer.mjs', { path: stage.path, times: 1_000 })
        await stage.store.waitForChange(
          { provider: 'counter', account: 'default' },
          await stage.store.read({ provider: 'counter', account: 'default' }),
          { timeoutMs: 2_000 },
        )
        await victim.kill()
        killed++
      }
      expect((await done)[0]).toBe(0)
      expect(killed).toBeGreaterThan(0)
      expect(await stage.store.verify()).toMatchObject({ state: 'valid', copy: 'valid', entries: 1 })
    } finally {
      await stage.stop()
    }
  })
})
