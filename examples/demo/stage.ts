import { rmSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type AccessToken, type CredentialStore, loadProviders, openStore, TokenBroker } from 'authkeep'
import { type AuthorizationServer, startAuthorizationServer } from '../server/authorization-server.ts'
import { type ResourceServer, startResourceServer } from '../server/resource-server.ts'
import { type Child, type Run, start } from './child.ts'

/** Two real servers on this machine, and a home directory that nobody will miss. */
export interface Stage {
  readonly server: AuthorizationServer
  readonly api: ResourceServer
  readonly home: string
  /** The credential file. */
  readonly path: string
  readonly urls: { readonly files: string; readonly mail: string; readonly sendMail: string }
  /** Refreshes that the authorization server has carried out or refused. */
  refreshes(): number
  /** Starts the command line, as people have it installed. */
  startCli(...args: readonly string[]): Child
  /** Runs it to its end. */
  cli(...args: readonly string[]): Promise<Run>
  /** Starts one of the scripts beside this one, with the same home. */
  startScript(name: 'worker' | 'writer', ...args: readonly string[]): Child
  /** Opens the home anew, as a program that has just been started would, and closes it afterwards. */
  visit<T>(use: (store: CredentialStore, broker: TokenBroker) => Promise<T>): Promise<T>
  /** Ends whatever is still running. */
  strike(): Promise<void>
}

/** The one login of the demo. */
export const login = { provider: 'demo', account: 'default' }

const cliPath = fileURLToPath(new URL('./cli/main.js', import.meta.resolve('authkeep')))

export async function setStage(): Promise<Stage> {
  const home = await mkdtemp(join(tmpdir(), 'authkeep-demo-'))
  // However the demo ends, nothing of it stays.
  process.once('exit', () => rmSync(home, { recursive: true, force: true }))

  const server = await startAuthorizationServer()
  const api = await startResourceServer({ authorizationServer: server })
  const path = join(home, 'auth.json')
  const env = { HOME: home, AUTHKEEP_HOME: home, NO_COLOR: '1' }
  const children: Child[] = []
  const startOne = (script: string, args: readonly string[]): Child => {
    const child = start(script, args, env)
    children.push(child)
    return child
  }
  const startCli = (...args: readonly string[]): Child => startOne(cliPath, args)
  const strike = async (): Promise<void> => {
    await Promise.all([...children.map((child) => child.kill()), server.stop(), api.stop()])
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => void strike().then(() => process.exit(130)))
  }
  return {
    ...{ server, api, home, path, startCli, strike },
    urls: { files: `${api.origin}/files`, mail: `${api.origin}/mail`, sendMail: `${api.origin}/mail/send` },
    refreshes: () => server.counts().token['refresh_token'] ?? 0,
    cli(...args) {
      const child = startCli(...args)
      child.end()
      return child.ended
    },
    startScript: (name, ...args) => startOne(fileURLToPath(new URL(`./${name}.js`, import.meta.url)), args),
    async visit(use) {
      const { providers } = await loadProviders(join(home, 'providers'))
      const store = await openStore({ path })
      const broker = new TokenBroker({ store, providers })
      try {
        return await use(store, broker)
      } finally {
        await broker.close()
        await store.close()
      }
    },
  }
}

/** A real request; the status is what the API says to this token. */
export async function call(url: string, token: AccessToken): Promise<number> {
  const response = await fetch(url, { headers: await token.headers() })
  await response.arrayBuffer()
  return response.status
}

/** Makes every stored access token expire, as if the hours had passed. What is left is the refresh token. */
export async function expireTokens(store: CredentialStore): Promise<void> {
  await store.update(login, (credential) => {
    if (credential?.type !== 'oauth') return undefined
    const expiresAt = Date.now() - 1_000
    return { ...credential, tokens: credential.tokens.map((token) => ({ ...token, expiresAt })) }
  })
}
