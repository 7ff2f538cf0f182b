import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { text as textOf } from 'node:stream/consumers'

/** An imitation: of the answers that a recipe reads, and of nothing else. */
export interface Imitation {
  readonly origin: string
  /** Breaks the connection of the next write, before or after it is carried out. */
  cut: 'before' | 'after' | undefined
  /** The most that a request may have; more is refused. */
  limit: number
  /** What was asked, as `METHOD path`. */
  readonly asked: string[]
  /** As somebody does by hand; null deletes. */
  put(name: string, text: string | null): void
  stop(): Promise<void>
}

interface Kept {
  readonly text: string | null
  readonly version: number
}

type Answer = readonly [status: number, body: object]

interface Asked {
  readonly method: string
  readonly path: string
  readonly bearer: string
  readonly body: Record<string, never>
}

/** Vault's KV engine, version 2, mounted as `secret`: `cas`, and versions that go on after a delete. */
export function imitateVault(token: string): Promise<Imitation> {
  const put = (kept: Map<string, Kept>, name: string, text: string | null): void => {
    kept.set(name, { text, version: (kept.get(name)?.version ?? 0) + 1 })
  }
  return imitate(put, (kept, { method, path, bearer, body }) => {
    if (bearer !== token) return [403, { errors: ['permission denied'] }]
    const name = /^\/v1\/secret\/data\/([^/?]+)$/.exec(path)?.[1]
    if (name === undefined) return [404, { errors: [`no handler for route "${path}". route entry not found.`] }]
    const found = kept.get(name)
    const metadata = { version: found?.version ?? 0, deletion_time: '', destroyed: false }
    if (method === 'GET') {
      if (found === undefined) return [404, { errors: [] }]
      if (found.text === null) return [404, { data: { data: null, metadata } }]
      return [200, { data: { data: { document: found.text }, metadata } }]
    }
    const { options, data } = body as unknown as { options: { cas?: number }; data: { document: string } }
    if ((options.cas ?? metadata.version) !== metadata.version) {
      return [400, { errors: ['check-and-set parameter did not match the current version'] }]
    }
    put(kept, name, data.document)
    return [200, { data: { version: metadata.version + 1 } }]
  })
}

/** The Secrets of one namespace of Kubernetes: `resourceVersion` counts for all of them, and no number comes twice. */
export function imitateKubernetes(token: string): Promise<Imitation> {
  let revision = 100
  const put = (kept: Map<string, Kept>, name: string, text: string | null): void => {
    if (text === null) kept.delete(name)
    else kept.set(name, { text, version: ++revision })
  }
  const status = (code: number, reason: string): Answer => [code, { kind: 'Status', status: 'Failure', reason, code }]
  return imitate(put, (kept, { method, path, bearer, body }) => {
    if (bearer !== `Bearer ${token}`) return status(401, 'Unauthorized')
    const route = /^\/api\/v1\/namespaces\/default\/secrets(?:\/([^/?]+))?$/.exec(path)
    if (route === null) return status(404, 'NotFound')
    const { metadata, data } = body as unknown as {
      metadata: { name: string; resourceVersion?: string }
      data: Record<string, string>
    }
    const name = route[1] ?? metadata.name
    const found = kept.get(name)
    const answer = (code: number): Answer => {
      const { text, version } = kept.get(name)!
      const shown = { 'authkeep.json': Buffer.from(text ?? '').toString('base64') }
      return [code, { metadata: { resourceVersion: String(version) }, data: shown }]
    }
    if (method === 'POST' && found !== undefined) return status(409, 'AlreadyExists')
    if (method !== 'POST' && found === undefined) return status(404, 'NotFound')
    if (method === 'GET') return answer(200)
    const { resourceVersion = String(found?.version) } = metadata
    if (method === 'PATCH' && resourceVersion !== String(found?.version)) return status(409, 'Conflict')
    put(kept, name, Buffer.from(data['authkeep.json'] ?? '', 'base64').toString())
    return answer(method === 'POST' ? 201 : 200)
  })
}

async function imitate(
  put: (kept: Map<string, Kept>, name: string, text: string | null) => void,
  answer: (kept: Map<string, Kept>, asked: Asked) => Answer,
): Promise<Imitation> {
  const kept = new Map<string, Kept>()
  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', url: path = '', headers } = request
    const content = await textOf(request)
    imitation.asked.push(`${method} ${path}`)
    const { cut } = imitation
    if (method !== 'GET') imitation.cut = undefined
    if (method !== 'GET' && cut === 'before') return void request.socket.destroy()
    const bearer = headers.authorization ?? String(headers['x-vault-token'])
    const body = (content === '' ? {} : JSON.parse(content)) as Asked['body']
    const [status, said] = content.length > imitation.limit ? [413, {}] : answer(kept, { method, path, bearer, body })
    if (method !== 'GET' && cut === 'after') return void request.socket.destroy()
    response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(said))
  }
  const server = createServer((request, response) => void handle(request, response))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const imitation: Imitation = {
    origin: `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`,
    cut: undefined,
    limit: Number.POSITIVE_INFINITY,
    asked: [],
    put: (name, text) => put(kept, name, text),
    async stop() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return imitation
}
