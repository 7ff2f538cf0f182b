import { spawnSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { msalCache } from '../msal.mjs'

export const about = 'a living token: in a process that has it already, and in one that has just been started'

const url = 'https://api.example.com/files'

export async function* tables(bench) {
  const home = bench.scratch.directory('home')
  const { provider, providerFile } = await writeProvider(bench, home)
  const one = await makeStore(bench, home, 1)
  const many = await makeStore(bench, bench.scratch.directory('many'), 10_000)
  yield await hotTable(bench, provider, one, many)
  await many.store.close()
  await one.store.close()
  yield await coldTable(bench, home, one.path, providerFile)
}

async function writeProvider({ dist, scratch }, home) {
  const { saveProvider } = await import(`${dist}/index.js`)
  const provider = {
    id: 'acme',
    issuer: 'https://login.example.com',
    client: { id: 'bench' },
    endpoints: [{ url, scopes: ['files:read'], resource: url }],
  }
  await saveProvider(join(home, 'providers'), provider)
  const providerFile = join(scratch.path, 'provider.json')
  await writeFile(providerFile, JSON.stringify(provider))
  return { provider, providerFile }
}

/** A store with one login at the provider and many at another one. */
async function makeStore({ dist }, directory, entries) {
  const { openStore, Secret } = await import(`${dist}/index.js`)
  const path = join(directory, 'auth.json')
  const store = await openStore({ path })
  const now = Date.now()
  const login = (provider, account) => {
    const granted = { scopes: ['files:read', 'files:write'], evidence: 'response', obtainedAt: now }
    const expiresAt = now + 86_400_000
    const token = {
      ...granted,
      accessToken: new Secret('at'.padEnd(400, 'x')),
      tokenType: 'Bearer',
      resource: url,
      expiresAt,
    }
    const grant = {
      ...granted,
      ...{ resources: [url], refreshToken: new Secret(`${provider} ${account}`.padEnd(100, 'x')) },
      ...{ refreshExpiresAt: null, generation: 1, state: 'live', replays: 0 },
    }
    const client = { issuer: 'https://login.example.com', clientId: 'bench', subject: 'someone' }
    return { type: 'oauth', provider, account, ...client, grant, tokens: [token], lease: null }
  }
  const all = [login('acme', 'default')]
  // No refresh token in the others: at each first one the store looks through all entries for its double.
  for (let n = 1; n < entries; n++) {
    const { grant, ...more } = login('other', `account ${n}`)
    all.push({ ...more, grant: { ...grant, refreshToken: null } })
  }
  await store.updateAll(all, () => new Map(all.map((each) => [`${each.provider}:${each.account}`, each])))
  return { store, path }
}

async function hotTable(bench, provider, one, many) {
  const { TokenBroker } = await import(`${bench.dist}/index.js`)
  const calls = 50_000
  const perCall = (call) => async () => {
    const from = process.hrtime.bigint()
    for (let n = 0; n < calls; n++) await call()
    return Number(process.hrtime.bigint() - from) / calls
  }
  const brokerOf = ({ store }) => new TokenBroker({ store, providers: [provider] })
  const [small, large] = [brokerOf(one), brokerOf(many)]
  const map = new Map([[url, { token: 'x' }]])
  const get = async (name) => map.get(name)
  return {
    title: 'The same URL asked for again and again',
    unit: 'ns a call',
    baseline: 'an async Map get',
    rounds: bench.rounds(40, 8),
    warmUps: 3,
    contenders: [
      { name: 'an async Map get', sample: perCall(() => get(url)) },
      { name: 'authkeep', sample: perCall(() => small.getToken(url)), close: () => small.close() },
      await bench.peers.contender('@smithy/property-provider', ({ memoize }) => {
        const living = async () => ({ token: 'x', expiration: new Date(Date.now() + 86_400_000) })
        const provide = memoize(
          living,
          ({ expiration }) => expiration - Date.now() < 300_000,
          () => true,
        )
        return { name: 'AWS (no scopes)', sample: perCall(() => provide()) }
      }),
      await bench.peers.contender('google-auth-library', ({ OAuth2Client }) => {
        const client = new OAuth2Client({ clientId: 'bench' })
        client.setCredentials({ access_token: 'x', refresh_token: 'y', expiry_date: Date.now() + 86_400_000 })
        return { name: 'google-auth-library (no scopes)', sample: perCall(() => client.getAccessToken()) }
      }),
      await bench.peers.contender('@badgateway/oauth2-client', ({ OAuth2Client, OAuth2Fetch }) => {
        const client = new OAuth2Client({ clientId: 'bench', server: 'https://login.example.com/' })
        const token = { accessToken: 'x', refreshToken: 'y', expiresAt: Date.now() + 86_400_000 }
        const fetcher = new OAuth2Fetch({ client, scheduleRefresh: false, getNewToken: async () => token })
        return { name: '@badgateway/oauth2-client (no scopes)', sample: perCall(() => fetcher.getAccessToken()) }
      }),
      { name: 'authkeep, 10,000 entries', sample: perCall(() => large.getToken(url)), close: () => large.close() },
    ],
    goals: [
      { contender: 'authkeep', atMost: 1_000 },
      { contender: 'authkeep, 10,000 entries', atMost: 2, times: 'authkeep' },
    ],
  }
}

async function coldTable(bench, home, path, provider) {
  const kept = join(bench.scratch.path, 'kept.json')
  const expiresAt = Date.now() + 86_400_000
  await writeFile(kept, JSON.stringify({ accessToken: 'x'.repeat(400), refreshToken: 'rt', expiresAt }))
  const printing = (script, ...words) => {
    const program = new URL(`../children/print-${script}.mjs`, import.meta.url).pathname
    return () => processorTime([program, ...words])
  }
  const library = `${bench.dist}/index.js`
  return {
    title: 'A process that prints a living token and ends: processor time',
    unit: 'ms',
    baseline: 'node -e 0',
    rounds: bench.rounds(40, 8),
    warmUps: 2,
    contenders: [
      { name: 'node -e 0', sample: () => processorTime(['-e', '0']) },
      { name: 'a file that is read, and nothing else', sample: printing('file', kept) },
      { name: 'authkeep, the library', sample: printing('token', library, path, provider, url) },
      {
        name: 'authkeep, the command',
        sample: () => processorTime([`${bench.dist}/cli/main.js`, 'token', url, '--home', home]),
      },
      await bench.peers.located('@badgateway/oauth2-client', (library) => ({
        name: '@badgateway/oauth2-client',
        sample: printing('badgateway', library, kept),
      })),
      await bench.peers.located('google-auth-library', (library) => ({
        name: 'google-auth-library',
        sample: printing('google', library, kept),
      })),
      await bench.peers.contender('@azure/msal-node', async (msal) => {
        const cache = join(bench.scratch.path, 'msal.json')
        await writeFile(cache, await msalCache(msal, ['files:read']))
        const library = await bench.peers.located('@azure/msal-node', (path) => path)
        return {
          name: 'msal-node',
          sample: printing('msal', library, cache, 'https://login.example.com', 'files:read'),
        }
      }),
    ],
    goals: [
      { contender: 'authkeep, the library', atMost: 8, over: 'node -e 0' },
      { contender: 'authkeep, the command', atMost: 15, over: 'node -e 0' },
    ],
  }
}

const inOneSample = 3

/** User and system time of a node process and all its threads, in milliseconds, as the shell's `time` has it. */
function processorTime(words) {
  const loop = `TIMEFORMAT='%3U %3S'; time for i in {1..${inOneSample}}; do "$@" > /dev/null || exit 1; done`
  const { status, stderr } = spawnSync('bash', ['-c', loop, 'bench', process.execPath, ...words], { encoding: 'utf8' })
  const [user, system] = (stderr.trim().split('\n').at(-1) ?? '').split(' ').map(Number)
  if (status !== 0) throw new Error(`${words[0]} failed: ${stderr}`)
  return ((user + system) * 1_000) / inOneSample
}
