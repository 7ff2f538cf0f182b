import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type AuthorizationServer,
  type AuthorizationServerOptions,
  startAuthorizationServer,
} from '../../examples/server/authorization-server.ts'
import { demoProvider } from '../../examples/server/demo-provider.ts'
import { type ResourceServer, startResourceServer } from '../../examples/server/resource-server.ts'
import { completeLogin } from '../../examples/server/robot.ts'
import { TokenBroker, type TokenBrokerOptions } from '../../src/broker/broker.ts'
import { type Credential, type OAuthCredential, Secret } from '../../src/credential.ts'
import { loopbackFlow } from '../../src/grant/loopback.ts'
import type { Provider } from '../../src/provider.ts'
import type { StoreBackend } from '../../src/store/backend.ts'
import { type CredentialStore, openStore } from '../../src/store/store.ts'

/** A real authorization server, a real API and a real file, with one person logged in. */
export interface Stage {
  readonly server: AuthorizationServer
  readonly api: ResourceServer
  readonly provider: Provider
  readonly directory: string
  readonly path: string
  readonly store: CredentialStore
  readonly broker: TokenBroker
  /** The endpoints of the demo provider. */
  readonly urls: { readonly files: string; readonly mail: string; readonly sendMail: string }
  newBroker(options?: Partial<TokenBrokerOptions>): TokenBroker
  /** With a broker of its own where one is given. */
  login(by?: TokenBroker): Promise<void>
  credential(): Promise<OAuthCredential>
  /** Makes every stored access token expire, as if time had passed. */
  expire(): Promise<void>
  stop(): Promise<void>
}

export const key = { provider: 'demo', account: 'default' }

export async function setStage(
  options: AuthorizationServerOptions & {
    provider?: Partial<Provider> | ((demo: Provider) => Partial<Provider>)
    /** Default: a file. */
    backend?: StoreBackend
  } = {},
): Promise<Stage> {
  const { provider: overrides, backend, ...serverOptions } = options
  const server = await startAuthorizationServer(serverOptions)
  const api = await startResourceServer({ authorizationServer: server })
  const demo: Provider = demoProvider(server, { api: api.origin })
  const provider: Provider = { ...demo, ...(typeof overrides === 'function' ? overrides(demo) : overrides) }
  const directory = await mkdtemp(join(tmpdir(), 'authkeep-'))
  const path = join(directory, 'auth.json')
  const store = await openStore(backend === undefined ? { path } : { backend })
  const brokers: TokenBroker[] = []
  const newBroker = (more: Partial<TokenBrokerOptions> = {}): TokenBroker => {
    const broker = new TokenBroker({ store, providers: [provider], ...more })
    brokers.push(broker)
    return broker
  }
  const broker = newBroker()
  const stage: Stage = {
    ...{ server, api, provider, directory, path, store, broker, newBroker },
    urls: { files: `${api.origin}/files`, mail: `${api.origin}/mail`, sendMail: `${api.origin}/mail/send` },
    async login(by = broker) {
      await by.authorize(
        { provider: 'demo' },
        loopbackFlow({ openBrowser: (url) => void completeLogin(url).catch(() => undefined) }),
      )
    },
    async credential() {
      const credential = await store.read(key)
      if (credential?.type !== 'oauth') throw new Error('no OAuth credential')
      return credential
    },
    async expire() {
      await store.update(key, (current) => expired(current))
    },
    async stop() {
      await Promise.all(brokers.map((one) => one.close()))
      await Promise.all([store.close(), server.stop(), api.stop()])
      await rm(directory, { recursive: true })
    },
  }
  return stage
}

export function expired(credential: Credential | null): Credential | undefined {
  if (credential?.type !== 'oauth') return undefined
  const tokens = credential.tokens.map((token) => ({
    ...token,
    // Another value, too: a test that sees it again has been given an expired token.
    accessToken: new Secret(`expired.${token.accessToken.reveal()}`),
    expiresAt: Date.now() - 1_000,
  }))
  return { ...credential, tokens }
}
