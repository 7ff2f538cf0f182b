import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { AuthkeepError, errnoOf } from '../errors.ts'
import { type Provider, redirectPorts } from '../provider.ts'
import { failurePage, type Page } from './pages.ts'

/** The redirect, held open until the page that ends the login is known. */
export interface Callback {
  readonly parameters: URLSearchParams
  /** Resolves when the page has left, or cannot any more. */
  reply(page: Page): Promise<void>
}

/** Something on this machine that waits for one redirect (RFC 8252 §7.3). */
export interface RedirectListener {
  readonly redirectUri: string
  /** Rejects with AuthkeepError `response_invalid` when the redirect came to another host name. */
  readonly callback: Promise<Callback>
  /** Ends every connection; nothing listens any more when it resolves. */
  close(): Promise<void>
}

/**
 * Listens where the provider's redirect says, on loopback addresses only, on the first of its ports that is free.
 * Only a GET of exactly the callback path is the redirect, and only the first one: a page that names another host
 * than the redirect URI (DNS rebinding) ends the login.
 *
 * @throws AuthkeepError `redirect_unavailable` when no port is free
 */
export async function listenForRedirect(provider: Provider): Promise<RedirectListener> {
  const { host = '127.0.0.1', path = '/callback' } = provider.redirect ?? {}
  let arrived: (callback: Callback) => void = () => undefined
  let refuse: (error: Error) => void = () => undefined
  const callback = new Promise<Callback>((resolve, reject) => {
    arrived = resolve
    refuse = reject
  })
  callback.catch(() => undefined)
  const listening: { at?: URL } = {}
  let taken = false

  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const expected = listening.at
    if (expected === undefined) return void send(response, failurePage(503, 'Nothing is expected here yet.'))
    const target = new URL(request.url ?? '/', expected.origin)
    if (target.pathname !== expected.pathname) return void send(response, failurePage(404, 'There is nothing here.'))
    if (request.method !== 'GET') {
      return void send(
        response,
        withHeader(failurePage(405, 'Only a browser redirect is expected here.'), 'Allow', 'GET'),
      )
    }
    if (taken) return void send(response, failurePage(409, 'This login has already been answered.'))
    taken = true
    if (request.headers.host?.toLowerCase() !== expected.host) {
      const what = 'the redirect came to another host name'
      const refused = new AuthkeepError('response_invalid', { provider: provider.id, status: null, what })
      void send(response, failurePage(421, 'The redirect came to another host name.')).then(() => refuse(refused))
      return
    }
    arrived({ parameters: target.searchParams, reply: (page) => send(response, page) })
  }

  const { port, servers } = await bind(provider, host, answer)
  const redirectUri = `http://${host}:${port}${path}`
  listening.at = new URL(redirectUri)
  return {
    redirectUri,
    callback,
    close: async () => {
      await Promise.all(servers.map(closed))
    },
  }
}

type Handler = (request: IncomingMessage, response: ServerResponse) => void

interface Bound {
  readonly port: number
  readonly servers: readonly Server[]
}

async function bind(provider: Provider, host: string, answer: Handler): Promise<Bound> {
  const ports = redirectPorts(provider)
  let errno = 'EADDRINUSE'
  for (const port of ports) {
    // An ephemeral port is chosen for one address; where the name has two, the other may be taken: choose again.
    for (let attempt = port === 0 ? 5 : 1; attempt > 0; attempt--) {
      try {
        return await bindPort(port, host, answer)
      } catch (error) {
        errno = errnoOf(error) ?? 'unknown'
      }
    }
  }
  throw new AuthkeepError('redirect_unavailable', { provider: provider.id, ports, errno })
}

async function bindPort(port: number, host: string, answer: Handler): Promise<Bound> {
  const first = await listen(port, '127.0.0.1', answer)
  const address = first.address()
  const chosen = typeof address === 'object' && address !== null ? address.port : port
  if (host !== 'localhost') return { port: chosen, servers: [first] }
  try {
    return { port: chosen, servers: [first, await listen(chosen, '::1', answer)] }
  } catch (error) {
    // Without IPv6 the name means 127.0.0.1 only. Somebody else's ::1 would get our redirect: not this port.
    if (errnoOf(error) !== 'EADDRINUSE') return { port: chosen, servers: [first] }
    await closed(first)
    throw error
  }
}

async function listen(port: number, address: string, answer: Handler): Promise<Server> {
  const { createServer } = await import('node:http')
  const server = createServer(answer)
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ port, host: address, exclusive: true }, () => {
      server.off('error', reject)
      resolve(server)
    })
  })
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })
}

function send(response: ServerResponse, { status, headers, html }: Page): Promise<void> {
  return new Promise((resolve) => {
    response.once('finish', resolve)
    response.once('close', resolve)
    response.writeHead(status, { ...headers })
    response.end(html)
  })
}

function withHeader(page: Page, name: string, value: string): Page {
  return { ...page, headers: { ...page.headers, [name]: value } }
}
