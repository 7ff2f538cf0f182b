// A client of the Model Context Protocol that knows nothing but the URL of its server, with the split packages of the 2.x line.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { loopbackFlow, openStore } from 'authkeep'
import { McpServers } from 'authkeep/mcp'
import { converse } from './conversation.ts'
import { callingTools } from './mcp-tools.ts'

const url = new URL(process.env['SERVER_URL'] ?? 'http://127.0.0.1:3000/mcp')
const store = await openStore()
const servers = new McpServers({
  store,
  registration: { clientName: 'The MCP example of authkeep' },
  flow: loopbackFlow({ openBrowser: (page) => console.error(`Log in at ${page.href}`) }),
})

async function connect(): Promise<Client> {
  const client = new Client({ name: 'example', version: '1.0.0' })
  const transport = new StreamableHTTPClientTransport(url, { fetch: servers.fetch })
  // The SDK gives a person a minute unless it is told otherwise.
  await client.connect(transport, { timeout: 300_000 })
  return client
}

await converse(
  callingTools(async () => {
    const client = await connect()
    return { call: (name, options) => client.callTool({ name }, options) }
  }),
)
await servers.close()
await store.close()
process.exit()
