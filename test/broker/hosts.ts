import { createServer, request as httpRequest, type IncomingHttpHeaders, type RequestListener } from 'node:http'
import { createServer as createTlsServer, request as httpsRequest } from 'node:https'
import { type AddressInfo, isIP, type Server } from 'node:net'
import { text } from 'node:stream/consumers'

/** A request as it arrived, wherever it was meant to go. */
export interface Visit {
  /** Scheme, and what the `Host` header says. */
  readonly origin: string
  /** The name in the TLS handshake. */
  readonly servername: string | undefined
  readonly method: string
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

export interface Reply {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
}

/** Every host there is: whatever its name and port, a request arrives at one of two servers on loopback. */
export interface Hosts {
  readonly visits: Visit[]
  /** What the hosts answer; 200 for nothing. */
  answer: (visit: Visit) => Reply | undefined
  readonly fetch: typeof fetch
  stop(): Promise<void>
}

// A shared key instead of a certificate: real TLS, with the name of the host, for any name.
const psk = Buffer.from('a key of the test')
const tls = { ciphers: 'PSK', minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' } as const

export async function startHosts(): Promise<Hosts> {
  const hosts = { visits: [] as Visit[], answer: (): Reply | undefined => undefined, fetch: send, stop }
  const listener =
    (scheme: string): RequestListener =>
    (request, response) => {
      void text(request).then((body) => {
        const { method = '', url: path = '', headers, socket } = request
        const servername = (socket as { servername?: string | false }).servername || undefined
        const visit = { origin: `${scheme}://${headers.host ?? ''}`, servername, method, path, headers, body }
        hosts.visits.push(visit)
        const { status = 200, headers: more = {} } = (hosts as Hosts).answer(visit) ?? {}
        response.writeHead(status, more).end()
      })
    }
  const secure = createTlsServer({ ...tls, pskCallback: () => psk }, listener('https'))
  const plain = createServer(listener('http'))
  const [securePort, plainPort] = await Promise.all([secure, plain].map(listening))
  const servers: readonly Server[] = [secure, plain]

  /** Where it is left to this to follow redirects, everything goes along. */
  async function send(input: string | URL | Request, init?: RequestInit): Promise<Response> {
    const request = new Request(input, init)
    const url = new URL(request.url)
    const body = await request.text()
    const isSecure = url.protocol === 'https:'
    const there = { host: '127.0.0.1', port: isSecure ? securePort : plainPort, agent: false } as const
    const headers = { host: url.host, ...Object.fromEntries(request.headers) }
    const what = { method: request.method, path: url.pathname + url.search, headers }
    const name = isIP(url.hostname.replace(/^\[|\]$/g, '')) === 0 ? { servername: url.hostname } : {}
    const identity = { pskCallback: () => ({ psk, identity: 'test' }), checkServerIdentity: () => undefined }
    const response = await new Promise<Response>((resolve, reject) => {
      const outgoing = isSecure
        ? httpsRequest({ ...there, ...what, ...tls, ...name, ...identity })
        : httpRequest({ ...there, ...what })
      outgoing.on('error', reject)
      outgoing.on('response', (response) => {
        const { statusCode: status = 0, rawHeaders } = response
        const received = new Headers()
        for (let at = 0; at < rawHeaders.length; at += 2)
          received.append(rawHeaders[at] ?? '', rawHeaders[at + 1] ?? '')
        text(response).then(
          (content) => resolve(new Response(content === '' ? null : content, { status, headers: received })),
          reject,
        )
      })
      outgoing.end(body)
    })
    const location = response.headers.get('location')
    if (request.redirect !== 'follow' || location === null) return response
    const { method, headers: same } = request
    return send(new URL(location, url), { method, headers: same, ...(body === '' ? {} : { body }) })
  }

  async function stop(): Promise<void> {
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  }

  return hosts
}

function listening(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port))
  })
}
