import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createConnection, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { createClient } from 'redis'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Secret } from '../../src/credential.ts'
import { isAuthkeepError } from '../../src/errors.ts'
import type { StoreBackend } from '../../src/store/backend.ts'
import { postgresBackend } from '../../src/store/postgres.ts'
import { redisBackend } from '../../src/store/redis.ts'
import { type CredentialStore, openStore } from '../../src/store/store.ts'
import { key, type Stage, setStage } from '../broker/stage.ts'
import { type PostgresServer, startPostgres } from '../store/postgres-server.ts'
import { type RedisServer, startRedis } from '../store/redis-server.ts'
import { Worker } from './process.ts'

/** A database that many machines share. */
interface Place {
  /** For a worker. */
  readonly words: object
  backend(): Promise<StoreBackend>
  /** A backend whose connections go through a port or a socket of ours. */
  through(
    at: { readonly port: number } | { readonly path: string },
  ): Promise<{ backend: StoreBackend; end(): Promise<void> }>
  readonly at: { readonly port: number } | { readonly path: string }
  kill(): Promise<void>
  start(): Promise<void>
  stop(): Promise<void>
}

async function postgresPlace(): Promise<Place> {
  const server: PostgresServer = await startPostgres()
  const { default: pg } = await import('pg')
  return {
    ...{ words: { postgres: server.url }, at: { port: server.port } },
    backend: async () => postgresBackend({ client: server.pool() }),
    async through(at) {
      const port = 'port' in at ? at.port : 0
      const connectionString = server.url.replace(`:${server.port}/`, `:${port}/`)
      const pool = new pg.Pool({ connectionString, max: 2 })
      pool.on('error', () => undefined)
      return { backend: postgresBackend({ client: pool }), end: () => pool.end() }
    },
    kill: () => server.kill(),
    start: () => server.start(),
    stop: () => server.stop(),
  }
}

async function redisPlace(): Promise<Place> {
  const server: RedisServer = await startRedis()
  return {
    ...{ words: { redis: server.path }, at: { path: server.path } },
    backend: async () => redisBackend({ client: await server.connect() }),
    async through(at) {
      const client = createClient({ socket: 'port' in at ? at : { ...at, tls: false } })
      client.on('error', () => undefined)
      await client.connect()
      return { backend: redisBackend({ client }), end: async () => client.destroy() }
    },
    kill: () => server.kill(),
    start: () => server.start(),
    stop: () => server.stop(),
  }
}

/** run.sh says so where there is none. */
const hasRedis = spawnSync('redis-server', ['--version']).status === 0

describe.each([['PostgreSQL', postgresPlace] as const, ...(hasRedis ? ([['Redis', redisPlace]] as const) : [])])(
  'many processes, one %s, one refresh token that is spent by its use',
  (name, open) => {
    let place: Place
    let stage: Stage
    let workers: Worker[]
    beforeAll(async () => {
      place = await open()
    })
    afterAll(() => place.stop())
    beforeEach(async () => {
      stage = await setStage({ backend: await place.backend() })
      await stage.login()
      stage.server.reset()
      workers = []
    })
    afterEach(async () => {
      for (const { child } of workers) child.kill('SIGKILL')
      await stage.store.update(key, () => null)
      await stage.stop()
    })

    async function start(more: object = {}): Promise<Worker> {
      const { provider, urls } = stage
      const worker = new Worker('worker.mjs', { ...place.words, provider, url: urls.files, ...more })
      workers.push(worker)
      await worker.next()
      return worker
    }

    test('16 processes, 40 expiries, an endpoint of 40 ms: 40 refreshes, and the same token for everybody each time', {
      timeout: 300_000,
    }, async () => {
      stage.server.setTokenDelay(40)
      await Promise.all(Array.from({ length: 16 }, () => start()))
      for (let round = 1; round <= 40; round++) {
        await stage.expire()
        // A process looks at the store once in 50 ms; the token that is called expired here would serve until then.
        await delay(60)
        for (const worker of workers) worker.go()
        const answers = await Promise.all(workers.map((worker) => worker.next()))
        expect(new Set(answers.map(({ token }) => token)).size, JSON.stringify(answers)).toBe(1)
        expect(answers[0]?.['token']).toBeTypeOf('string')
        expect(stage.server.counts()).toMatchObject({ arrived: round, token: { refresh_token: round }, reuse: 0 })
      }
    })

    test('the holder of a lease is killed before it sends: another one refreshes, at once', async () => {
      await stage.expire()
      const holder = await start({ stopAt: 'claimed' })
      holder.go()
      expect(await holder.next()).toEqual({ stopped: 'claimed' })
      const waiting = stage.broker.getToken(stage.urls.files)
      await holder.kill()
      expect((await waiting).scopes).toEqual(['files:read'])
      expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
    })

    test('the holder is killed when the token may be spent: the doubt is written down, and one replay made', async () => {
      await stage.expire()
      const holder = await start({ stopAt: 'sent' })
      holder.go()
      expect(await holder.next()).toEqual({ stopped: 'sent' })
      await holder.kill()
      expect((await stage.broker.getToken(stage.urls.files)).scopes).toEqual(['files:read'])
      expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
    })

    test('a holder that sleeps longer than its lease wakes up, and does not send what another has spent', async () => {
      const timing = { leaseMs: 1_500, httpTimeoutMs: 500, commitAllowanceMs: 200 }
      await stage.expire()
      const holder = await start({ sleepsAt: 'claimed', timing })
      holder.go()
      expect(await holder.next()).toEqual({ sleeps: 'claimed' })
      // Another process, and not this one's kin: it waits for the lease to run out.
      const other = await start({ timing })
      other.go()
      const { token } = await other.next()
      expect(token).toBeTypeOf('string')
      holder.child.kill('SIGCONT')
      expect((await holder.next())['token']).toBe(token)
      expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
    })

    test('the database is killed right after it has answered: what was handed out is there, 20 times', {
      timeout: 180_000,
    }, async () => {
      for (let round = 1; round <= 20; round++) {
        await stage.expire()
        const worker = await start()
        worker.go()
        const { token } = await worker.next()
        await place.kill()
        expect(token).toBeTypeOf('string')
        await worker.kill()
        await place.start()
        const credential = await afterwards(() => stage.credential())
        expect(credential.tokens.map(({ accessToken }) => accessToken.reveal())).toContain(token)
        expect(credential.grant).toMatchObject({ generation: round + 1, state: 'live' })
      }
      expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 20 }, reuse: 0 })
    })

    test('connections are cut in mid-commit: whatever update says is so, and nothing is done twice', {
      timeout: 120_000,
    }, async () => {
      const proxy = await cuttingProxy(place.at)
      const tally = { resolved: 0, indeterminate: 0, failed: 0, cuts: 0 }
      try {
        const distant = await place.through(proxy.at)
        const store = await openStore({ backend: distant.backend })
        const counter = { provider: 'counter', account: name }
        let count = 0
        for (let n = 1; n <= 150; n++) {
          proxy.cutIn(Math.random() < 0.6 ? Math.floor(Math.random() * 4) : undefined)
          const outcome = await increment(store, counter)
          tally[outcome]++
          const now = await afterwards(() => stage.store.read(counter))
          const stored = now?.type === 'api_key' ? Number(now.key.reveal()) : 0
          if (outcome === 'resolved') expect(stored).toBe(count + 1)
          else if (outcome === 'failed') expect(stored).toBe(count)
          else expect([count, count + 1]).toContain(stored)
          count = stored
        }
        proxy.cutIn(undefined)
        tally.cuts = proxy.cuts()
        await store.close()
        await distant.end()
      } finally {
        await proxy.stop()
      }
      console.log(`${name}: ${JSON.stringify(tally)}`)
      expect(tally.cuts).toBeGreaterThan(30)
      expect(tally.resolved).toBeGreaterThan(60)
    })
  },
)

async function increment(
  store: CredentialStore,
  counter: { provider: string; account: string },
): Promise<'resolved' | 'indeterminate' | 'failed'> {
  try {
    await store.update(counter, (current) => ({
      ...{ type: 'api_key', ...counter },
      key: new Secret(String((current?.type === 'api_key' ? Number(current.key.reveal()) : 0) + 1)),
    }))
    return 'resolved'
  } catch (error) {
    if (isAuthkeepError(error, 'write_indeterminate')) return 'indeterminate'
    if (isAuthkeepError(error, 'store_failed')) return 'failed'
    throw error
  }
}

/** A client finds its way back to a server that was away. */
async function afterwards<T>(run: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await run()
    } catch (error) {
      if (attempt === 100) throw error
      await delay(50)
    }
  }
}

interface CuttingProxy {
  readonly at: { readonly port: number } | { readonly path: string }
  /** Cuts a connection after that many more chunks, in either direction; the last one arrives or does not, by chance. */
  cutIn(chunks: number | undefined): void
  cuts(): number
  stop(): Promise<void>
}

async function cuttingProxy(to: { readonly port: number } | { readonly path: string }): Promise<CuttingProxy> {
  let left: number | undefined
  let cuts = 0
  const sockets = new Set<Socket>()
  const server = createServer((near) => {
    const far = 'port' in to ? createConnection(to.port, '127.0.0.1') : createConnection(to.path)
    for (const [from, into] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from)
      from.on('error', () => undefined)
      from.on('close', () => into.destroy())
      from.on('data', (chunk) => {
        if (left === undefined || left-- > 0) {
          into.write(chunk)
          return
        }
        left = undefined
        cuts++
        const close = (): void => {
          near.destroy()
          far.destroy()
        }
        if (Math.random() < 0.5) into.write(chunk, close)
        else close()
      })
    }
  })
  const path = join(tmpdir(), `authkeep-proxy-${process.pid}-${Math.random().toString(36).slice(2)}`)
  server.listen('port' in to ? { port: 0, host: '127.0.0.1' } : { path })
  await once(server, 'listening')
  const address = server.address()
  return {
    at: typeof address === 'object' && address !== null ? { port: address.port } : { path },
    cutIn: (chunks) => {
      left = chunks
    },
    cuts: () => cuts,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}
