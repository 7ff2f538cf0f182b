import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { spoiledContract, storeContract } from '../../src/store/contract.ts'
import { redisBackend } from '../../src/store/redis.ts'
import { durable, type RedisServer, startRedis } from './redis-server.ts'

/** run.sh says so where there is none. */
const describeRedis = describe.skipIf(spawnSync('redis-server', ['--version']).status !== 0)

let server: RedisServer

describeRedis('the Redis backend keeps the contract:', () => {
  beforeAll(async () => {
    server = await startRedis()
  })
  afterAll(() => server.stop())

  test.each(storeContract)('$name', async (rule) => {
    const namespace = randomUUID()
    await rule.run({ open: async () => redisBackend({ client: await server.connect(), namespace }) })
  })

  test.each(storeContract)('$name (told of changes)', async (rule) => {
    const namespace = randomUUID()
    const [client, subscriber] = [await server.connect(), await server.connect()]
    await rule.run({ open: async () => redisBackend({ client, namespace, subscriber }) })
  })

  test.each(spoiledContract)('$name', async (rule) => {
    const namespace = randomUUID()
    const client = await server.connect()
    await rule.run({
      open: async () => redisBackend({ client, namespace }),
      spoil: async (key) => {
        await client.hSet(`{${namespace}}:entry:${key}`, 'value', '[7')
      },
    })
  })
})

describeRedis('a server that forgets', () => {
  test.each([
    ['appendonly', 'no'],
    ['appendfsync', 'everysec'],
    ['maxmemory-policy', 'allkeys-lru'],
  ])('is not used (%s %s), unless that is accepted', async (name, value) => {
    const at = durable.indexOf(`--${name}`)
    const forgetful = await startRedis(durable.with(at + 1, value))
    try {
      const client = await forgetful.connect()
      const backend = redisBackend({ client })
      for (const call of [
        () => backend.read('p:a'),
        () => backend.commit([{ key: 'p:a', next: {}, expected: null }]),
      ]) {
        await expect(call()).rejects.toMatchObject({
          code: 'store_failed',
          detail: { errno: expect.stringContaining(name) as string },
        })
      }
      const accepted = redisBackend({ client, acceptLoss: true })
      expect(await accepted.commit([{ key: 'p:a', next: {}, expected: null }])).toEqual({ ok: true })
    } finally {
      await forgetful.stop()
    }
  })
})
