import { createServer, type Server } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { type AddressInfo, connect, type Socket } from 'node:net'

export interface ConnectProxy {
  readonly port: number
  /** Every CONNECT that came, and whatever else did. */
  readonly asked: { readonly target: string; readonly authorization: string | undefined }[]
  /** What it does with the next ones: a status other than 200 is a refusal. */
  answer: number | 'hang up' | 'say nothing'
  stop(): Promise<void>
}

/** An HTTP proxy (RFC 9110 §9.3.6) that alone knows where `names`, each `host:port`, are on this machine. */
export async function startProxy(
  names: Readonly<Record<string, number>>,
  tls?: { readonly key: string; readonly cert: string },
): Promise<ConnectProxy> {
  const sockets = new Set<Socket>()
  const asked: ConnectProxy['asked'] = []
  const server: Server = tls === undefined ? createServer() : createSecureServer(tls)
  const proxy: Omit<ConnectProxy, 'port'> = {
    asked,
    answer: 200,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
  server.on('connection', (socket) => sockets.add(socket))
  server.on('request', ({ method, url, headers }, response) => {
    asked.push({ target: `${method} ${url}`, authorization: headers['proxy-authorization'] })
    response.writeHead(400).end()
  })
  server.on('connect', ({ url: target = '', headers }, socket: Socket) => {
    asked.push({ target, authorization: headers['proxy-authorization'] })
    socket.on('error', () => socket.destroy())
    const port = names[target]
    const status = proxy.answer === 200 && port === undefined ? 502 : proxy.answer
    if (status === 'hang up') socket.destroy()
    else if (status === 'say nothing') return
    else if (status !== 200) socket.end(`HTTP/1.1 ${status} No\r\ncontent-length: 0\r\n\r\n`)
    else {
      const upstream = connect(port ?? 0, '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
        upstream.pipe(socket).pipe(upstream)
      })
      sockets.add(upstream)
      upstream.on('error', () => socket.destroy())
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return Object.assign(proxy, { port: (server.address() as AddressInfo).port })
}
