import { randomUUID } from 'node:crypto'
import { inspect } from 'node:util'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { spoiledContract, storeContract } from '../../src/store/contract.ts'
import { postgresBackend } from '../../src/store/postgres.ts'
import { type PostgresServer, startPostgres } from './postgres-server.ts'

let server: PostgresServer
beforeAll(async () => {
  server = await startPostgres()
})
afterAll(() => server.stop())

describe('the PostgreSQL backend keeps the contract:', () => {
  test.each(storeContract)('$name', async (rule) => {
    const namespace = randomUUID()
    await rule.run({ open: async () => postgresBackend({ client: server.pool(), namespace }) })
  })

  test.each(storeContract)('$name (in a schema of its own, told of changes)', async (rule) => {
    const schema = `s_${randomUUID().replaceAll('-', '_')}`
    const listen = await server.pool().connect()
    try {
      await rule.run({ open: async () => postgresBackend({ client: server.pool(), schema, listen }) })
    } finally {
      listen.release(true)
    }
  })

  test.each(spoiledContract)('$name', async (rule) => {
    const namespace = randomUUID()
    await rule.run({
      open: async () => postgresBackend({ client: server.pool(), namespace }),
      spoil: async (key) => {
        const text = "UPDATE authkeep.entries SET value = '[7' WHERE namespace = $1 AND key = $2"
        await server.pool().query(text, [namespace, key])
      },
    })
  })
})

describe('the PostgreSQL backend', () => {
  const change = [{ key: 'p:a', next: { n: 1 }, expected: null }]

  test.each([1, 2])('of 12 connections that commit at once one wins, each of 40 times (%s keys)', async (count) => {
    const namespace = randomUUID()
    const client = server.pool(12)
    const backend = postgresBackend({ client, namespace })
    const keys = Array.from({ length: count }, (_, n) => `p:${n}`)
    for (let round = 0; round < 40; round++) {
      const found = await Promise.all(keys.map((key) => backend.read(key)))
      const outcomes = await Promise.all(
        Array.from({ length: 12 }, (_, n) => {
          const changes = keys.map((key, at) => ({ key, next: { n }, expected: found[at]?.revision ?? null }))
          return backend.commit(n % 2 === 0 ? changes : changes.toReversed())
        }),
      )
      expect(outcomes.filter(({ ok }) => ok)).toHaveLength(1)
    }
  })

  test('waits for the disk even where the role does not', async () => {
    const lax = new pg.Pool({ connectionString: server.url, max: 1, options: '-c synchronous_commit=off' })
    const seen: unknown[] = []
    const client = {
      async query(text: string, values?: unknown[]) {
        if (!text.includes('.commit(')) return lax.query(text, values)
        await lax.query('BEGIN')
        const answer = await lax.query(text, values)
        seen.push((await lax.query('SHOW synchronous_commit')).rows[0])
        await lax.query('COMMIT')
        return answer
      },
    }
    await postgresBackend({ client, namespace: randomUUID() }).commit(change)
    await lax.end()
    expect(seen).toEqual([{ synchronous_commit: 'on' }])
  })

  test.each([
    ['a server that does not wait for its disk', { fsync: false }],
    ['a standby', { standby: true }],
  ])('does not use %s', async (_, said) => {
    const client = {
      async query() {
        return { rows: [{ present: true, fsync: true, standby: false, version: 1, ...said }] }
      },
    }
    await expect(postgresBackend({ client }).read('p:a')).rejects.toMatchObject({ code: 'store_failed' })
  })

  test('leaves tables of a newer version alone', async () => {
    const client = {
      async query() {
        return { rows: [{ present: true, fsync: true, standby: false, version: 2 }] }
      },
    }
    await expect(postgresBackend({ client }).commit(change)).rejects.toMatchObject({ code: 'store_corrupt' })
  })

  test('says what the server refuses by its SQLSTATE, and quotes nothing', async () => {
    const pool = server.pool()
    await pool.query("CREATE ROLE reader LOGIN PASSWORD 'reader'")
    const backend = postgresBackend({ client: pool, namespace: randomUUID() })
    await backend.read('p:a')
    await pool.query('GRANT USAGE ON SCHEMA authkeep TO reader; GRANT SELECT ON authkeep.entries TO reader')
    const reader = new pg.Pool({ connectionString: server.url.replace('postgres:postgres', 'reader:reader') })
    const refused = postgresBackend({ client: reader }).commit([{ ...change[0]!, next: { secret: 'sk-secret' } }])
    const error = await refused.catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'store_failed', detail: { operation: 'commit', errno: '42501' } })
    expect(inspect(error, { depth: 9 })).not.toContain('sk-secret')
    await reader.end()
  })

  test('a server that is not there: nothing was written, and the next call tries again', async () => {
    const gone = new pg.Pool({ connectionString: 'postgres://127.0.0.1:1/postgres' })
    const pool = server.pool()
    let client: { query: typeof pool.query } = gone
    const backend = postgresBackend({
      client: { query: (text, values) => client.query(text, values) },
      namespace: randomUUID(),
    })
    await expect(backend.commit(change)).rejects.toMatchObject({
      code: 'store_failed',
      detail: { errno: 'ECONNREFUSED' },
    })
    client = pool
    expect(await backend.commit(change)).toEqual({ ok: true })
    await gone.end()
  })

  test('a schema is an identifier, since it becomes part of the statements', () => {
    const client = server.pool()
    expect(() => postgresBackend({ client, schema: 'a; DROP TABLE x' })).toThrow(TypeError)
  })
})
