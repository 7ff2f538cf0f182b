import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type AuthorizationServer,
  type AuthorizationServerOptions,
  startAuthorizationServer,
} from '../../examples/server/authorization-server.ts'
import { demoProvider } from '../../examples/server/demo-provider.ts'
import { type ResourceServer, startResourceServer } from '../../examples/server/resource-server.ts'
import { completeLogin, type RobotOptions } from '../../examples/server/robot.ts'
import { ended, type Run, start } from './built.ts'

/** A real authorization server, a real API, and the command line with a home of its own that knows them. */
export interface Desk {
  readonly home: string
  readonly server: AuthorizationServer
  readonly api: ResourceServer
  authkeep(...args: readonly string[]): Promise<Run>
  /** A login to several. */
  loginTo(words: readonly string[], robot?: RobotOptions): Promise<Run>
  /** A login in which the robot opens the address that stderr shows. */
  login(args?: readonly string[], robot?: RobotOptions): Promise<Run>
  /** Adds a provider of that name at the same server. */
  addProvider(id: string, changes?: object): Promise<void>
  refreshTokens(): Promise<readonly string[]>
  clear(): Promise<void>
}

export async function openDesk(
  options: AuthorizationServerOptions = {},
  startServer: (options: AuthorizationServerOptions) => Promise<AuthorizationServer> = startAuthorizationServer,
): Promise<Desk> {
  const home = await mkdtemp(join(tmpdir(), 'authkeep-desk-'))
  const server = await startServer(options)
  const api = await startResourceServer({ authorizationServer: server })
  const authkeep = (...args: readonly string[]): Promise<Run> => ended(start(home, args))
  const addProvider = async (id: string, changes: object = {}): Promise<void> => {
    const path = join(home, `${id}.json`)
    await writeFile(path, JSON.stringify({ ...demoProvider(server, { api: api.origin }), id, ...changes }))
    const run = await authkeep('providers', 'add', path, '--replace')
    if (run.code !== 0) throw new Error(run.stderr)
  }
  const loginTo = async (words: readonly string[], robot: RobotOptions = {}): Promise<Run> => {
    const child = start(home, ['login', '--no-browser', ...words])
    let shown = ''
    const visits: Promise<unknown>[] = []
    child.stderr.on('data', (chunk: Buffer) => {
      shown += chunk.toString()
      const address = /^(http\S+)\n/m.exec(shown)?.[1]
      if (address === undefined) return
      shown = ''
      visits.push(completeLogin(new URL(address), robot))
    })
    const run = await ended(child)
    await Promise.all(visits)
    return run
  }
  await addProvider('demo')
  return {
    ...{ home, server, api, authkeep, addProvider },
    login: (args = [], robot = {}) => loginTo(['demo', ...args], robot),
    loginTo,
    async refreshTokens() {
      const text = await readFile(join(home, 'auth.json'), 'utf8')
      return [...text.matchAll(/"refreshToken":\s*"([^"]+)"/g)].map(([, token = '']) => token)
    },
    async clear() {
      await Promise.all([api.stop(), server.stop()])
      await rm(home, { recursive: true, force: true })
    },
  }
}
