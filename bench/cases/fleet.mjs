import { join } from 'node:path'
import { startPostgres, startRedis } from '../database.mjs'
import { startTokenServer } from '../token-server.mjs'

export const about = 'stores that many machines share, and stores that are sealed'

const logins = 200
const connections = 4
/** What the authorization server takes for one refresh, and how many it carries out at a time. */
const [latencyMs, parallelism] = [250, 20]
const ideal = (logins / parallelism) * latencyMs

export async function* tables(bench) {
  const database = await startPostgres(bench.scratch)
  const redis = await startRedis(bench.scratch)
  const server = await startTokenServer({ latencyMs, parallelism })
  try {
    yield await poolTable(bench, database, server)
    const places = await placesOf(bench, database, redis)
    yield await cachedTable(bench, places)
    yield await coldTable(bench, places)
  } finally {
    await server.stop()
    await redis?.stop()
    await database.stop()
  }
}

// --- 200 at once ---------------------------------------------------------------------------------------------------

async function poolTable(bench, database, { issuer, counts }) {
  const { openStore, TokenBroker } = await import(`${bench.dist}/index.js`)
  const { postgresBackend } = await import(`${bench.dist}/store/postgres.js`)
  const provider = {
    ...{ id: 'acme', issuer, client: { id: 'bench' }, metadata: { issuer, token_endpoint: `${issuer}/token` } },
    endpoints: [{ url: 'https://api.example.com/files', scopes: ['files'] }],
    refresh: { rotation: 'strict' },
  }
  const pool = database.pool(connections)
  const store = await openStore({ backend: postgresBackend({ client: pool, namespace: 'pool' }) })
  const keys = Array.from({ length: logins }, (_, n) => ({ provider: 'acme', account: `n${n}` }))
  let run = 0
  const expire = async () => {
    run++
    const { login } = await import('../login.mjs')
    const all = keys.map((key) => [
      `acme:${key.account}`,
      login(bench, { ...key, issuer, refresh: `${run}-${key.account}` }),
    ])
    const entries = new Map(await Promise.all(all.map(async ([name, made]) => [name, await made])))
    await store.updateAll(keys, () => entries)
  }
  const authkeep = async () => {
    await expire()
    const broker = new TokenBroker({ store, providers: [provider] })
    const from = performance.now()
    await Promise.all(keys.map(({ account }) => broker.getToken(provider.endpoints[0].url, { account })))
    const took = performance.now() - from
    await broker.close()
    return took
  }
  await pool.query('CREATE TABLE by_hand (name text PRIMARY KEY, token text NOT NULL)')
  const rowLock = async () => {
    run++
    const names = keys.map(({ account }) => account)
    const add =
      'INSERT INTO by_hand SELECT n, $2 || n FROM unnest($1::text[]) n ON CONFLICT (name) DO UPDATE SET token = excluded.token'
    await pool.query(add, [names, `${run}-hand-`])
    const from = performance.now()
    await Promise.all(names.map((name) => refreshUnderRowLock(pool, name, `${issuer}/token`)))
    return performance.now() - from
  }
  return {
    title: `${logins} logins refreshed at once, ${connections} connections, a server of ${latencyMs} ms that carries out ${parallelism} at a time`,
    unit: 'ms',
    baseline: 'what the server needs',
    rounds: bench.rounds(5, 1),
    warmUps: 1,
    contenders: [
      { name: 'what the server needs', sample: () => ideal },
      { name: 'authkeep', sample: authkeep, close: () => store.close() },
      { name: 'SELECT … FOR UPDATE around the request', sample: rowLock },
    ],
    goals: [{ contender: 'authkeep', atMost: 1.5, times: 'what the server needs' }],
    notes: () => [`at the server: ${counts.served} served, ${counts.reuse} presented a second time`],
  }
}

/** What is often written: the row is locked, and with it a connection taken, for as long as the server takes. */
async function refreshUnderRowLock(pool, name, endpoint) {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    const { rows } = await client.query('SELECT token FROM by_hand WHERE name = $1 FOR UPDATE', [name])
    const body = new URLSearchParams({ grant_type: 'refresh_token', client_id: 'bench', refresh_token: rows[0].token })
    const answer = await (await fetch(endpoint, { method: 'POST', body })).json()
    await client.query('UPDATE by_hand SET token = $2 WHERE name = $1', [name, answer.refresh_token])
    await client.query('COMMIT')
  } finally {
    client.release()
  }
}

// --- what each place costs -----------------------------------------------------------------------------------------

const url = 'https://api.example.com/files'
const issuer = 'https://login.example.com'
const provider = { id: 'acme', issuer, client: { id: 'bench' }, endpoints: [{ url, scopes: ['files'] }] }

/** Each with one living login in it; `open` gives a backend that knows nothing yet. */
async function placesOf(bench, database, redis) {
  const { fileBackend, fileKeys, memoryBackend, sealed } = await import(`${bench.dist}/index.js`)
  const [{ postgresBackend }, { redisBackend }] = await Promise.all([
    import(`${bench.dist}/store/postgres.js`),
    import(`${bench.dist}/store/redis.js`),
  ])
  const home = bench.scratch.directory('places')
  const seal = (backend) => sealed(backend, fileKeys(join(home, 'keys')))
  const memory = memoryBackend()
  const pool = database.pool(connections)
  const postgres = (namespace) => postgresBackend({ client: pool, namespace })
  const kept = (namespace) => redisBackend({ client: redis.client, namespace })
  const absent = 'redis-server is not installed'
  const places = [
    { name: 'memory', open: () => memory },
    { name: 'file', open: () => fileBackend({ path: join(home, 'plain.json') }) },
    { name: 'file, sealed', open: () => seal(fileBackend({ path: join(home, 'sealed.json') })) },
    { name: 'PostgreSQL', open: () => postgres('plain') },
    { name: 'PostgreSQL, sealed', open: () => seal(postgres('sealed')) },
    redis === null ? { name: 'Redis', absent } : { name: 'Redis', open: () => kept('plain') },
    redis === null ? { name: 'Redis, sealed', absent } : { name: 'Redis, sealed', open: () => seal(kept('sealed')) },
    await keychainPlace(bench, home),
  ]
  const { login } = await import('../login.mjs')
  const { CredentialStore } = await import(`${bench.dist}/index.js`)
  for (const { open } of places.filter((place) => place.open !== undefined)) {
    const store = new CredentialStore(open())
    const entry = await login(bench, {
      provider: 'acme',
      account: 'default',
      issuer,
      expiresAt: Date.now() + 86_400_000,
    })
    await store.update(entry, () => entry)
  }
  return places
}

/** A store whose key is in the keychain of this session, if it has one that answers. */
async function keychainPlace(bench, home) {
  const { fileBackend, sealed } = await import(`${bench.dist}/index.js`)
  const { keychainKeys } = await import(`${bench.dist}/store/keychain.js`)
  const name = 'file, sealed with a key of the keychain'
  const keys = keychainKeys({ service: 'authkeep-bench', timeoutMs: 5_000 })
  try {
    const { id } = await keys.create(new Set())
    await keys.discard(id)
  } catch {
    return { name, absent: 'there is no keychain in this session' }
  }
  return { name, open: () => sealed(fileBackend({ path: join(home, 'keychain.json') }), keys) }
}

async function cachedTable(bench, places) {
  const { openStore, TokenBroker } = await import(`${bench.dist}/index.js`)
  const calls = 20_000
  const contenders = places.map(({ name, absent, open }) => {
    if (absent !== undefined) return { name, absent }
    const broker = openStore({ backend: open() }).then((store) => new TokenBroker({ store, providers: [provider] }))
    return {
      name,
      async sample() {
        const { getToken } = { getToken: (await broker).getToken.bind(await broker) }
        const from = process.hrtime.bigint()
        for (let n = 0; n < calls; n++) await getToken(url)
        return Number(process.hrtime.bigint() - from) / calls
      },
      close: async () => (await broker).close(),
    }
  })
  return {
    title: 'getToken for a living token, again and again: one look at the store in 50 ms',
    unit: 'ns a call',
    baseline: 'file',
    rounds: bench.rounds(20, 3),
    warmUps: 2,
    contenders,
  }
}

async function coldTable(bench, places) {
  const { CredentialStore, TokenBroker } = await import(`${bench.dist}/index.js`)
  const contenders = places.map(({ name, absent, open }) => ({
    name,
    absent,
    ...(absent === undefined && {
      async sample() {
        const from = performance.now()
        const broker = new TokenBroker({ store: new CredentialStore(open()), providers: [provider] })
        await broker.getToken(url)
        const took = performance.now() - from
        await broker.close()
        return took
      },
    }),
  }))
  return {
    title:
      'getToken for a living token, by a new broker on a new store in a warm process: everything is read, and opened',
    unit: 'ms',
    baseline: 'file',
    rounds: bench.rounds(40, 5),
    warmUps: 3,
    contenders,
  }
}
