import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import type { StoreBackend } from '../store/backend.ts'
import { fileBackend } from '../store/file.ts'
import type { MovingStore } from '../store/move.ts'
import { type Context, UsageError } from './context.ts'

/** What `--from`, `--to` and `AUTHKEEP_STORE` take. */
const places = 'file, a path, postgres://…, redis://…, or env:NAME for a variable that holds one of these'

/**
 * The store at a place; closing its backend also ends the connections that were made for it. Of a URL, `schema` and
 * `namespace` are ours. Its name has no password in it.
 *
 * @throws UsageError for what is no place, or where the package for it is not installed
 */
export async function openPlace({ home, env }: Pick<Context, 'home' | 'env'>, place: string): Promise<MovingStore> {
  if (place.startsWith('env:')) {
    const named = env[place.slice('env:'.length)] ?? ''
    if (named === '' || named.startsWith('env:')) throw new UsageError(`${place} names no place of a store.`)
    return openPlace({ home, env }, named)
  }
  if (/^postgres(ql)?:\/\//.test(place)) return openPostgres(urlOf(place))
  if (/^rediss?:\/\//.test(place)) return openRedis(urlOf(place))
  const path =
    place === 'file' ? join(home, 'auth.json') : place.replace(/^file:(\/\/)?/, '').replace(/^~(?=\/)/, homedir())
  // A URL that is none of ours may have a password in it.
  if (path === '' || /^[a-z]+:\/\//i.test(path))
    throw new UsageError(`That is no place of a store. It is one of ${places}.`)
  return { backend: fileBackend({ path: resolve(path) }), name: resolve(path) }
}

async function openPostgres(url: URL): Promise<MovingStore> {
  const [{ default: pg }, { postgresBackend }] = await Promise.all([
    import('pg').catch(() => notInstalled('pg')),
    import('../store/postgres.ts'),
  ])
  const [name, schema, namespace] = [nameOf(url), taken(url, 'schema'), taken(url, 'namespace')]
  const pool = new pg.Pool({ connectionString: url.href, max: 4, connectionTimeoutMillis: 10_000 })
  // Of connections that are idle: whoever uses one hears of it there.
  pool.on('error', () => undefined)
  const backend = postgresBackend({ client: pool, ...schema, ...namespace })
  return { backend: ending(backend, name, () => pool.end()), name }
}

async function openRedis(url: URL): Promise<MovingStore> {
  const [{ createClient }, { redisBackend }] = await Promise.all([
    import('redis').catch(() => notInstalled('redis')),
    import('../store/redis.ts'),
  ])
  const [name, namespace] = [nameOf(url), taken(url, 'namespace')]
  const client = createClient({ url: url.href, socket: { connectTimeout: 10_000, reconnectStrategy: false } })
  client.on('error', () => undefined)
  const connected = client.connect()
  // Whether it can be reached shows at the first use.
  connected.catch(() => undefined)
  const sendCommand = async (words: string[]): Promise<unknown> => {
    await connected
    return client.sendCommand(words)
  }
  const backend = redisBackend({ client: { sendCommand }, ...namespace })
  return { backend: ending(backend, name, async () => client.destroy()), name }
}

/** The same backend, which takes its connection with it, and can say where it is. */
function ending(backend: StoreBackend, location: string, end: () => Promise<void>): StoreBackend {
  const close = backend.close.bind(backend)
  return Object.assign(backend, {
    location,
    async close() {
      await close()
      await end()
    },
  })
}

function urlOf(text: string): URL {
  if (!URL.canParse(text)) throw new UsageError(`That is no place of a store. It is one of ${places}.`)
  return new URL(text)
}

/** For people and marks: where it is and whose, and nothing that opens it. */
function nameOf(url: URL): string {
  const name = new URL(url)
  const [schema, namespace] = [name.searchParams.get('schema'), name.searchParams.get('namespace')]
  const query = new URLSearchParams({
    ...(schema === null ? {} : { schema }),
    ...(namespace === null ? {} : { namespace }),
  }).toString()
  return `${name.protocol.replace('postgresql:', 'postgres:')}//${name.host}${name.pathname}${query === '' ? '' : `?${query}`}`
}

/** A parameter of ours, taken out of the URL. */
function taken<N extends string>(url: URL, name: N): { readonly [K in N]?: string } {
  const value = url.searchParams.get(name)
  url.searchParams.delete(name)
  return (value === null ? {} : { [name]: value }) as { readonly [K in N]?: string }
}

function notInstalled(name: string): never {
  throw new UsageError(`The package ${name} is not installed: npm install ${name} beside authkeep.`)
}
