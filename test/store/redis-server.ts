import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from 'redis'

const clientOf = (path: string) => createClient({ socket: { path, tls: false } })
type Client = ReturnType<typeof clientOf>

/** A real Redis of its own, behind a socket. */
export interface RedisServer {
  readonly path: string
  /** A client that `stop` ends. */
  connect(): Promise<Client>
  kill(): Promise<void>
  start(): Promise<void>
  stop(): Promise<void>
}

export const durable = ['--appendonly', 'yes', '--appendfsync', 'always', '--maxmemory-policy', 'noeviction']

export async function startRedis(settings: readonly string[] = durable): Promise<RedisServer> {
  const directory = await mkdtemp(join(tmpdir(), 'authkeep-redis-'))
  const path = join(directory, 'socket')
  const clients: Client[] = []
  let child: ChildProcess | undefined
  const start = async (): Promise<void> => {
    const words = ['--port', '0', '--unixsocket', path, '--dir', directory, '--save', '', ...settings]
    const started = spawn('redis-server', words, { stdio: ['ignore', 'pipe', 'inherit'] })
    child = started
    await new Promise<void>((resolve, reject) => {
      started.once('exit', () => reject(new Error('redis-server ended')))
      started.stdout.setEncoding('utf8').on('data', (text: string) => {
        if (text.includes('eady to accept connections')) resolve()
      })
    })
  }
  const kill = async (): Promise<void> => {
    if (child === undefined) return
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
    child = undefined
  }
  await start()
  return {
    ...{ path, kill, start },
    async connect() {
      const client = clientOf(path)
      client.on('error', () => undefined)
      await client.connect()
      clients.push(client)
      return client
    },
    async stop() {
      for (const client of clients) client.destroy()
      await kill()
      await rm(directory, { recursive: true, force: true })
    },
  }
}
