import { randomUUID } from 'node:crypto'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { Secret } from '../../src/credential.ts'
import type { StoreBackend } from '../../src/store/backend.ts'
import { spoiledContract, storeContract } from '../../src/store/contract.ts'
import { CredentialStore } from '../../src/store/store.ts'
import { type DynamoServer, startDynamo } from './dynamodb-server.ts'

const folder = process.env['AUTHKEEP_SEAMS'] ?? ''
type Send = (command: object) => Promise<object>
interface Sdk {
  readonly DynamoDBClient: new (options: object) => { readonly send: Send; destroy(): void }
  readonly CreateTableCommand: new (input: object) => object
  readonly PutItemCommand: new (input: object) => object
}

const table = 'authkeep'
const key = { provider: 'p', account: 'a' }
const change = { key: 'p:a', next: { n: 1 }, expected: null }

let server: DynamoServer
let sdk: Sdk
let dynamoBackend: (options: object) => StoreBackend
let client: InstanceType<Sdk['DynamoDBClient']>
let namespace: string

const connect = (options: object = {}): typeof client =>
  new sdk.DynamoDBClient({
    ...{ endpoint: server.origin, region: 'eu-central-1', ...options },
    credentials: { accessKeyId: 'an-id', secretAccessKey: 'a-key' },
  })

beforeAll(async () => {
  server = await startDynamo()
  sdk = createRequire(join(folder, 'package.json'))('@aws-sdk/client-dynamodb') as Sdk
  const recipe = (await import(pathToFileURL(join(folder, 'dynamodb.ts')).href)) as {
    dynamoBackend: typeof dynamoBackend
  }
  dynamoBackend = recipe.dynamoBackend
  client = connect()
  const names = ['namespace', 'key'] as const
  await client.send(
    new sdk.CreateTableCommand({
      TableName: table,
      BillingMode: 'PAY_PER_REQUEST',
      AttributeDefinitions: names.map((AttributeName) => ({ AttributeName, AttributeType: 'S' })),
      KeySchema: names.map((AttributeName, at) => ({ AttributeName, KeyType: at === 0 ? 'HASH' : 'RANGE' })),
    }),
  )
})
afterAll(async () => {
  client.destroy()
  await server.stop()
})
beforeEach(() => {
  namespace = randomUUID()
  Object.assign(server.counts, { asked: 0, done: 0 })
})
const open = (of = client): StoreBackend => dynamoBackend({ client: of, table, namespace })

describe('the recipe for DynamoDB, on dynalite with imitated transactions', () => {
  test.each(storeContract)('keeps the contract: $name', async (rule) => {
    await rule.run({ open: async () => open() })
  })

  test.each(spoiledContract)('keeps the contract: $name', async (rule) => {
    await rule.run({
      open: async () => open(),
      spoil: async (spoilt) => {
        const Item = { namespace: { S: namespace }, key: { S: spoilt }, value: { S: '[7' }, revision: { S: 'r' } }
        await client.send(new sdk.PutItemCommand({ TableName: table, Item }))
      },
    })
  })

  test('a transaction whose answer is lost is asked for again and carried out once', async () => {
    server.cut = 'after'
    expect(await open().commit([change])).toEqual({ ok: true })
    expect(server.counts).toEqual({ asked: 2, done: 1 })
  })

  test('a refusal says nothing of an earlier try whose answer was lost', async () => {
    server.cut = 'after'
    server.refusal = { name: 'AccessDeniedException' }
    await expect(open().commit([change])).rejects.toMatchObject({ code: 'write_indeterminate' })
    expect(await open().read('p:a')).toMatchObject({ value: { n: 1 } })
  })

  test('no read is one that may be answered with an older state', async () => {
    await open().read('p:a')
    await open().keys()
    expect(server.stale).toEqual([])
  })

  test.each([
    ['before', 2],
    ['after', 3],
  ] as const)(
    'a client that asks once only, and a connection that breaks %s the commit: it is settled',
    async (cut, asked) => {
      const once = connect({ maxAttempts: 1 })
      server.cut = cut
      await expect(open(once).commit([{ ...change, key: ':a' }])).rejects.toMatchObject({
        code: 'write_indeterminate',
        detail: { key: ':a' },
      })
      Object.assign(server.counts, { asked: 0, done: 0 })
      const store = new CredentialStore(open(once))
      const update = vi.fn(() => ({ ...key, type: 'api_key' as const, key: new Secret('k') }))
      server.cut = cut
      await store.update(key, update)
      expect(update).toHaveBeenCalledTimes(1)
      expect(server.counts.asked).toBe(asked)
      expect(await store.list()).toMatchObject([{ ...key, type: 'api_key' }])
      once.destroy()
    },
  )

  test('a transaction that another one was in the way of is made again', async () => {
    server.refusal = { name: 'TransactionCanceledException', reasons: ['TransactionConflict'] }
    expect(await open().commit([change])).toEqual({ ok: true })
    expect(server.counts).toEqual({ asked: 2, done: 1 })
  })

  test('what DynamoDB refuses is named, and was not written', async () => {
    server.refusal = { name: 'AccessDeniedException' }
    await expect(open().commit([change])).rejects.toMatchObject({
      code: 'store_failed',
      detail: { operation: 'commit', errno: 'AccessDeniedException' },
    })
    server.refusal = { name: 'TransactionInProgressException' }
    const once = connect({ maxAttempts: 1 })
    await expect(open(once).commit([change])).rejects.toMatchObject({ code: 'write_indeterminate' })
    once.destroy()
    await expect(dynamoBackend({ client, table: 'elsewhere' }).read('p:a')).rejects.toMatchObject({
      code: 'store_failed',
      detail: { operation: 'read', errno: 'ResourceNotFoundException' },
    })
  })
})
