// As print-token.mjs, with @badgateway/oauth2-client. Arguments: library, file with { accessToken, refreshToken, expiresAt }.
import { readFileSync } from 'node:fs'

const [library, path] = process.argv.slice(2)
const { OAuth2Client, OAuth2Fetch } = await import(library)
const client = new OAuth2Client({ clientId: 'bench', server: 'https://login.example.com/' })
const fetcher = new OAuth2Fetch({
  client,
  scheduleRefresh: false,
  getStoredToken: () => JSON.parse(readFileSync(path, 'utf8')),
  getNewToken: async () => null,
})
console.log(await fetcher.getAccessToken())
