import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse, request as send } from 'node:http'
import type { AddressInfo } from 'node:net'

/** What stands between OpenClaw and the authorization server: it can be shut, and it can hold requests back. */
export interface Gate {
  readonly origin: string
  /** Nobody listens any more: connections are refused. */
  shut(): Promise<void>
  open(): Promise<void>
  /** Holds the next request back. Resolves when it has come, with what lets it go on. */
  hold(): Promise<() => void>
}

/** Lets requests through to another origin on this machine. */
export async function startGate(target: string): Promise<Gate> {
  let held: ((release: () => void) => void) | undefined
  const forward = (request: IncomingMessage, response: ServerResponse): void => {
    const { method, url = '/', headers } = request
    const onward = send(new URL(url, target), { method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(response)
    })
    onward.on('error', () => response.destroy())
    request.pipe(onward)
  }
  const server = createServer((request, response) => {
    if (held === undefined) {
      forward(request, response)
      return
    }
    held(() => forward(request, response))
    held = undefined
  })
  const listen = async (port: number): Promise<number> => {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    return (server.address() as AddressInfo).port
  }
  const port = await listen(0)
  return {
    origin: `http://127.0.0.1:${port}`,
    async shut() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
    async open() {
      await listen(port)
    },
    hold: () =>
      new Promise((resolve) => {
        held = resolve
      }),
  }
}
