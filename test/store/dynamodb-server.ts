import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { text as textOf } from 'node:stream/consumers'

const folder = process.env['AUTHKEEP_SEAMS'] ?? ''

/** dynalite, and in front of it what it lacks: transactions. They are an imitation; every condition is dynalite's. */
export interface DynamoServer {
  readonly origin: string
  /** Breaks the connection of the next transaction, before or after it is carried out. */
  cut: 'before' | 'after' | undefined
  /** Says this of the next transaction whose connection is not broken, and does not carry it out. */
  refusal: { readonly name: string; readonly reasons?: readonly string[] } | undefined
  /** How many transactions were asked for, and how many of them carried out. */
  readonly counts: { asked: number; done: number }
  /** Reads that DynamoDB may answer with an older state; dynalite never does. */
  readonly stale: string[]
  stop(): Promise<void>
}

type Item = Readonly<Record<string, { readonly S: string }>>
type Written = Readonly<{ TableName: string; Item?: Item; Key?: Item }>
type Action = Readonly<Partial<Record<'Put' | 'Delete', Written>>>
interface Answer {
  readonly status: number
  readonly body: { readonly __type?: string; readonly Attributes?: Item }
}

export async function startDynamo(): Promise<DynamoServer> {
  const dynalite = createRequire(join(folder, 'package.json'))('dynalite') as (options: object) => Server
  const behind = dynalite({ createTableMs: 0 })
  const target = await listening(behind)

  /** DynamoDB does one transaction after the other where they touch the same items, and nobody sees a half. */
  let last: Promise<unknown> = Promise.resolve()
  const alone = <T>(work: () => Promise<T>): Promise<T> => {
    const result = last.then(work)
    last = result.catch(() => undefined)
    return result
  }
  const tokens = new Map<string, Answer>()

  async function ask(operation: string, headers: IncomingHttpHeaders, body: object | string): Promise<Answer> {
    const { authorization = '', 'x-amz-date': date = '' } = headers
    const response = await fetch(target, {
      method: 'POST',
      headers: {
        ...{ authorization, 'x-amz-date': String(date), 'Content-Type': 'application/x-amz-json-1.0' },
        'X-Amz-Target': `DynamoDB_20120810.${operation}`,
      },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
    return { status: response.status, body: (await response.json()) as Answer['body'] }
  }

  /** All of them, or those that were made are unmade. */
  async function transact(headers: IncomingHttpHeaders, actions: readonly Action[]): Promise<Answer> {
    const undo: (() => Promise<Answer>)[] = []
    for (const [index, { Put, Delete }] of actions.entries()) {
      const written = Put ?? Delete!
      const { TableName, Item = written.Key! } = written
      const made = await ask(Put === undefined ? 'DeleteItem' : 'PutItem', headers, {
        ...written,
        ReturnValues: 'ALL_OLD',
      })
      if (made.status !== 200) {
        for (const step of undo.toReversed()) await step()
        const failing = made.body.__type?.endsWith('#ConditionalCheckFailedException') === true
        return failing ? canceled(actions.map((_, at) => (at === index ? 'ConditionalCheckFailed' : 'None'))) : made
      }
      const { Attributes: old } = made.body
      const Key = { namespace: Item['namespace'], key: Item['key'] }
      undo.push(() =>
        old === undefined
          ? ask('DeleteItem', headers, { TableName, Key })
          : ask('PutItem', headers, { TableName, Item: old }),
      )
    }
    return { status: 200, body: {} }
  }

  const front = createServer((request, response) => {
    void (async () => {
      const content = await textOf(request)
      const operation = String(request.headers['x-amz-target']).split('.')[1] ?? ''
      if (operation !== 'TransactWriteItems') {
        if (/^(Get|BatchGet|Query|Scan)/.test(operation) && !content.includes('"ConsistentRead":true')) {
          server.stale.push(operation)
        }
        const { status, body } = await alone(() => ask(operation, request.headers, content))
        return response.writeHead(status, jsonType).end(JSON.stringify(body))
      }
      server.counts.asked++
      const { cut } = server
      const refusal = cut === undefined ? server.refusal : undefined
      if (cut === undefined) server.refusal = undefined
      server.cut = undefined
      if (cut === 'before') return request.socket.destroy()
      const { TransactItems, ClientRequestToken } = JSON.parse(content) as {
        TransactItems: Action[]
        ClientRequestToken: string
      }
      const answer = await alone(async () => {
        if (refusal !== undefined) return refused(refusal)
        const earlier = tokens.get(ClientRequestToken)
        if (earlier !== undefined) return earlier
        const done = await transact(request.headers, TransactItems)
        if (done.status !== 200) return done
        server.counts.done++
        tokens.set(ClientRequestToken, done)
        return done
      })
      if (cut === 'after') return request.socket.destroy()
      return response.writeHead(answer.status, jsonType).end(JSON.stringify(answer.body))
    })()
  })

  const server: DynamoServer = {
    ...{ origin: await listening(front), cut: undefined, refusal: undefined, counts: { asked: 0, done: 0 }, stale: [] },
    async stop() {
      front.closeAllConnections()
      front.close()
      await new Promise((resolve) => behind.close(resolve))
    },
  }
  return server
}

const jsonType = { 'Content-Type': 'application/x-amz-json-1.0' }

function refused({ name, reasons }: NonNullable<DynamoServer['refusal']>): Answer {
  if (reasons !== undefined) return canceled(reasons)
  return { status: 400, body: { __type: `com.amazonaws.dynamodb.v20120810#${name}` } }
}

function canceled(reasons: readonly string[]): Answer {
  const CancellationReasons = reasons.map((Code) => ({ Code }))
  const __type = 'com.amazonaws.dynamodb.v20120810#TransactionCanceledException'
  return { status: 400, body: { __type, CancellationReasons } as Answer['body'] }
}

async function listening(server: Server): Promise<string> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  return `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`
}
