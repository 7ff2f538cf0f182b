// As print-token.mjs, with google-auth-library. Arguments: library, file with { accessToken, refreshToken, expiresAt }.
import { readFileSync } from 'node:fs'

const [library, path] = process.argv.slice(2)
const { OAuth2Client } = await import(library)
const { accessToken, refreshToken, expiresAt } = JSON.parse(readFileSync(path, 'utf8'))
const client = new OAuth2Client({ clientId: 'bench' })
client.setCredentials({ access_token: accessToken, refresh_token: refreshToken, expiry_date: expiresAt })
console.log((await client.getAccessToken()).token)
