// A server of the Model Context Protocol for the clients beside it. ISSUER is its authorization server; INTROSPECTION and
// CLIENT are where and as whom it asks about tokens (RFC 7662). Prints its URL; then, for each line on stdin, what has
// arrived since the last. A token in such a line is refused from then on.
import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createInterface } from 'node:readline'
import { json } from 'node:stream/consumers'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js'

const { ISSUER: issuer = '', INTROSPECTION: introspection = '', CLIENT: client = '' } = process.env
const path = '/mcp'
const metadataPath = `/.well-known/oauth-protected-resource${path}`
let origin = ''
let arrivals: { bearer: string; status: number; what: string }[] = []
const refused = new Set<string>()
const sessions = new Map<string, StreamableHTTPServerTransport>()

/** `wait` says that it waits, and ends when somebody calls `release`: whoever reads an answer as a whole never gets there. */
let release: () => void = () => undefined

function serverWithTools(): McpServer {
  const server = new McpServer({ name: 'notes', version: '1.0.0' })
  const text = (said: string) => ({ content: [{ type: 'text' as const, text: said }] })
  server.registerTool('read', {}, () => text('read'))
  server.registerTool('write', {}, () => text('written'))
  server.registerTool('release', {}, () => {
    release()
    return text('released')
  })
  server.registerTool('wait', {}, async ({ _meta, sendNotification }) => {
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    const { progressToken = '' } = _meta ?? {}
    await sendNotification({ method: 'notifications/progress', params: { progressToken, progress: 1 } })
    await released
    return text('waited')
  })
  return server
}

async function scopesOf(bearer: string): Promise<readonly string[] | null> {
  const response = await fetch(introspection, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(client).toString('base64')}` },
    body: new URLSearchParams({ token: bearer }),
  })
  const { active, scope = '', aud } = (await response.json()) as { active?: boolean; scope?: string; aud?: string }
  return active === true && aud === origin + path ? scope.split(' ') : null
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const refuse = (status: number, challenge: string): void => {
    const where = `resource_metadata="${origin}${metadataPath}"`
    response.writeHead(status, { 'WWW-Authenticate': `Bearer ${challenge}, ${where}` }).end()
  }
  if (request.url === metadataPath) {
    const metadata = { resource: origin + path, authorization_servers: [issuer] }
    response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(metadata))
    return
  }
  const bearer = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? ''
  const body = request.method === 'POST' ? await json(request) : undefined
  const { method: what = request.method ?? '', params } = (body ?? {}) as {
    method?: string
    params?: { name?: string }
  }
  response.once('finish', () => arrivals.push({ bearer, status: response.statusCode, what: params?.name ?? what }))
  if (bearer === '') return refuse(401, 'scope="notes:read"')
  const scopes = refused.has(bearer) ? null : await scopesOf(bearer)
  if (scopes === null) return refuse(401, 'error="invalid_token"')
  if (what === 'tools/call' && params?.name === 'write' && !scopes.includes('notes:write')) {
    return refuse(403, 'error="insufficient_scope", scope="notes:write"')
  }
  const session = request.headers['mcp-session-id']
  const known = typeof session === 'string' ? sessions.get(session) : undefined
  await (known ?? (await newSession())).handleRequest(request, response, body)
}

async function newSession(): Promise<StreamableHTTPServerTransport> {
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    onsessioninitialized: (id) => {
      sessions.set(id, transport)
    },
  })
  await serverWithTools().connect(transport as Transport)
  return transport
}

const server = createServer((request, response) => {
  answer(request, response).catch((error: unknown) => {
    console.error(error)
    response.writeHead(500).end()
  })
})
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
console.log(origin + path)
for await (const line of createInterface({ input: process.stdin })) {
  if (line !== '') refused.add(line)
  console.log(JSON.stringify(arrivals))
  arrivals = []
}
server.close()
server.closeAllConnections()
