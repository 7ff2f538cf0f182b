// The same where only an `authProvider` can be given. The program has the redirect, and hands its code to the SDK.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js'
import { openStore } from 'authkeep'
import { McpServers } from 'authkeep/mcp'
import { converse } from './conversation.ts'
import { callingTools } from './mcp-tools.ts'

const url = new URL(process.env['SERVER_URL'] ?? 'http://127.0.0.1:3000/mcp')
const store = await openStore()
const servers = new McpServers({ store, registration: { clientName: 'The MCP example of authkeep' } })

let state: string | null = null
let arrived: (code: string) => void = () => undefined
const listener = createServer((request, response) => {
  const { searchParams } = new URL(request.url ?? '/', 'http://127.0.0.1')
  const isOurs = state !== null && searchParams.get('state') === state
  response.writeHead(isOurs ? 200 : 400).end()
  if (isOurs) arrived(searchParams.get('code') ?? '')
})
await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
const authProvider = servers.clientProvider(url, {
  redirectUrl: `http://127.0.0.1:${(listener.address() as AddressInfo).port}/callback`,
  redirectToAuthorization: (page) => {
    state = page.searchParams.get('state')
    console.error(`Log in at ${page.href}`)
  },
})

/** The SDK's own way: what fails for want of a login is made again once there is one. */
async function withLogin<T>(transport: () => StreamableHTTPClientTransport, attempt: () => Promise<T>): Promise<T> {
  const code = new Promise<string>((resolve) => {
    arrived = resolve
  })
  try {
    return await attempt()
  } catch (error) {
    if (!(error instanceof UnauthorizedError)) throw error
    await transport().finishAuth(await code)
    return attempt()
  }
}

await converse(
  callingTools(async () => {
    const client = new Client({ name: 'example', version: '1.0.0' })
    let transport: StreamableHTTPClientTransport
    await withLogin(
      () => transport,
      async () => {
        transport = new StreamableHTTPClientTransport(url, { authProvider })
        await client.connect(transport as Transport)
      },
    )
    return {
      call: (name, options) =>
        withLogin(
          () => transport,
          () => client.callTool({ name }, undefined, options),
        ),
    }
  }),
)
listener.close()
await servers.close()
await store.close()
process.exit()
