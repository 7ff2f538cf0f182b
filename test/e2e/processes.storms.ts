import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { key, type Stage, setStage } from '../broker/stage.ts'
import { Worker } from './process.ts'

// These take a minute and the whole machine: `npm run test:storms`.

describe('many processes, one file, one refresh token that is spent by its use', () => {
  let stage: Stage
  let workers: Worker[]
  beforeEach(async () => {
    stage = await setStage()
    await stage.login()
    stage.server.reset()
    workers = []
  })
  afterEach(async () => {
    await Promise.all(workers.map((worker) => worker.end()))
    await stage.stop()
  })

  async function start(): Promise<Worker> {
    const { path, provider, urls } = stage
    const worker = new Worker('worker.mjs', { path, provider, url: urls.files })
    workers.push(worker)
    await worker.next()
    return worker
  }

  /** The process that has sent a refresh token. */
  async function holder(): Promise<Worker | undefined> {
    for (;;) {
      const credential = await stage.credential()
      const { lease, tokens } = credential
      if (lease?.sentAt != null) return workers.find(({ child }) => child.pid === lease.owner.pid)
      if (tokens.some(({ expiresAt }) => (expiresAt ?? 0) > Date.now())) return undefined
      await stage.store.waitForChange(key, credential, { timeoutMs: 50 })
    }
  }

  test('16 processes, 40 expiries: 40 refreshes, and everybody has the same token each time', {
    timeout: 300_000,
  }, async () => {
    await Promise.all(Array.from({ length: 16 }, start))
    for (let round = 1; round <= 40; round++) {
      await stage.expire()
      for (const worker of workers) worker.go()
      const answers = await Promise.all(workers.map((worker) => worker.next()))
      expect(new Set(answers.map(({ token }) => token)).size).toBe(1)
      expect(answers[0]?.['token']).toBeTypeOf('string')
      expect(stage.server.counts()).toMatchObject({ arrived: round, token: { refresh_token: round }, reuse: 0 })
    }
  })

  test('killed and stopped at random: a second use only of a token that its holder died with', {
    timeout: 300_000,
  }, async () => {
    stage.server.setTokenDelay(40)
    const tally = { rounds: 40, killed: 0, stopped: 0, window: 0, reuse: 0, logins: 0, served: 0, refused: 0 }
    await Promise.all(Array.from({ length: 8 }, start))
    for (let round = 0; round < tally.rounds; round++) {
      await stage.expire()
      for (const worker of workers) worker.go()
      const answers = workers.map((worker) => worker.next().catch(() => null))
      // Every fourth time it hits the one at work, between its request and the answer or thereabouts.
      const atWork = round % 4 === 0 ? await holder() : undefined
      await delay(Math.random() * (atWork === undefined ? 150 : 80))
      const victim = atWork ?? workers[Math.floor(Math.random() * workers.length)]
      if (victim === undefined) throw new Error('nobody is left')
      if (round % 2 === 0) {
        await victim.kill()
        tally.killed++
        // Sent, and no successor stored: the holder took the only knowledge of it along.
        const { lease } = await stage.credential()
        if (lease?.owner.pid === victim.child.pid && lease?.sentAt != null) tally.window++
        workers.splice(workers.indexOf(victim), 1)
      } else {
        victim.child.kill('SIGSTOP')
        await delay(Math.random() * 300)
        victim.child.kill('SIGCONT')
        tally.stopped++
      }
      for (const answer of await Promise.all(answers)) {
        if (answer === null) continue
        if (typeof answer['token'] === 'string') tally.served++
        else tally.refused++
      }
      tally.reuse += stage.server.counts().reuse
      stage.server.reset()
      stage.server.setTokenDelay(40)
      if ((await stage.credential()).grant.state === 'dead') {
        await stage.login()
        tally.logins++
      }
      if (workers.length < 8) await start()
    }
    console.log(JSON.stringify(tally))
    expect(tally.reuse).toBeLessThanOrEqual(tally.window)
    expect(tally.logins).toBeLessThanOrEqual(tally.window)
    if (tally.window === 0) expect(tally.refused).toBe(0)
    expect(tally.served).toBeGreaterThan(200)
  })
})
