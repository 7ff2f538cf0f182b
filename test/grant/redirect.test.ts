import { createServer } from 'node:http'
import { type AddressInfo, connect, type ListenOptions, Server, type Socket } from 'node:net'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { type AuthorizationServer, startAuthorizationServer } from '../../examples/server/authorization-server.ts'
import { demoProvider } from '../../examples/server/demo-provider.ts'
import { completeLogin, type FinalPage, redirectAway } from '../../examples/server/robot.ts'
import { loopbackFlow } from '../../src/grant/loopback.ts'
import type { Provider } from '../../src/provider.ts'
import { expectNoSecret, grantRequest, oauth, rejection } from './setup.ts'

let server: AuthorizationServer
beforeAll(async () => {
  server = await startAuthorizationServer()
})
afterEach(() => server.reset())
afterAll(() => server.stop())

/** Where a browser would be sent back to, with the state of the login and a code that somebody made up. */
function guessOf(url: URL): URL {
  const redirect = new URL(url.searchParams.get('redirect_uri') ?? '')
  redirect.searchParams.set('state', url.searchParams.get('state') ?? '')
  redirect.searchParams.set('code', 'SECRET-CODE')
  return redirect
}

interface Answer {
  readonly status: number
  readonly text: string
}

/** One request, byte by byte, as no browser would make it; resolves when the other side has hung up. */
function bytes(to: URL, line: string, headers: Record<string, string> = {}): Promise<Answer> {
  const socket = dial(to)
  const all = Object.entries({ Host: to.host, ...headers }).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.write(`${line} HTTP/1.1\r\n${all.join('')}\r\n`)
  return new Promise((resolve, reject) => {
    let text = ''
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString()
    })
    socket.on('error', reject)
    socket.on('close', () => resolve({ status: Number(text.split(' ')[1] ?? 0), text }))
  })
}

const dial = (to: URL): Socket => connect(Number(to.port), to.hostname.replaceAll(/[[\]]/g, ''))

/** A login during which something else comes to its address first. */
async function loginAfter<T>(
  first: (guess: URL) => Promise<T>,
  provider: Provider = demoProvider(server),
): Promise<{ seen: T; page: FinalPage; subject: string | null }> {
  let work: Promise<{ seen: T; page: FinalPage }> | undefined
  const flow = loopbackFlow({
    openBrowser: (url) => {
      work = first(guessOf(url)).then(async (seen) => ({ seen, page: await completeLogin(url) }))
      work.catch(() => undefined)
    },
  })
  const { token } = oauth(await flow.run(grantRequest(provider)))
  if (work === undefined) throw new Error('no browser was opened')
  return { ...(await work), subject: token.subject }
}

const path = (url: URL, change: (changed: URL) => void = () => undefined): string => {
  const changed = new URL(url)
  change(changed)
  return `${changed.pathname}${changed.search}`
}

describe('what is not the redirect is refused, and the login goes on', () => {
  it.each<[string, number, (guess: URL) => Promise<Answer>]>([
    [
      'another host name (DNS rebinding)',
      421,
      (to) => bytes(to, `GET ${path(to)}`, { Host: `evil.example:${to.port}` }),
    ],
    ['another host name at another path', 421, (to) => bytes(to, 'GET /', { Host: 'evil.example' })],
    ['the host name without its port', 421, (to) => bytes(to, `GET ${path(to)}`, { Host: to.hostname })],
    ['the other name of this machine', 421, (to) => bytes(to, `GET ${path(to)}`, { Host: `localhost:${to.port}` })],
    ['the URL of another host as a path', 404, (to) => bytes(to, `GET http://evil.example${path(to)}`)],
    ['a path that makes no URL', 404, (to) => bytes(to, 'GET //')],
    ['another path', 404, (to) => bytes(to, 'GET /favicon.ico')],
    ['the path with a slash behind it', 404, (to) => bytes(to, `GET ${to.pathname}/${to.search}`)],
    ['HEAD', 405, (to) => bytes(to, `HEAD ${path(to)}`)],
    ['POST', 405, (to) => bytes(to, `POST ${path(to)}`, { 'Content-Length': '0' })],
    ['a look ahead', 503, (to) => bytes(to, `GET ${path(to)}`, { 'Sec-Purpose': 'prefetch;prerender' })],
    ['a look ahead of an older browser', 503, (to) => bytes(to, `GET ${path(to)}`, { Purpose: 'prefetch' })],
    ['another state', 400, (to) => bytes(to, `GET ${path(to, (url) => url.searchParams.set('state', 'guess'))}`)],
    ['no state', 400, (to) => bytes(to, `GET ${path(to, (url) => url.searchParams.delete('state'))}`)],
    ['a denial with another state', 400, (to) => bytes(to, `GET ${to.pathname}?error=access_denied&state=guess`)],
  ])('%s', async (_, status, stray) => {
    const { seen, page, subject } = await loginAfter(stray)
    expect(seen.status).toBe(status)
    if (!seen.text.startsWith('HTTP/1.1 405')) expect(seen.text).toContain('It has changed nothing')
    expect(seen.text).not.toContain('SECRET-CODE')
    expect(seen.text).toMatch(/^content-security-policy: default-src 'none'; style-src 'sha256-[\w+/=]+';/im)
    expect(seen.text).toMatch(/^cache-control: no-store\r$/im)
    expect(seen.text).toMatch(/^referrer-policy: no-referrer\r$/im)
    expect({ subject, status: page.status }).toEqual({ subject: 'alice', status: 200 })
    expect(server.counts().token).toEqual({ authorization_code: 1 })
  })
})

it('takes one redirect only, also while its code is being exchanged', async () => {
  let guess: URL | undefined
  let again: Answer | undefined
  const flow = loopbackFlow({
    openBrowser: (url) => {
      guess = guessOf(url)
      void completeLogin(url)
    },
  })
  const slow: typeof fetch = async (input, init) => {
    if (init?.method === 'POST' && guess !== undefined) again ??= await bytes(guess, `GET ${path(guess)}`)
    return fetch(input, init)
  }
  await flow.run(grantRequest(demoProvider(server), { fetch: slow }))
  expect(again?.status).toBe(409)
  expect(server.counts().token).toEqual({ authorization_code: 1 })
  await expect(fetch(guess ?? '')).rejects.toThrow('fetch failed')
})

it('a redirect of a login whose place was taken is told so, and ends nothing', async () => {
  const provider = { ...demoProvider(server), redirect: { ports: [await freePort()] } }
  let late: Promise<URL> | undefined
  const shown = new Promise<void>((resolve) => {
    const openBrowser = (url: URL): void => {
      late = redirectAway(url)
      resolve()
    }
    void rejection(loopbackFlow({ openBrowser }).run(grantRequest(provider))).then((error) => {
      expect(error).toMatchObject({ code: 'authorization_required', detail: { reason: 'superseded' } })
    })
  })
  await shown
  const { seen, subject } = await loginAfter(async () => {
    const response = await fetch((await late) ?? '')
    return { status: response.status, text: await response.text() }
  }, provider)
  expect(seen.status).toBe(400)
  expect(seen.text).toContain('This belongs to another login, perhaps to one whose place a later one has taken.')
  expect(subject).toBe('alice')
})

it('connections that say nothing, or not all, hold nothing up', async () => {
  const closed: Promise<unknown>[] = []
  await loginAfter((guess) => {
    const sockets = [dial(guess), dial(guess), dial(guess)] as const
    closed.push(...sockets.map((socket) => new Promise((resolve) => socket.on('error', resolve).on('close', resolve))))
    sockets[1].write(`GET ${path(guess)} HTTP/1.1\r\nHost: `)
    sockets[2].write(`GET /nothing HTTP/1.1\r\nHost: ${guess.host}\r\nConnection: keep-alive\r\n\r\n`)
    return new Promise((resolve) => sockets[2].once('data', resolve))
  })
  await Promise.all(closed)
})

it('neither code nor state is in an error, or on a page', async () => {
  let guess: URL | undefined
  let page: Promise<string> | undefined
  const openBrowser = (url: URL): void => {
    guess = guessOf(url)
    page = fetch(guess).then((response) => response.text())
  }
  const error = await rejection(loopbackFlow({ openBrowser }).run(grantRequest(demoProvider(server))))
  const secrets = ['SECRET-CODE', guess?.searchParams.get('state') ?? '']
  expect(secrets[1]).toMatch(/^[\w-]{43}$/)
  expectNoSecret(error, secrets)
  expectNoSecret(await page, secrets)
})

it('ends on the IPv6 loopback address where that is registered', async () => {
  const provider: Provider = { ...demoProvider(server), redirect: { host: '[::1]' } }
  const { seen, page, subject } = await loginAfter((guess) => Promise.resolve(guess), provider)
  expect({ host: seen.hostname, subject, end: page.url.hostname }).toEqual({
    host: '[::1]',
    subject: 'alice',
    end: '[::1]',
  })
})

it.each(['127.0.0.1', '::1'])('a port that somebody has on %s is not taken for localhost', async (address) => {
  const squatter = createServer((_, response) => void response.writeHead(404).end())
  await new Promise<void>((resolve) => squatter.listen(0, address, resolve))
  const { port } = squatter.address() as AddressInfo
  const ports = [port, await freePort()]
  const provider: Provider = { ...demoProvider(server), redirect: { host: 'localhost', ports } }
  const { seen, subject } = await loginAfter((guess) => Promise.resolve(guess), provider)
  expect({ port: Number(seen.port), subject }).toEqual({ port: ports[1], subject: 'alice' })
  const only: Provider = { ...provider, redirect: { host: 'localhost', ports: [port] } }
  const detail = { provider: 'demo', ports: [port], errno: 'EADDRINUSE' }
  const error = await rejection(loopbackFlow().run(grantRequest(only)))
  expect(error).toMatchObject({ code: 'redirect_unavailable', detail })
  await new Promise((resolve) => squatter.close(resolve))
})

async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
  const { port } = probe.address() as AddressInfo
  await new Promise((resolve) => probe.close(resolve))
  return port
}

// Any machine has one of the two; which one is played, since nothing but a namespace of its own could take it away.
it.each<[string, readonly string[], string]>([
  ['without IPv4 listens on ::1', ['127.0.0.1'], '::1'],
  ['without IPv6 listens on 127.0.0.1', ['::1'], '127.0.0.1'],
  ['without either cannot log in', ['127.0.0.1', '::1'], 'EADDRNOTAVAIL'],
])('localhost on a machine %s', async (_, missing, outcome) => {
  const asked: string[] = []
  // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with its object
  const { listen } = Server.prototype
  const spy = vi.spyOn(Server.prototype, 'listen').mockImplementation(function (this: Server, ...args: unknown[]) {
    const [{ host = '', port = 0 }, listening] = args as [ListenOptions, () => void]
    if (!missing.includes(host)) {
      asked.push(host)
      return listen.call(this, { port, host: '127.0.0.1' }, listening)
    }
    process.nextTick(() => this.emit('error', Object.assign(new Error('no address'), { code: 'EADDRNOTAVAIL' })))
    return this
  })
  try {
    const provider: Provider = { ...demoProvider(server), redirect: { host: 'localhost' } }
    const openBrowser = async (url: URL): Promise<void> => {
      const redirect = await redirectAway(url)
      redirect.hostname = '127.0.0.1'
      await bytes(redirect, `GET ${redirect.pathname}${redirect.search}`, { Host: `localhost:${redirect.port}` })
    }
    const run = loopbackFlow({ openBrowser }).run(grantRequest(provider))
    if (missing.length === 2) {
      expect(await rejection(run)).toMatchObject({ code: 'redirect_unavailable', detail: { errno: outcome } })
    } else {
      expect(oauth(await run).token.subject).toBe('alice')
      expect(asked).toEqual([outcome])
    }
  } finally {
    spy.mockRestore()
  }
})
