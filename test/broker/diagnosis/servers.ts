import { once } from 'node:events'
import { createServer as createHttpServer, type RequestListener } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { diagnose } from '../../../src/broker/diagnose.ts'
import type { Verdict } from '../../../src/broker/verdict.ts'
import { selfSigned } from '../certificate.ts'

const hour = 3_600_000
/** What a test has opened, to be closed after it. */
export const open: { close: () => void }[] = []

/** Listens on 127.0.0.1 until the test is over; the port. */
async function listening(server: Server): Promise<number> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket))
  })
  open.push({
    close: () => {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

export const raw = (serve: (socket: Socket) => void): Promise<number> => listening(createServer(serve))
export const http = (serve: RequestListener): Promise<number> => listening(createHttpServer(serve))

export async function https(host: string, from: Date, to: Date): Promise<{ port: number; cert: string }> {
  const { cert, key } = selfSigned(host, { from, to })
  return { port: await listening(createHttpsServer({ cert, key }, (_, answer) => answer.end('{}'))), cert }
}

export async function closedPort(): Promise<number> {
  const server = createServer()
  const port = await listening(server)
  server.close()
  await once(server, 'close')
  return port
}

/** The head of an answer, and less of its body than it announces. */
export const beginning = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"a":'
export const soon = (): Date => new Date(Date.now() + hour)
export const before = (hours: number): Date => new Date(Date.now() - hours * hour)

/** What came of a request, its answer read to the end. */
export async function outcomeOf(url: string, send: () => Promise<Pick<Response, 'text'>>): Promise<Verdict> {
  try {
    const response = await send()
    const verdict = await diagnose(response, { url, expected: 'json' })
    await response.text()
    return verdict
  } catch (error) {
    return diagnose(error, { url })
  }
}

export function closeAll(): void {
  for (const each of open.splice(0)) each.close()
}
