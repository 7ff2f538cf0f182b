// What not to do: the SDK's own provider over a file that several programs share, as its examples keep it in memory. The
// tests show what becomes of a login in it.
import { readFile, writeFile } from 'node:fs/promises'
import type { OAuthClientProvider } from '@modelcontextprotocol/sdk/client/auth.js'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import type { OAuthClientInformationMixed, OAuthTokens } from '@modelcontextprotocol/sdk/shared/auth.js'
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js'
import { converse } from './conversation.ts'
import { callingTools } from './mcp-tools.ts'

interface Kept {
  client?: OAuthClientInformationMixed
  tokens?: OAuthTokens
  codeVerifier?: string
}

const file = process.env['TOKEN_FILE'] ?? 'tokens.json'
const url = new URL(process.env['SERVER_URL'] ?? 'http://127.0.0.1:3000/mcp')
const read = async (): Promise<Kept> => JSON.parse(await readFile(file, 'utf8')) as Kept
const write = async (change: Kept): Promise<void> => writeFile(file, JSON.stringify({ ...(await read()), ...change }))

const authProvider: OAuthClientProvider = {
  redirectUrl: 'http://127.0.0.1/callback',
  clientMetadata: { redirect_uris: ['http://127.0.0.1/callback'] },
  clientInformation: async () => (await read()).client,
  saveClientInformation: (client) => write({ client }),
  tokens: async () => (await read()).tokens,
  saveTokens: (tokens) => write({ tokens }),
  redirectToAuthorization: () => console.error('A login is needed.'),
  saveCodeVerifier: (codeVerifier) => write({ codeVerifier }),
  codeVerifier: async () => (await read()).codeVerifier ?? '',
  invalidateCredentials: async (scope) => {
    const { tokens: _, client, ...others } = await read()
    await writeFile(file, JSON.stringify(scope === 'all' || client === undefined ? others : { ...others, client }))
  },
}

await converse(
  callingTools(async () => {
    const client = new Client({ name: 'example', version: '1.0.0' })
    await client.connect(new StreamableHTTPClientTransport(url, { authProvider }) as Transport)
    return { call: (name, options) => client.callTool({ name }, undefined, options) }
  }),
)
process.exit()
