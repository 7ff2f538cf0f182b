// One process of the process tests: asks for a token at the word "go", and can be told to stop dead at a point.
// Arguments: JSON { path or postgres or redis, provider, url, stopAt?, sleepsAt?, isCareless?, once?, timing?,
// format? }. Prints JSON lines.
import * as fs from 'node:fs'
import { createInterface } from 'node:readline'
import * as authkeep from '../../dist/index.js'

const { fileBackend, openStore, TokenBroker } = authkeep
const options = JSON.parse(process.argv[2])
const { provider, url, stopAt, sleepsAt, isCareless = false, once, timing = {} } = options
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`)

/** Where the credentials are, and what to do at the end. */
async function place({ path, format = 'nativeFormat', postgres, redis }) {
  if (path !== undefined) return { backend: fileBackend({ path, format: authkeep[format] }), end: async () => {} }
  if (postgres !== undefined) {
    const [{ default: pg }, { postgresBackend }] = await Promise.all([
      import('pg'),
      import('../../dist/store/postgres.js'),
    ])
    const pool = new pg.Pool({ connectionString: postgres, max: 2 })
    pool.on('error', () => {})
    return { backend: postgresBackend({ client: pool }), end: () => pool.end() }
  }
  const [{ createClient }, { redisBackend }] = await Promise.all([import('redis'), import('../../dist/store/redis.js')])
  const client = createClient({ socket: { path: redis } })
  client.on('error', () => {})
  await client.connect()
  return { backend: redisBackend({ client }), end: async () => client.destroy() }
}

/** The backend, except that after a commit for which `isPoint` holds nothing happens any more, or not for a while. */
function stoppingAfter(backend, isPoint) {
  const commit = backend.commit.bind(backend)
  backend.commit = async (changes) => {
    const result = await commit(changes)
    if (!changes.some(({ next }) => isPoint(next))) return result
    if (stopAt === undefined) {
      // Not a line later: whoever wakes us finds out afterwards what has become of the lease.
      fs.writeSync(1, `${JSON.stringify({ sleeps: sleepsAt })}\n`)
      process.kill(process.pid, 'SIGSTOP')
      return result
    }
    say({ stopped: stopAt })
    return new Promise(() => {})
  }
  return backend
}

const points = {
  claimed: (next) => next?.lease != null && next.lease.sentAt === null && next.lease.padding !== undefined,
  sent: (next) => next?.lease?.sentAt != null,
}
const { backend, end } = await place(options)
const point = points[stopAt ?? sleepsAt]
const store = await openStore({ backend: point === undefined ? backend : stoppingAfter(backend, point) })
const broker = new TokenBroker({ store, providers: [provider], timing })
if (once !== undefined) process.once(once, () => say({ heard: once }))
say({ ready: process.pid })
for await (const line of createInterface({ input: process.stdin })) {
  if (line !== 'go') break
  try {
    const token = await broker.getToken(url)
    say({ token: token.reveal(), expiresAt: token.expiresAt })
  } catch (error) {
    say({ error: error.code ?? String(error), detail: error.detail })
  }
  if (isCareless) break
}
// A careless program closes nothing: it ends when it has nothing left to do.
if (isCareless) process.stdin.destroy()
else {
  await broker.close()
  await store.close()
  await end()
}
