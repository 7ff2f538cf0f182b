import { startTokenServer } from '../token-server.mjs'

export const about = 'a thousand callers in one process, when the token has just expired'

const callers = 1_000
const latencyMs = 50
const url = 'https://api.example.com/files'

export async function* tables(bench) {
  const server = await startTokenServer({ latencyMs })
  try {
    yield await oneScope(bench, server)
    yield await eightResources(bench, server)
  } finally {
    server.stop()
  }
}

/** Every contender counts its own calls: `login` is whatever holds one expired token and a refresh token. */
async function oneScope(bench, server) {
  const tally = new Map()
  const failed = new Set()
  let run = 0
  const storm = (name, make) => async () => {
    const ask = await make(`${name} ${++run}`)
    const before = { ...server.counts }
    const from = performance.now()
    const outcomes = await Promise.allSettled(Array.from({ length: callers }, ask))
    const took = performance.now() - from
    const calls = server.counts.served + server.counts.reuse - before.served - before.reuse
    const served = outcomes.filter(({ status }) => status === 'fulfilled').length
    if (served < callers) failed.add(name)
    tally.set(name, `${name}: ${calls} calls at the server, ${served} of ${callers} served`)
    return took
  }
  return {
    title: `${callers} callers, one login, an endpoint of ${latencyMs} ms`,
    unit: 'ms',
    baseline: 'google-auth-library',
    rounds: bench.rounds(10, 3),
    warmUps: 1,
    contenders: [
      { name: 'authkeep', sample: storm('authkeep', (refresh) => ours(bench, server, refresh)) },
      await bench.peers.contender('google-auth-library', ({ OAuth2Client }) => ({
        name: 'google-auth-library',
        sample: storm('google-auth-library', async (refresh) => {
          const client = new OAuth2Client({
            clientId: 'bench',
            endpoints: { oauth2TokenUrl: `${server.issuer}/token` },
          })
          client.setCredentials({ access_token: 'old', refresh_token: refresh, expiry_date: Date.now() - 1_000 })
          return () => client.getAccessToken()
        }),
      })),
      await bench.peers.contender('@badgateway/oauth2-client', ({ OAuth2Client, OAuth2Fetch }) => ({
        name: '@badgateway/oauth2-client',
        sample: storm('@badgateway/oauth2-client', async (refreshToken) => {
          const client = new OAuth2Client({ clientId: 'bench', tokenEndpoint: `${server.issuer}/token` })
          const expired = { accessToken: 'old', refreshToken, expiresAt: Date.now() - 1_000 }
          const fetcher = new OAuth2Fetch({
            ...{ client, scheduleRefresh: false },
            getStoredToken: async () => expired,
            getNewToken: async () => null,
          })
          return () => fetcher.getAccessToken()
        }),
      })),
      await bench.peers.contender('openid-client', (client) => ({
        name: 'openid-client',
        sample: storm('openid-client', async (refresh) => openidClient(client, server, refresh)),
      })),
      await bench.peers.contender('@modelcontextprotocol/sdk/client/auth.js', ({ refreshAuthorization }) => ({
        name: 'MCP client',
        sample: storm('MCP client', async (refreshToken) => {
          const metadata = { issuer: server.issuer, token_endpoint: `${server.issuer}/token` }
          const clientInformation = { client_id: 'bench' }
          let tokens = { refresh_token: refreshToken }
          return async () => {
            const refreshed = { metadata, clientInformation, refreshToken: tokens.refresh_token }
            tokens = await refreshAuthorization(server.issuer, refreshed)
            return tokens.access_token
          }
        }),
      })),
    ],
    goals: [{ contender: 'authkeep', atMost: 60 }],
    failed: () => failed,
    notes: () => [...tally.values()],
  }
}

/** The same login for eight resources: a refresh for each, one after the other, because the refresh token rotates. */
async function eightResources(bench, server) {
  const tally = new Map()
  const failed = new Set()
  let run = 0
  const urls = Array.from({ length: 8 }, (_, n) => `${url}/${n}`)
  const storm = (name, make) => async () => {
    const ask = await make(`eight ${name} ${++run}`, urls)
    const before = { ...server.counts }
    const from = performance.now()
    const outcomes = await Promise.allSettled(Array.from({ length: callers }, (_, n) => ask(urls[n % 8])))
    const took = performance.now() - from
    const served = outcomes.filter(({ status }) => status === 'fulfilled').length
    if (served < callers) failed.add(name)
    const [calls, reuse] = [server.counts.served - before.served, server.counts.reuse - before.reuse]
    tally.set(
      name,
      `${name}: ${calls} calls served, ${reuse} with a spent token, ${served} of ${callers} callers served`,
    )
    return took
  }
  return {
    title: `${callers} callers, one login, eight resources, an endpoint of ${latencyMs} ms`,
    unit: 'ms',
    baseline: 'eight requests one after the other',
    rounds: bench.rounds(10, 2),
    warmUps: 1,
    contenders: [
      { name: 'eight requests one after the other', sample: () => 8 * latencyMs },
      { name: 'authkeep', sample: storm('authkeep', (refresh, urls) => ours(bench, server, refresh, urls)) },
      await bench.peers.contender('openid-client', (client) => ({
        name: 'openid-client',
        sample: storm('openid-client', async (refresh) => openidClient(client, server, refresh)),
      })),
    ],
    goals: [{ contender: 'authkeep', atMost: 1.25, times: 'eight requests one after the other' }],
    failed: () => failed,
    notes: () => [...tally.values()],
  }
}

/** A token that is kept beside its refresh token, and refreshed by whoever finds that it has expired. */
function openidClient(client, { issuer }, refresh) {
  const configuration = new client.Configuration({ issuer, token_endpoint: `${issuer}/token` }, 'bench')
  client.allowInsecureRequests(configuration)
  const kept = new Map()
  let refreshToken = refresh
  return async (resource) => {
    const token = kept.get(resource)
    if (token !== undefined) return token
    const parameters = resource === undefined ? {} : { resource }
    const answer = await client.refreshTokenGrant(configuration, refreshToken, parameters)
    refreshToken = answer.refresh_token ?? refreshToken
    kept.set(resource, answer.access_token)
    return answer.access_token
  }
}

async function ours(bench, { issuer }, refresh, urls = [url]) {
  const { memoryBackend, openStore, TokenBroker } = await import(`${bench.dist}/index.js`)
  const { login } = await import('../login.mjs')
  const store = await openStore({ backend: memoryBackend() })
  const entry = await login(bench, { provider: 'acme', account: 'default', issuer, refresh })
  const resources = urls.length > 1 ? urls : []
  await store.update(entry, () => ({ ...entry, grant: { ...entry.grant, resources } }))
  const provider = {
    ...{ id: 'acme', issuer, client: { id: 'bench' }, metadata: { issuer, token_endpoint: `${issuer}/token` } },
    endpoints: urls.map((each) => ({ url: each, scopes: ['files'], ...(urls.length > 1 && { resource: each }) })),
    refresh: { rotation: 'strict', narrowing: 'honoured' },
  }
  const broker = new TokenBroker({ store, providers: [provider] })
  return (target) => broker.getToken(typeof target === 'string' ? target : url)
}
