// As print-token.mjs, with @azure/msal-node. Arguments: library, file with its serialized cache, issuer, scope.
import { readFileSync } from 'node:fs'

const [library, path, issuer, scope] = process.argv.slice(2)
const { PublicClientApplication } = (await import(library)).default
const endpoints = { authorization_endpoint: `${issuer}/authorize`, token_endpoint: `${issuer}/token` }
const client = new PublicClientApplication({
  auth: {
    ...{ clientId: 'bench', authority: `${issuer}/`, knownAuthorities: [new URL(issuer).host] },
    authorityMetadata: JSON.stringify({ issuer, ...endpoints, jwks_uri: `${issuer}/keys` }),
  },
  system: { protocolMode: 'OIDC' },
  cache: {
    cachePlugin: {
      beforeCacheAccess: async ({ tokenCache }) => tokenCache.deserialize(readFileSync(path, 'utf8')),
      afterCacheAccess: async () => undefined,
    },
  },
})
const [account] = await client.getTokenCache().getAllAccounts()
console.log((await client.acquireTokenSilent({ account, scopes: [scope] })).accessToken)
