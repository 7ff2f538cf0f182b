import { createServer, type ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import { type AuthorizationServer, listen } from '../../examples/server/authorization-server.ts'

/** What came to a model API, and what it said. */
export interface Call {
  readonly path: string
  readonly bearer: string
  readonly status: number
  /** Whatever else was sent that could be a credential. */
  readonly otherKeys: readonly string[]
}

/** A model API on 127.0.0.1 that answers "served" to whoever has a live token of the authorization server. */
export interface ModelServer {
  readonly origin: string
  readonly calls: Call[]
  /** Refuses this token from now on, whatever the authorization server says of it. */
  refuse(token: string): void
  stop(): Promise<void>
}

export async function startModelServer(authorizationServer: AuthorizationServer): Promise<ModelServer> {
  const calls: Call[] = []
  const refused = new Set<string>()
  const server = createServer((request, response) => {
    void text(request).then(async (body) => {
      const { headers, url: path = '' } = request
      const bearer = /^Bearer (\S+)$/i.exec(headers.authorization ?? '')?.[1] ?? ''
      const otherKeys = ['x-api-key', 'api-key', 'x-goog-api-key'].filter((name) => headers[name] !== undefined)
      const isLive = !refused.has(bearer) && (await isActive(authorizationServer, bearer))
      const status = !isLive ? 401 : path in answers ? 200 : 404
      calls.push({ path, bearer, status, otherKeys })
      if (!isLive) response.setHeader('www-authenticate', 'Bearer error="invalid_token"')
      if (status !== 200) send(response, status, { error: { message: 'refused', type: 'invalid_request_error' } })
      else answers[path]?.(response, (JSON.parse(body) as { stream?: boolean }).stream === true)
    })
  })
  const origin = await listen(server, 0)
  return {
    ...{ origin, calls },
    refuse: (token) => refused.add(token),
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** RFC 7662 */
async function isActive({ introspection }: AuthorizationServer, token: string): Promise<boolean> {
  const { url, clientId, clientSecret } = introspection
  const authorization = `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString('base64')}`
  const response = await fetch(url, {
    method: 'POST',
    headers: { authorization },
    body: new URLSearchParams({ token }),
  })
  return ((await response.json()) as { active: boolean }).active
}

const answers: Readonly<Record<string, (response: ServerResponse, stream: boolean) => void>> = {
  '/v1/responses': (response, stream) => {
    const content = [{ type: 'output_text', text: 'served', annotations: [] }]
    const item = { id: 'msg_1', type: 'message', role: 'assistant', status: 'completed', content }
    const usage = {
      ...{ input_tokens: 1, output_tokens: 1, total_tokens: 2 },
      input_tokens_details: { cached_tokens: 0 },
      output_tokens_details: { reasoning_tokens: 0 },
    }
    const done = {
      ...{ id: 'resp_1', object: 'response', created_at: 1, model: 'gpt-5', status: 'completed', error: null },
      ...{ incomplete_details: null, output: [item], usage },
    }
    if (!stream) {
      send(response, 200, done)
      return
    }
    const place = { item_id: 'msg_1', output_index: 0, content_index: 0 }
    sendEvents(response, [
      { type: 'response.created', response: { ...done, status: 'in_progress', output: [] } },
      { type: 'response.output_item.added', output_index: 0, item: { ...item, content: [] } },
      { type: 'response.output_text.delta', ...place, delta: 'ser' },
      { type: 'response.output_text.delta', ...place, delta: 'ved' },
      { type: 'response.output_item.done', output_index: 0, item },
      { type: 'response.completed', response: done },
    ])
  },
  '/v1/messages': (response) => {
    const content = [{ type: 'text', text: 'served' }]
    const message = { id: 'msg_1', type: 'message', role: 'assistant', model: 'claude', stop_reason: 'end_turn' }
    send(response, 200, { ...message, content, stop_sequence: null, usage: { input_tokens: 1, output_tokens: 1 } })
  },
}

function send(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

function sendEvents(
  response: ServerResponse,
  events: readonly ({ readonly type: string } & Readonly<Record<string, unknown>>)[],
): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  for (const [index, event] of events.entries()) {
    response.write(`event: ${event.type}\ndata: ${JSON.stringify({ ...event, sequence_number: index })}\n\n`)
  }
  response.end()
}
