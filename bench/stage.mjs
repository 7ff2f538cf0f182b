import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

const key = { provider: 'demo', account: 'default' }

/**
 * The embedded authorization server with a person logged in, and processes that want tokens of it: authkeep's, and ones
 * that are written by hand. Needs the built examples beside the built library.
 */
export async function setStage({ dist, scratch }) {
  const { loopbackFlow, openStore, Secret, TokenBroker } = await import(`${dist}/index.js`)
  const from = (file) => import(`${dist}/../build/examples/server/${file}.js`)
  const [{ startAuthorizationServer }, { demoProvider }, { completeLogin }] = await Promise.all(
    ['authorization-server', 'demo-provider', 'robot'].map(from),
  )
  const server = await startAuthorizationServer()
  const provider = demoProvider(server)
  const url = `${server.origin}/files`

  async function login(path) {
    const store = await openStore({ path })
    const broker = new TokenBroker({ store, providers: [provider] })
    const openBrowser = (page) => void completeLogin(page).catch(() => undefined)
    await broker.authorize({ provider: 'demo' }, loopbackFlow({ openBrowser }))
    await broker.close()
    return store
  }

  const path = join(scratch.directory('authkeep'), 'auth.json')
  const store = await login(path)
  const other = await login(join(scratch.directory('seed'), 'auth.json'))
  const byHand = join(scratch.directory('by-hand'), 'auth.json')
  const { grant } = await other.read(key)
  let hand = { accessToken: 'none', refreshToken: grant.refreshToken.reveal(), expiresAt: 0 }
  writeFileSync(byHand, JSON.stringify(hand))
  await other.close()

  const start = async (script, argument) => {
    const words = [new URL(`children/${script}.mjs`, import.meta.url).pathname, JSON.stringify(argument)]
    const child = scratch.talk(process.execPath, words)
    await child.hear()
    return child
  }
  return {
    server,
    client: (more) => start('client', { dist, path, provider, url, ...more }),
    handClient: (more) =>
      start('by-hand', {
        ...{ path: byHand, tokenUrl: `${server.origin}/token`, clientId: server.clientId, resource: url },
        ...more,
      }),
    /** Ends the life of every access token, as time would. */
    async expire() {
      await store.update(key, (credential) => ({
        ...credential,
        lease: null,
        tokens: credential.tokens.map((token) => ({
          ...token,
          accessToken: new Secret('expired'),
          expiresAt: Date.now() - 1_000,
        })),
      }))
    },
    async expireByHand() {
      const { readFileSync } = await import('node:fs')
      hand = JSON.parse(readFileSync(byHand, 'utf8'))
      writeFileSync(byHand, JSON.stringify({ ...hand, expiresAt: 0 }))
    },
    async close() {
      await store.close()
      await server.stop()
    },
  }
}
