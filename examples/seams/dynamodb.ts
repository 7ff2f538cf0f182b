// A table of DynamoDB as the store: one item per credential, changed by transactions with a condition per item. The
// table has a partition key `namespace` and a sort key `key`, both strings. Its limits: docs/fleets.md.
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import {
  type AttributeValue,
  type DynamoDBClient,
  DynamoDBServiceException,
  GetItemCommand,
  paginateQuery,
  type TransactWriteItem,
  TransactWriteItemsCommand,
} from '@aws-sdk/client-dynamodb'
import { AuthkeepError, type Change, type CommitResult, type StoreBackend } from 'authkeep'

export interface DynamoOptions {
  /** Of one Region. What it sends again by itself is carried out once: a transaction has a token for that. */
  readonly client: DynamoDBClient
  readonly table: string
  /** Whose credentials these are, of several programs that share the table. */
  readonly namespace?: string
}

const attempts = 10

export function dynamoBackend({ client, table, namespace = 'default' }: DynamoOptions): StoreBackend {
  const path = `dynamodb:${table}/${namespace}`
  const working = new Set<Promise<unknown>>()
  let isClosed = false

  const keyOf = (key: string): Record<string, AttributeValue> => ({ namespace: { S: namespace }, key: { S: key } })
  const failed = (operation: string, errno: string): AuthkeepError =>
    new AuthkeepError('store_failed', { path, operation, errno, unspent: true })
  const assertOpen = (): void => {
    if (isClosed) throw new TypeError('the backend is closed')
  }

  async function find(key: string): ReturnType<StoreBackend['read']> {
    const found = await client
      .send(new GetItemCommand({ TableName: table, Key: keyOf(key), ConsistentRead: true }))
      .catch((error: unknown) => Promise.reject(failed('read', nameOf(error))))
    if (found.Item === undefined) return null
    const { value, revision } = found.Item
    const read: unknown = parsed(value?.S ?? '')
    if (typeof read !== 'object' || read === null || Array.isArray(read) || revision?.S === undefined) {
      throw new AuthkeepError('store_corrupt', { path, key, what: 'it is no JSON object with a revision' })
    }
    return { value: read as NonNullable<Change['next']>, revision: revision.S }
  }

  function itemOf({ key, next, expected }: Change): TransactWriteItem {
    const condition = {
      TableName: table,
      ConditionExpression: expected === null ? 'attribute_not_exists(revision)' : 'revision = :expected',
      ...(expected === null ? {} : { ExpressionAttributeValues: { ':expected': { S: expected } } }),
    }
    if (next === null) return { Delete: { ...condition, Key: keyOf(key) } }
    const Item = { ...keyOf(key), value: { S: JSON.stringify(next) }, revision: { S: randomUUID() } }
    return { Put: { ...condition, Item } }
  }

  async function attempt(changes: readonly Change[], TransactItems: TransactWriteItem[]): Promise<CommitResult> {
    for (let n = 1; ; n++) {
      try {
        await client.send(new TransactWriteItemsCommand({ TransactItems }))
        return { ok: true }
      } catch (error) {
        const name = nameOf(error)
        if (name !== 'TransactionCanceledException') {
          if (!wasRefused(error)) throw new AuthkeepError('write_indeterminate', { key: changes[0]?.key ?? path })
          throw failed('commit', name)
        }
        for (const { key, expected } of changes) {
          const current = await find(key)
          if ((current?.revision ?? null) !== expected) return { ok: false, key, current }
        }
        // They all hold: another transaction was at the same items, and has not changed them.
        if (n === attempts) throw failed('commit', name)
        await delay(Math.random() * 10 * 2 ** n)
      }
    }
  }

  return {
    exclusion: 'cas',
    async read(key) {
      assertOpen()
      return find(key)
    },
    async keys() {
      assertOpen()
      const pages = paginateQuery(
        { client },
        {
          ...{ TableName: table, ConsistentRead: true, ProjectionExpression: '#key' },
          KeyConditionExpression: 'namespace = :namespace',
          ExpressionAttributeNames: { '#key': 'key' },
          ExpressionAttributeValues: { ':namespace': { S: namespace } },
        },
      )
      const names: string[] = []
      try {
        for await (const { Items = [] } of pages) names.push(...Items.map(({ key }) => key?.S ?? ''))
      } catch (error) {
        throw failed('keys', nameOf(error))
      }
      return names
    },
    async commit(changes) {
      assertOpen()
      if (new Set(changes.map(({ key }) => key)).size !== changes.length) throw new TypeError('a key occurs twice')
      const work = attempt(structuredClone(changes), changes.map(itemOf))
      working.add(work)
      return work.finally(() => working.delete(work))
    },
    async waitForChange(key, since, timeoutMs) {
      const deadline = performance.now() + timeoutMs
      for (let pauseMs = 20; ; pauseMs = Math.min(pauseMs * 1.5, 200)) {
        assertOpen()
        const now = await find(key)
        const left = deadline - performance.now()
        if ((now?.revision ?? null) !== since || left <= 0) return
        await delay(Math.min(left, pauseMs * (0.5 + Math.random())))
      }
    },
    async close() {
      isClosed = true
      await Promise.allSettled(working)
    },
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

/** Never a message, which may quote what was sent. */
function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : 'unknown error'
}

/** Said by DynamoDB, of the first time it was asked: of an earlier one that was lost, nobody knows. */
function wasRefused(error: unknown): boolean {
  if (!(error instanceof DynamoDBServiceException) || error.name === 'TransactionInProgressException') return false
  return error.$fault === 'client' && (error.$metadata.attempts ?? 1) === 1
}
