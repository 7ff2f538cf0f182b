import { join } from 'node:path'
import { msalCache, msalCall } from '../msal.mjs'

export const about =
  'a living token for some scopes: one that has exactly these, and one that has more, of 1 and of 10,000'

const resource = 'https://api.example.com'
const issuer = 'https://login.example.com'
const wanted = ['files:read']
const granted = ['files:read', 'files:write']
/** The scopes of the n-th token that nobody asks for. */
const others = (n) => [`other:${n}`, `more:${n}`]
const manyOthers = Array.from({ length: 9_999 }, (_, n) => others(n))

export async function* tables(bench) {
  yield {
    title: 'One token: with the scopes that are asked for, and with more',
    unit: 'ns a call',
    baseline: 'authkeep, exactly',
    rounds: bench.rounds(20, 5),
    warmUps: 2,
    contenders: [
      { name: 'authkeep, exactly', ...(await ours(bench, 1, granted)) },
      { name: 'authkeep, more', ...(await ours(bench, 1, wanted)) },
      await bench.peers.contender('@auth0/auth0-spa-js', (auth0) => ({
        name: 'auth0-spa-js, exactly',
        ...auth0Client(auth0, 1, granted, 5_000),
      })),
      await bench.peers.contender('@auth0/auth0-spa-js', (auth0) => ({
        name: 'auth0-spa-js, more',
        ...auth0Client(auth0, 1, wanted, 5_000),
      })),
      await bench.peers.contender('@atproto/oauth-client-node', async (atproto) => ({
        name: 'atproto (no choice of scopes)',
        ...(await atprotoSession(atproto)),
      })),
      await bench.peers.contender('@azure/msal-node', async (msal) => ({
        name: 'msal-node, more',
        sample: perCall(400, await msalCall(msal, await msalCache(msal, granted), wanted)),
      })),
      await bench.peers.contender('@azure/msal-node', async (msal) => ({
        name: 'msal-node, more, with a cache in a file',
        sample: perCall(
          100,
          await msalCall(msal, await msalCache(msal, granted), wanted, join(bench.scratch.path, 'msal')),
        ),
      })),
    ],
    goals: [
      { contender: 'authkeep, exactly', atMost: 0.33, times: 'auth0-spa-js, exactly' },
      { contender: 'authkeep, more', atMost: 0.33, times: 'auth0-spa-js, more' },
    ],
  }
  yield {
    title: 'One token of 10,000, and it has more scopes than are asked for',
    unit: 'ns a call',
    baseline: 'authkeep, 1 token',
    rounds: bench.rounds(10, 3),
    warmUps: 1,
    contenders: [
      { name: 'authkeep, 1 token', ...(await ours(bench, 1, wanted)) },
      { name: 'authkeep, 10,000 tokens', ...(await ours(bench, 10_000, wanted)) },
      await bench.peers.contender('@auth0/auth0-spa-js', (auth0) => ({
        name: 'auth0-spa-js, 10,000 tokens',
        ...auth0Client(auth0, 10_000, wanted, 5),
      })),
      await bench.peers.contender('@azure/msal-node', async (msal) => ({
        name: 'msal-node, 10,000 tokens',
        sample: perCall(2, await msalCall(msal, await msalCache(msal, granted, manyOthers), wanted)),
      })),
    ],
    goals: [{ contender: 'authkeep, 10,000 tokens', atMost: 2, times: 'authkeep, 1 token' }],
  }
}

/** Nanoseconds that one of `calls` takes, one after the other. */
function perCall(calls, call) {
  return async () => {
    const from = process.hrtime.bigint()
    for (let n = 0; n < calls; n++) await call()
    return Number(process.hrtime.bigint() - from) / calls
  }
}

async function ours({ dist, scratch }, count, scopes) {
  const { openStore, Secret, TokenBroker } = await import(`${dist}/index.js`)
  const store = await openStore({ path: join(scratch.directory(`authkeep ${count} ${scopes.length}`), 'auth.json') })
  const now = Date.now()
  const label = { evidence: 'response', obtainedAt: now }
  const token = (scopes) => ({
    ...{ ...label, scopes, accessToken: new Secret('x'.repeat(400)), tokenType: 'Bearer' },
    ...{ resource, expiresAt: now + 86_400_000 },
  })
  const entry = {
    ...{ type: 'oauth', provider: 'acme', account: 'default', issuer, clientId: 'bench', subject: 'a', lease: null },
    tokens: [...Array.from({ length: count - 1 }, (_, n) => token(others(n))), token(granted)],
    grant: {
      ...{ ...label, scopes: granted, resources: [resource], refreshToken: new Secret('rt'), refreshExpiresAt: null },
      ...{ generation: 1, state: 'live', replays: 0 },
    },
  }
  await store.update(entry, () => entry)
  const broker = new TokenBroker({ store, providers: [{ id: 'acme', issuer, client: { id: 'bench' } }] })
  const close = async () => {
    await broker.close()
    await store.close()
  }
  return { sample: perCall(20_000, () => broker.getToken({ provider: 'acme', resource, scopes })), close }
}

/** It is made for browsers: what it looks for there when it starts is given to it, for as long as it is measured. */
function auth0Client({ Auth0Client, CacheKey, InMemoryCache }, count, scopes, calls) {
  globalThis.window ??= globalThis
  const audience = resource
  const clientId = 'bench'
  const cache = new InMemoryCache().enclosedCache
  const person = { id_token: 'x', decodedToken: { claims: {}, user: { sub: 'a' } } }
  cache.set(`@@auth0spajs@@::${clientId}::@@user@@`, person)
  const put = (scopes) => {
    const scope = ['openid', 'offline_access', ...scopes].join(' ')
    const token = { access_token: 'x'.repeat(400), refresh_token: 'rt', token_type: 'Bearer', expires_in: 86_400 }
    const body = { ...token, ...person, audience, scope, oauthTokenScope: scope, client_id: clientId }
    const expiresAt = Math.floor(Date.now() / 1_000) + 86_400
    cache.set(new CacheKey({ clientId, audience, scope }).toKey(), { body, expiresAt })
  }
  for (let n = 1; n < count; n++) put(others(n))
  put(granted)
  const client = new Auth0Client({
    ...{ domain: 'login.example.com', clientId, cache, useRefreshTokens: true },
    authorizationParams: { audience, scope: '' },
  })
  const authorizationParams = { audience, scope: scopes.join(' ') }
  const call = () => client.getTokenSilently({ authorizationParams })
  return { sample: perCall(calls, call), close: () => delete globalThis.window }
}

async function atprotoSession({ JoseKey, NodeOAuthClient }) {
  const sub = `did:plc:${'a'.repeat(24)}`
  const dpopKey = await JoseKey.generate(['ES256'])
  const sessions = new Map([
    [
      sub,
      {
        ...{ dpopKey, dpopJwk: dpopKey.privateJwk, authMethod: { method: 'none' } },
        tokenSet: {
          ...{ iss: issuer, sub, aud: resource, scope: 'atproto', access_token: 'x', refresh_token: 'rt' },
          ...{ token_type: 'DPoP', expires_at: new Date(Date.now() + 86_400_000).toISOString() },
        },
      },
    ],
  ])
  const server = {
    ...{ issuer, authorization_endpoint: `${issuer}/authorize`, token_endpoint: `${issuer}/token` },
    ...{ pushed_authorization_request_endpoint: `${issuer}/par`, require_pushed_authorization_requests: true },
    ...{ client_id_metadata_document_supported: true, authorization_response_iss_parameter_supported: true },
    ...{ response_types_supported: ['code'], grant_types_supported: ['authorization_code', 'refresh_token'] },
    ...{ scopes_supported: ['atproto'], token_endpoint_auth_methods_supported: ['none'] },
    ...{ dpop_signing_alg_values_supported: ['ES256'], code_challenge_methods_supported: ['S256'] },
  }
  const client = new NodeOAuthClient({
    clientMetadata: {
      ...{ client_id: 'http://localhost', redirect_uris: ['http://127.0.0.1/'], scope: 'atproto' },
      ...{ response_types: ['code'], grant_types: ['authorization_code', 'refresh_token'] },
      ...{ token_endpoint_auth_method: 'none', application_type: 'native', dpop_bound_access_tokens: true },
    },
    stateStore: { get: () => undefined, set: () => undefined, del: () => undefined },
    sessionStore: {
      get: (name) => sessions.get(name),
      set: (name, session) => void sessions.set(name, session),
      del: (name) => void sessions.delete(name),
    },
    requestLock: (_, run) => run(),
    // Asked once, for the metadata of the server.
    fetch: async () => Response.json(server),
  })
  const session = await client.restore(sub)
  return { sample: perCall(400, () => session.getTokenInfo('auto')) }
}
