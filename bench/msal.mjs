import { readFileSync, writeFileSync } from 'node:fs'

const issuer = 'https://login.example.com'

/**
 * The cache of @azure/msal-node after one login, and with further tokens, one for each of `others`: as it spells it.
 *
 * @param {{ PublicClientApplication: any }} msal
 * @param {readonly string[]} granted
 * @param {readonly (readonly string[])[]} [others]
 */
export async function msalCache(msal, granted, others = []) {
  const client = clientOf(msal, granted)
  await client.acquireTokenByRefreshToken({ refreshToken: 'rt', scopes: granted, forceCache: true })
  const state = JSON.parse(client.getTokenCache().serialize())
  const [[key, token]] = Object.entries(state.AccessToken)
  for (const scopes of others) {
    const target = scopes.join(' ')
    state.AccessToken[key.replace(token.target, target)] = { ...token, target }
  }
  return JSON.stringify(state)
}

/** Asks for a token out of a cache. In a file it is as the documentation has it: read before each access. */
export async function msalCall(msal, cache, scopes, file) {
  if (file !== undefined) writeFileSync(file, cache)
  const client = clientOf(msal, [], file)
  if (file === undefined) client.getTokenCache().deserialize(cache)
  const [account] = await client.getTokenCache().getAllAccounts()
  const call = () => client.acquireTokenSilent({ account, scopes })
  const { fromCache } = await call()
  if (!fromCache) throw new Error('the token is not taken from the cache')
  return call
}

function clientOf({ PublicClientApplication }, granted, file) {
  const cachePlugin = {
    beforeCacheAccess: async ({ tokenCache }) => tokenCache.deserialize(readFileSync(file, 'utf8')),
    afterCacheAccess: async ({ cacheHasChanged, tokenCache }) => {
      if (cacheHasChanged) writeFileSync(file, tokenCache.serialize())
    },
  }
  const endpoints = { authorization_endpoint: `${issuer}/authorize`, token_endpoint: `${issuer}/token` }
  return new PublicClientApplication({
    auth: {
      ...{ clientId: 'bench', authority: `${issuer}/`, knownAuthorities: [new URL(issuer).host] },
      authorityMetadata: JSON.stringify({ issuer, ...endpoints, jwks_uri: `${issuer}/keys` }),
    },
    ...(file === undefined ? {} : { cache: { cachePlugin } }),
    system: {
      protocolMode: 'OIDC',
      // Asked once, for the first token.
      networkClient: {
        sendGetRequestAsync: () => Promise.reject(new Error('nothing is to be fetched')),
        sendPostRequestAsync: async () => ({ status: 200, headers: {}, body: answer(granted) }),
      },
    },
  })
}

function answer(scopes) {
  const encoded = (object) => Buffer.from(JSON.stringify(object)).toString('base64url')
  const now = Math.floor(Date.now() / 1_000)
  const claims = { iss: issuer, aud: 'bench', sub: 'a', oid: 'a', tid: 't', iat: now, exp: now + 86_400 }
  return {
    ...{ token_type: 'Bearer', access_token: 'x'.repeat(400), refresh_token: 'rt', expires_in: 86_400 },
    ...{ scope: scopes.join(' '), client_info: encoded({ uid: 'a', utid: 't' }) },
    id_token: `${encoded({ alg: 'none' })}.${encoded({ ...claims, preferred_username: 'a' })}.x`,
  }
}
