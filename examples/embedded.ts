// One login, two endpoints, two tokens. Everything is real and in this process: an authorization server, an API, and
// a robot in the place of the person at the browser.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isAuthkeepError, loopbackFlow, openStore, TokenBroker } from 'authkeep'
import { startAuthorizationServer } from './server/authorization-server.ts'
import { demoProvider } from './server/demo-provider.ts'
import { startResourceServer } from './server/resource-server.ts'
import { completeLogin } from './server/robot.ts'

const server = await startAuthorizationServer()
const api = await startResourceServer({ authorizationServer: server })
const home = await mkdtemp(join(tmpdir(), 'authkeep-embedded-'))
const store = await openStore({ path: join(home, 'auth.json') })
const broker = new TokenBroker({ store, providers: [demoProvider(server, { api: api.origin })] })

try {
  const robot = loopbackFlow({ openBrowser: (url) => void completeLogin(url) })
  const { scopes = [] } = await broker.authorize({ provider: 'demo' }, robot)
  console.log(`The login was granted ${scopes.join(' ')}.`)

  for (const url of [`${api.origin}/files`, `${api.origin}/mail`]) {
    const token = await broker.getToken(url)
    const response = await fetch(url, { headers: await token.headers({ method: 'GET', url }) })
    console.log(`GET ${new URL(url).pathname} with a token for ${token.scopes.join(' ')}: ${response.status}`)
    if (!response.ok) process.exitCode = 1
  }

  await broker.getToken(`${api.origin}/mail/send`).then(
    () => (process.exitCode = 1),
    (error: unknown) => {
      if (!isAuthkeepError(error, 'scope_missing')) throw error
      console.log(`POST /mail/send was not tried: the login lacks ${error.detail.missing.join(' ')}.`)
    },
  )
} finally {
  await broker.close()
  await store.close()
  await Promise.all([server.stop(), api.stop(), rm(home, { recursive: true })])
}
