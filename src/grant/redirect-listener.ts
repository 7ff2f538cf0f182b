import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { AuthkeepError, errnoOf } from '../errors.ts'
import { createHash, randomBytes } from '../on-demand.ts'
import { type Provider, redirectPorts } from '../provider.ts'
import { isSent } from './key-login.ts'
import { type Page, strayPage } from './pages.ts'

/** The redirect, held open until the page that ends the login is known. */
export interface Callback {
  readonly parameters: URLSearchParams
  /** Resolves when the page has left, or cannot any more. */
  reply(page: Page): Promise<void>
}

/** Something on this machine that waits for one redirect (RFC 8252 §7.3). */
export interface RedirectListener {
  readonly redirectUri: string
  /**
   * The redirect that carries this state, or of a server that sends none back (null) the one to this address; everything
   * else that comes changes nothing. Rejects with AuthkeepError `authorization_required` (`superseded`) when a later login has taken
   * the port.
   */
  redirectWith(state: string | null): Promise<Callback>
  /** Ends every connection; nothing listens any more when it resolves. */
  close(): Promise<void>
}

/**
 * Listens where the provider's redirect says, on loopback addresses only, on the first of its ports that is free.
 * Only a GET of exactly the callback path, under exactly the host name of the redirect URI (against DNS rebinding), with
 * the state of this login is the redirect, and only the first one. Whatever else comes, from a page of somebody else, a
 * look ahead of the browser, or an earlier login, is refused and ends nothing.
 *
 * A fixed port that another login of the same client holds is asked for, whatever process that is in: whoever logs in
 * anew has given up on the earlier one. A login whose redirect has come is not disturbed.
 *
 * @throws AuthkeepError `redirect_unavailable` when no port is free
 */
export async function listenForRedirect(provider: Provider, account: string): Promise<RedirectListener> {
  const { host = '127.0.0.1', path = '/callback' } = provider.redirect ?? {}
  // Of a server that sends no state back the redirect is known by its path, which nobody else can know.
  const isStateless = provider.keyLogin !== undefined && !isSent(provider.keyLogin, 'state')
  const ownPath = isStateless ? `${path}/${randomBytes(16).toString('base64url')}` : path
  let arrived: (callback: Callback) => void = () => undefined
  let refuse: (error: Error) => void = () => undefined
  const callback = new Promise<Callback>((resolve, reject) => {
    arrived = resolve
    refuse = reject
  })
  callback.catch(() => undefined)
  const expected: { at?: URL; state?: string | null } = {}
  let taken = false

  const own = cancelToken(provider)
  const superseded = (response: ServerResponse): void => {
    taken = true
    // Before the answer, so that whoever gets it finds the port free.
    for (const server of bound.servers) server.close()
    const reason = 'superseded'
    const error = new AuthkeepError('authorization_required', { provider: provider.id, account, reason })
    void send(response, { status: 204, headers: { Connection: 'close' }, html: '' }).then(() => refuse(error))
  }

  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const stray = (status: number, message: string, headers: Page['headers'] = {}): Promise<void> => {
      const page = strayPage(status, message)
      return send(response, { ...page, headers: { ...page.headers, ...headers } })
    }
    const { at, state } = expected
    if (at === undefined) return void stray(503, 'Nothing is expected here yet.')
    const { headers, method, url = '' } = request
    if (headers.host?.toLowerCase() !== at.host) return void stray(421, 'This address was called by another name.')
    // A page in a browser cannot send this header to another origin without being asked about it first.
    if (!taken && headers[cancelHeader] === own) {
      superseded(response)
      return
    }
    // Not every path that a request may name makes a URL: that of "GET //" does not.
    const target = URL.canParse(url, at.origin) ? new URL(url, at.origin) : undefined
    if (target?.origin !== at.origin || target.pathname !== at.pathname)
      return void stray(404, 'There is nothing here.')
    if (method !== 'GET') return void stray(405, 'Only a browser redirect is expected here.', { Allow: 'GET' })
    if (isPrefetch(headers)) return void stray(503, 'A redirect is answered when it is followed, and not ahead of it.')
    if (state === undefined || (state !== null && target.searchParams.get('state') !== state)) {
      return void stray(400, 'This belongs to another login, perhaps to one whose place a later one has taken.')
    }
    if (taken) return void stray(409, 'This login has already been answered.')
    taken = true
    arrived({ parameters: target.searchParams, reply: (page) => send(response, page) })
  }

  const bound = await bind(provider, host, answer)
  const { port, servers } = bound
  const redirectUri = `http://${host}:${port}${ownPath}`
  expected.at = new URL(redirectUri)
  return {
    redirectUri,
    redirectWith(state) {
      expected.state = state
      return callback
    },
    close: async () => {
      await Promise.all(servers.map(closed))
    },
  }
}

/** A browser that loads ahead of its person would use up the redirect. */
function isPrefetch(headers: IncomingMessage['headers']): boolean {
  return ['sec-purpose', 'purpose', 'x-moz'].some((name) => String(headers[name]).includes('prefetch'))
}

type Handler = (request: IncomingMessage, response: ServerResponse) => void

interface Bound {
  readonly port: number
  readonly servers: readonly Server[]
}

async function bind(provider: Provider, host: string, answer: Handler): Promise<Bound> {
  const ports = redirectPorts(provider)
  const asked = new Set<number>()
  let errno = 'EADDRINUSE'
  for (const port of ports) {
    // An ephemeral port is chosen for one address; where the name has two, the other may be taken: choose again.
    for (let attempt = port === 0 ? 5 : 1; attempt > 0; attempt--) {
      try {
        return await bindPort(port, host, answer)
      } catch (error) {
        errno = errnoOf(error) ?? 'unknown'
        // Once: whoever has made room and is there again does not go away.
        if (port !== 0 && errno === 'EADDRINUSE' && !asked.has(port) && (await takeOver(port, host, provider)))
          attempt++
        asked.add(port)
      }
    }
  }
  throw new AuthkeepError('redirect_unavailable', { provider: provider.id, ports, errno })
}

const cancelHeader = 'authkeep-cancel'
const cancelMs = 1000

/** Names the client that a login is of, so that no other client's is ended. */
function cancelToken({ issuer, client }: Provider): string {
  return createHash('sha256')
    .update(JSON.stringify([issuer, client.id]))
    .digest('base64url')
}

/** Asks whoever listens on the port to end their login. Resolves with whether the port has been left to us. */
async function takeOver(port: number, host: string, provider: Provider): Promise<boolean> {
  for (const address of addressesOf(host)) if (await takeOverAt(address, port, host, provider)) return true
  return false
}

async function takeOverAt(address: string, port: number, host: string, provider: Provider): Promise<boolean> {
  const { request } = await import('node:http')
  return new Promise((resolve) => {
    const headers = { host: `${host}:${port}`, [cancelHeader]: cancelToken(provider) }
    const asking = request({ host: address, port, method: 'POST', path: '/', headers, timeout: cancelMs, agent: false })
    asking.once('response', (response) => {
      response.resume()
      resolve(response.statusCode === 204)
    })
    asking.once('timeout', () => asking.destroy())
    asking.once('error', () => resolve(false))
    asking.once('close', () => resolve(false))
    asking.end()
  })
}

/** RFC 8252 §7.3, §8.3: the name may mean either address, so both have to be ours. */
function addressesOf(host: string): readonly string[] {
  if (host === '[::1]') return ['::1']
  return host === 'localhost' ? ['127.0.0.1', '::1'] : ['127.0.0.1']
}

async function bindPort(port: number, host: string, answer: Handler): Promise<Bound> {
  const servers: Server[] = []
  let chosen = port
  let failure: unknown
  for (const address of addressesOf(host)) {
    try {
      const server = await listen(chosen, address, answer)
      servers.push(server)
      const at = server.address()
      if (typeof at === 'object' && at !== null) chosen = at.port
    } catch (error) {
      failure = error
      // Without one family the name means the other only. Somebody else's address would get our redirect: not this port.
      if (errnoOf(error) !== 'EADDRINUSE') continue
      await Promise.all(servers.map(closed))
      throw error
    }
  }
  if (servers.length === 0) throw failure
  return { port: chosen, servers }
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
