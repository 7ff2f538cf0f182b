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
  let run = 0
  const storm = (name, make) => async () => {
    const ask = await make(`${name} ${++run}`)
    const before = { ...server.counts }
    const from = performance.now()
    const outcomes = await Promise.allSettled(Array.from({ length: callers }, ask))
    const took = performance.now() - from
    const calls = server.counts.served + server.counts.reuse - before.served - before.reuse
    const served = outcomes.filter(({ status }) => status === 'fulfilled').length
    tally.set(name, `${name}: ${calls} calls at the server, ${served} of ${callers} served`)
    return took
  }
  return {
    title: `${callers} callers, one login, an endpoint of ${latencyMs} ms`,
    unit: 'ms',
    baseline: 'authkeep',
    rounds: bench.rounds(10, 2),
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
    ],
    goals: [{ contender: 'authkeep', atMost: 60 }],
    notes: () => [...tally.values()],
  }
}

/** The same login for eight resources: a refresh for each, one after the other, because the refresh token rotates. */
async function eightResources(bench, server) {
  let note = ''
  let run = 0
  const sample = async () => {
    const urls = Array.from({ length: 8 }, (_, n) => `${url}/${n}`)
    const ask = await ours(bench, server, `eight ${++run}`, urls)
    const before = { ...server.counts }
    const from = performance.now()
    const outcomes = await Promise.allSettled(Array.from({ length: callers }, (_, n) => ask(urls[n % 8])))
    const took = performance.now() - from
    const served = outcomes.filter(({ status }) => status === 'fulfilled').length
    const [calls, reuse] = [server.counts.served - before.served, server.counts.reuse - before.reuse]
    note = `authkeep: ${calls} calls at the server, ${reuse} with a spent token, ${served} of ${callers} served`
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
      { name: 'authkeep', sample },
    ],
    notes: () => [note],
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
