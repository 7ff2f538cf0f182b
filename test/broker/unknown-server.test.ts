import { afterEach, beforeEach, expect, test } from 'vitest'
import { type AuthorizationServer, startAuthorizationServer } from '../../examples/server/authorization-server.ts'
import { completeLogin } from '../../examples/server/robot.ts'
import {
  type CredentialStore,
  discoverProvider,
  loopbackFlow,
  memoryBackend,
  openStore,
  type Provider,
  TokenBroker,
} from '../../src/index.ts'
import { type Answer, type Api, refuse, startApi } from './api.ts'

let server: AuthorizationServer
let api: Api
let store: CredentialStore
let broker: TokenBroker | undefined
/** What the API asks of whoever calls it. */
let needed: string

/** An API that tells where to log in, at an authorization server that nobody here has heard of. */
beforeEach(async () => {
  needed = 'notes:read'
  api = await startApi(({ path, headers }) => answer(path, headers.authorization))
  store = await openStore({ backend: memoryBackend() })
  server = await startAuthorizationServer({
    configure: (configuration) => ({
      ...configuration,
      features: {
        ...configuration.features,
        registration: { enabled: true },
        resourceIndicators: {
          enabled: true,
          getResourceServerInfo: (_ctx, audience) => ({ scope: 'notes:read notes:write', audience }),
        },
      },
    }),
  })
})
afterEach(async () => {
  await broker?.close()
  await Promise.all([store.close(), api.stop(), server.stop()])
})

function answer(path: string, authorization: string | undefined): Answer {
  if (path === '/.well-known/oauth-protected-resource/notes') {
    const metadata = { resource: `${api.origin}/notes`, authorization_servers: [server.issuer] }
    return { status: 200, body: JSON.stringify(metadata) }
  }
  if (authorization === undefined) return refuse(401, `Bearer scope="${needed}"`)
  if (needed !== 'notes:read' && !granted) return refuse(403, `Bearer error="insufficient_scope", scope="${needed}"`)
  return { status: 200, body: 'served' }
}

/** Whether the last login brought what is needed. */
let granted = false

/** What an application does that has been given a URL. */
async function connect(
  url: string,
  providers: readonly Provider[] = [],
): Promise<{ provider: Provider; pages: URL[] }> {
  const refusal = await fetch(url)
  const provider = await discoverProvider(url, {
    challenge: refusal.headers,
    registration: { clientName: 'a test' },
    providers,
  })
  const pages: URL[] = []
  const made: TokenBroker = new TokenBroker({
    store,
    providers: [provider],
    onAuthorize: async ({ target }) => {
      const openBrowser = (page: URL): void => {
        pages.push(page)
        void completeLogin(page).catch(() => undefined)
      }
      await made.authorize(target, loopbackFlow({ openBrowser }))
      granted = pages.at(-1)?.searchParams.get('scope')?.split(' ').includes(needed) === true
    },
  })
  broker = made
  return { provider, pages }
}

test('from a URL to an answer: discovered, registered, logged in, stepped up, refreshed', async () => {
  const url = `${api.origin}/notes`
  const { provider, pages } = await connect(url)
  expect(await (await broker?.fetch(url))?.text()).toBe('served')
  expect(pages[0]?.searchParams.get('resource')).toBe(url)
  expect(pages[0]?.searchParams.get('scope')).toBe('notes:read offline_access')

  granted = false
  needed = 'notes:write'
  expect(await (await broker?.fetch(`${url}/1`, { method: 'POST' }))?.text()).toBe('served')
  expect(pages[1]?.searchParams.get('scope')).toBe('notes:read notes:write offline_access')
  expect(pages).toHaveLength(2)

  const token = await broker?.getToken(url)
  const next = await broker?.getToken(url, { rejected: token?.reveal() ?? '' })
  expect(next?.reveal()).not.toBe(token?.reveal())
  expect(await store.read({ provider: provider.id, account: 'default' })).toMatchObject({
    issuer: server.issuer,
    clientId: provider.client.id,
    grant: { resources: [url] },
  })
})

test('the next start needs neither a registration nor a login', async () => {
  const url = `${api.origin}/notes`
  const { provider } = await connect(url)
  await broker?.fetch(url)
  await broker?.close()
  const again = await connect(url, [JSON.parse(JSON.stringify(provider)) as Provider])
  expect(again.provider).toEqual(provider)
  expect((await broker?.fetch(url))?.status).toBe(200)
  expect(again.pages).toEqual([])
})
