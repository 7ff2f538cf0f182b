import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { postgresBackend } from '../../src/store/postgres.ts'
import { key, type Stage, setStage } from '../broker/stage.ts'
import { type Machine, missingForMachines, openMachine } from '../fleet/machine.ts'
import { type PostgresServer, startPostgres } from '../store/postgres-server.ts'
import type { Worker } from './process.ts'

/** run.sh says so where there can be none. */
const missing = missingForMachines()

describe.skipIf(missing !== undefined).each([
  ['the late one is right', '+600', '+0'],
  ['the early one is right', '+0', '-600'],
])('two machines whose clocks are ten minutes apart, of which %s, one PostgreSQL', (_, earlyClock, lateClock) => {
  let database: PostgresServer
  let stage: Stage
  let machines: readonly [Machine, Machine]
  let workers: Worker[]
  beforeAll(async () => {
    database = await startPostgres()
  })
  afterAll(() => database.stop())
  beforeEach(async () => {
    // Its tokens live for five minutes: less than the clocks are apart.
    stage = await setStage({ backend: postgresBackend({ client: database.pool() }) })
    await stage.login()
    stage.server.reset()
    const ports = [stage.server.port, database.port]
    machines = [
      await openMachine('early', { number: 1, clock: earlyClock, ports }),
      await openMachine('late', { number: 2, clock: lateClock, ports }),
    ]
    workers = []
  })
  afterEach(async () => {
    await Promise.all(workers.map((worker) => worker.kill()))
    for (const machine of machines) await machine.stop()
    await stage.store.update(key, () => null)
    await stage.stop()
  })

  async function start(machine: Machine, more: object = {}): Promise<Worker> {
    const options = { postgres: database.url, provider: stage.provider, url: stage.urls.files, ...more }
    const worker = await machine.start('worker.mjs', options)
    workers.push(worker)
    return worker
  }

  /** As if time had passed, by whichever clock. */
  async function expire(): Promise<void> {
    await stage.expire()
    await stage.store.update(key, (current) =>
      current?.type === 'oauth'
        ? { ...current, tokens: current.tokens.map((token) => ({ ...token, expiresAt: Date.now() - 3_600_000 })) }
        : undefined,
    )
  }

  async function ask(...some: readonly Worker[]): Promise<readonly unknown[]> {
    for (const worker of some) worker.go()
    return (await Promise.all(some.map((worker) => worker.next()))).map((answer) => answer['token'] ?? answer)
  }

  test('they are two: each process is unknown to the other machine, and their clocks differ', async () => {
    const seen = await Promise.all(machines.map(async (machine) => machine.start('whereabouts.mjs', {})))
    const found = (await Promise.all(seen.map((each) => each.next()))) as unknown as readonly Whereabouts[]
    expect(found.map(({ host }) => host)).toEqual(['early', 'late'])
    expect(new Set(found.map(({ bootId }) => bootId)).size).toBe(2)
    const [early = 0, late = 0] = found.map(({ now }) => now)
    expect(Math.abs(early - late - 600_000)).toBeLessThan(5_000)
    expect(found[0]?.addresses).toEqual(['127.0.0.1', '10.231.1.2'])
    await Promise.all(seen.map((each) => each.end()))
  })

  test('12 expiries, 3 processes on each: one refresh for each, and the same token for everybody', {
    timeout: 120_000,
  }, async () => {
    stage.server.setTokenDelay(40)
    const three = (machine: Machine): Promise<Worker[]> => Promise.all([1, 2, 3].map(() => start(machine)))
    const [early, late] = await Promise.all([three(machines[0]), three(machines[1])])
    const orders = [
      [early, late],
      [late, early],
      [[...early, ...late], []],
    ] as const
    for (let round = 1; round <= 12; round++) {
      await expire()
      await delay(60)
      const tokens: unknown[] = []
      for (const group of orders[round % 3] ?? []) tokens.push(...(await ask(...group)))
      expect(new Set(tokens).size, JSON.stringify(tokens)).toBe(1)
      expect(tokens[0]).toBeTypeOf('string')
      expect(stage.server.counts()).toMatchObject({ token: { refresh_token: round }, reuse: 0 })
    }
  })

  // None of the two can know that a process of the other one is gone: it waits for the lease, on its own clock.
  const timing = { leaseMs: 1_500, httpTimeoutMs: 500, commitAllowanceMs: 200, inDoubtWaitMs: 1_000 }

  test.each([
    ['early', 'late', 0],
    ['late', 'early', 1],
  ] as const)('a holder on the %s machine is killed, and one on the %s machine goes on', async (_, __, first) => {
    const [mine, other] = first === 0 ? machines : [machines[1], machines[0]]
    for (const stopAt of ['claimed', 'sent']) {
      await expire()
      const before = stage.server.counts().token['refresh_token'] ?? 0
      const holder = await start(mine, { stopAt, timing })
      holder.go()
      expect(await holder.next()).toEqual({ stopped: stopAt })
      mine.signal(holder, 'SIGKILL')
      const waiter = await start(other, { timing })
      expect(await ask(waiter)).toEqual([expect.any(String)])
      expect(stage.server.counts()).toMatchObject({ token: { refresh_token: before + 1 }, reuse: 0 })
    }
  })

  test.each([
    ['early', 0],
    ['late', 1],
  ] as const)('a holder on the %s machine sleeps longer than its lease', async (_, first) => {
    const [mine, other] = first === 0 ? machines : [machines[1], machines[0]]
    await expire()
    const holder = await start(mine, { sleepsAt: 'claimed', timing })
    holder.go()
    expect(await holder.next()).toEqual({ sleeps: 'claimed' })
    const [token] = await ask(await start(other, { timing }))
    expect(token).toBeTypeOf('string')
    mine.signal(holder, 'SIGCONT')
    expect((await holder.next())['token']).toBe(token)
    expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
  })
})

interface Whereabouts {
  readonly host: string
  readonly bootId: string
  readonly now: number
  readonly addresses: readonly string[]
}
