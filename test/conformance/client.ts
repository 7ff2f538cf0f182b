// A small MCP client over streamable HTTP, for the conformance suite: `node client.ts <server url>`. It knows JSON-RPC
// and nothing of OAuth, which is authkeep's: a request is refused, the refusal says where to log in, a login follows,
// and from then on the broker's `fetch` answers for every token. Its last line says how it ended.
import { createPrivateKey } from 'node:crypto'
import {
  clientCredentialsFlow,
  discoverProvider,
  type GrantFlow,
  isAuthkeepError,
  loopbackFlow,
  memoryBackend,
  openStore,
  type PrivateJwk,
  type Provider,
  type ProviderClient,
  TokenBroker,
} from 'authkeep'

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
let provider: Provider | undefined
let broker: TokenBroker | undefined

/**
 * A request without a token until one is refused; from then on the broker's. A refusal that it could not cure may mean
 * that the server has moved to another authorization server, so it is asked again where to log in.
 */
async function send(url: string, init: RequestInit): Promise<Response> {
  const response = await (broker === undefined ? fetch(url, init) : broker.fetch(url, init))
  if (response.status !== 401) return response
  const found = await discoverProvider(url, {
    challenge: response.headers,
    ...registered(),
    registration: {
      clientIdUrl: 'https://conformance-test.local/client-metadata.json',
      clientName: 'authkeep conformance client',
    },
  })
  if (found.issuer === provider?.issuer) return response
  await broker?.close()
  const made: TokenBroker = new TokenBroker({
    store,
    providers: [found],
    onAuthorize: async ({ target }) => {
      await made.authorize(target, flow)
    },
  })
  provider = found
  broker = made
  return made.fetch(url, init)
}

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
  return send(server, {
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
  await broker?.close()
  await store.close()
}
