import { createServer, type IncomingHttpHeaders } from 'node:http'
import { text } from 'node:stream/consumers'
import { listen } from '../../examples/server/authorization-server.ts'

/** A request as it arrived. */
export interface Arrival {
  readonly method: string
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

export interface Answer {
  readonly status: number
  readonly headers?: Readonly<Record<string, string | string[]>>
  readonly body?: string
}

/** An API on 127.0.0.1 that answers as a test wants, and remembers what came. */
export interface Api {
  readonly origin: string
  readonly arrivals: Arrival[]
  stop(): Promise<void>
}

export async function startApi(answer: (arrival: Arrival, nth: number) => Answer): Promise<Api> {
  const arrivals: Arrival[] = []
  const server = createServer((request, response) => {
    void text(request).then((body) => {
      const { method = '', url = '', headers } = request
      const arrival = { method, path: url, headers, body }
      arrivals.push(arrival)
      const { status, headers: more, body: content = '' } = answer(arrival, arrivals.length)
      response.writeHead(status, more).end(content)
    })
  })
  const origin = await listen(server, 0)
  return {
    origin,
    arrivals,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

export const refuse = (status: number, challenge: string, body?: string): Answer => ({
  status,
  headers: { 'www-authenticate': challenge },
  ...(body === undefined ? {} : { body }),
})
