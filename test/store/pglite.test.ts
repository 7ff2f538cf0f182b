import { randomUUID } from 'node:crypto'
import { PGlite } from '@electric-sql/pglite'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { storeContract } from '../../src/store/contract.ts'
import { postgresBackend } from '../../src/store/postgres.ts'

// One for all: it is a whole PostgreSQL, and each takes seconds to begin.
let client: PGlite
beforeAll(async () => {
  client = await PGlite.create()
}, 120_000)
afterAll(() => client.close())

describe('the PostgreSQL backend on PGlite', () => {
  test.each(storeContract)('keeps the contract: $name', async (rule) => {
    const namespace = randomUUID()
    await rule.run({ open: async () => postgresBackend({ client, namespace, acceptLoss: true }) })
  })

  test('is refused unless loss is accepted, since PGlite runs with fsync off', async () => {
    await expect(postgresBackend({ client }).read('p:a')).rejects.toMatchObject({
      code: 'store_failed',
      detail: { errno: 'fsync is off' },
    })
  })
})
