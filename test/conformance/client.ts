// A small MCP client over streamable HTTP, for the conformance suite: `node client.ts <server url>`. It knows JSON-RPC
// and nothing of OAuth, which is that of `authkeep/mcp`. Its last line says how it ended.
import { createPrivateKey } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  clientCredentialsFlow,
  type GrantFlow,
  isAuthkeepError,
  loopbackFlow,
  memoryBackend,
  openStore,
  type PrivateJwk,
  type ProviderClient,
} from 'authkeep'
import { McpServers } from 'authkeep/mcp'

const [, , server = ''] = process.argv
const scenario = process.env['MCP_CONFORMANCE_SCENARIO'] ?? ''
const protocol = process.env['MCP_CONFORMANCE_PROTOCOL_VERSION'] ?? '2025-11-25'
const context = JSON.parse(process.env['MCP_CONFORMANCE_CONTEXT'] ?? '{}') as Record<string, string | undefined>

/** The person at the browser, who always says yes: the suite's authorization servers redirect at once. */
const person = loopbackFlow({
  openBrowser: async (url) => {
    await (await fetch(url)).text()
  },
})
const flow: GrantFlow = scenario.startsWith('auth/client-credentials') ? clientCredentialsFlow() : person

/** What the suite has registered for us beforehand. */
function registered(): { client?: ProviderClient } {
  const { client_id: id, client_secret: secret, private_key_pem: pem, signing_algorithm: alg } = context
  if (id === undefined) return {}
  if (secret !== undefined) return { client: { id, secret } }
  return { client: { id, ...(pem === undefined ? {} : { privateKey: { ...jwkOf(pem), ...(alg && { alg }) } }) } }
}

function jwkOf(pem: string): PrivateJwk {
  return createPrivateKey(pem).export({ format: 'jwk' }) as PrivateJwk
}

const store = await openStore({ backend: memoryBackend() })
const directory = await mkdtemp(join(tmpdir(), 'authkeep-conformance-'))
const servers = new McpServers({
  ...{ store, directory, flow },
  ...registered(),
  registration: {
    clientIdUrl: 'https://conformance-test.local/client-metadata.json',
    clientName: 'authkeep conformance client',
  },
})

const clientInfo = { name: 'authkeep-conformance', version: '1.0.0' }
/** From 2026-07-28 on there is no handshake: every request says what it is. */
const isStateless = protocol >= '2026-07-28'
const meta = {
  'io.modelcontextprotocol/protocolVersion': protocol,
  'io.modelcontextprotocol/clientInfo': clientInfo,
  'io.modelcontextprotocol/clientCapabilities': {},
}

let id = 0
async function request(method: string, parameters: Record<string, unknown>): Promise<unknown> {
  id += 1
  const params = isStateless ? { ...parameters, _meta: meta } : parameters
  const response = await post({ jsonrpc: '2.0', id, method, params })
  const text = await response.text()
  if (!response.ok) throw new Error(`${method}: HTTP ${response.status}`)
  const isStream = response.headers.get('content-type')?.startsWith('text/event-stream') === true
  const messages = isStream ? [...text.matchAll(/^data: ?(.+)$/gm)].map(([, data = '']) => data) : [text]
  for (const message of messages) {
    const answer = JSON.parse(message) as { id?: number; result?: unknown; error?: { message: string } }
    if (answer.id === id && answer.error === undefined) return answer.result
    if (answer.id === id) throw new Error(`${method}: ${answer.error?.message ?? ''}`)
  }
  throw new Error(`${method}: no answer`)
}

function post(message: Record<string, unknown>): Promise<Response> {
  return servers.fetch(server, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': protocol,
    },
    body: JSON.stringify(message),
  })
}

try {
  if (!isStateless) {
    await request('initialize', { protocolVersion: protocol, capabilities: {}, clientInfo })
    await post({ jsonrpc: '2.0', method: 'notifications/initialized' })
  }
  await request('tools/list', {})
  await request('tools/call', { name: 'test-tool', arguments: {} })
  console.log('served')
} catch (error) {
  console.log(isAuthkeepError(error) ? `refused: ${error.code}: ${error.message}` : `failed: ${String(error)}`)
  process.exitCode = 1
} finally {
  await servers.close()
  await store.close()
  await rm(directory, { recursive: true })
}
