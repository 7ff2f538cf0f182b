import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type AuthorizationServer, startAuthorizationServer } from '../../examples/server/authorization-server.ts'
import { demoProvider } from '../../examples/server/demo-provider.ts'
import { completeLogin } from '../../examples/server/robot.ts'
import { loopbackFlow } from '../../src/grant/loopback.ts'
import type { Provider } from '../../src/provider.ts'
import { grantRequest, oauth, rejection } from './setup.ts'

let server: AuthorizationServer
beforeAll(async () => {
  server = await startAuthorizationServer()
})
afterAll(() => server.stop())

async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
  const { port } = probe.address() as AddressInfo
  await new Promise((resolve) => probe.close(resolve))
  return port
}

async function fixed(more: Partial<Provider> = {}): Promise<Provider & { redirect: { ports: number[] } }> {
  return { ...demoProvider(server), redirect: { host: 'localhost', ports: [await freePort()] }, ...more } as never
}

/** A login that nobody has come to yet, and how it ends. */
async function waiting(provider: Provider, signal?: AbortSignal): Promise<{ ended: Promise<unknown> }> {
  let opened: () => void = () => undefined
  const listens = new Promise<void>((resolve) => {
    opened = resolve
  })
  const ended = rejection(loopbackFlow({ openBrowser: opened }).run(grantRequest(provider, { signal })))
  await listens
  return { ended }
}

const login = async (provider: Provider): Promise<string | null> => {
  const flow = loopbackFlow({ openBrowser: (url) => void completeLogin(url) })
  return oauth(await flow.run(grantRequest(provider))).token.subject
}

const superseded = { code: 'authorization_required', detail: { reason: 'superseded', account: 'default' } }

it('a second login takes the port from the first, which says so', async () => {
  const provider = await fixed()
  const first = await waiting(provider)
  expect(await login(provider)).toBe('alice')
  expect(await first.ended).toMatchObject(superseded)
})

it('also from one in another process', async () => {
  const provider = await fixed()
  const script = fileURLToPath(new URL('../e2e/login.mjs', import.meta.url))
  const child = spawn(process.execPath, [script, JSON.stringify(provider)], { stdio: ['ignore', 'pipe', 'inherit'] })
  const lines = createInterface(child.stdout)
  const said: unknown[] = []
  lines.on('line', (line) => said.push(JSON.parse(line)))
  await once(lines, 'line')
  // A connection that is kept open does not keep the process.
  const idle = connect(provider.redirect.ports[0] ?? 0, '127.0.0.1')
  const dropped = new Promise((resolve) => idle.on('error', resolve).on('close', resolve))
  await once(idle, 'connect')
  const ends = once(child, 'close')
  expect(await login(provider)).toBe('alice')
  expect((await ends)[0]).toBe(0)
  await dropped
  expect(said).toMatchObject(['waiting', superseded])
})

it('not from another client, nor from one whose redirect has come; then the next port is taken', async () => {
  const provider = await fixed()
  const [port = 0] = provider.redirect.ports
  const both = { ...provider, redirect: { ...provider.redirect, ports: [port, await freePort()] } }
  const abort = new AbortController()
  const other = await waiting({ ...provider, client: { id: 'another' } }, abort.signal)
  expect(await login(both)).toBe('alice')
  const blocked = await rejection(login(provider))
  expect(blocked).toMatchObject({ code: 'redirect_unavailable', detail: { ports: [port] } })
  abort.abort()
  await other.ended

  const late: { login?: Promise<string | null> } = {}
  const answered = loopbackFlow({ openBrowser: (url) => void completeLogin(url) })
  const slow: typeof fetch = async (input, init) => {
    if (init?.method === 'POST') await (late.login ??= login(both))
    return fetch(input, init)
  }
  await answered.run(grantRequest(provider, { fetch: slow }))
  expect(await late.login).toBe('alice')
})

it('not for a page in a browser, which cannot send the header, nor under another host name', async () => {
  const provider = await fixed()
  const [port = 0] = provider.redirect.ports
  const first = await waiting(provider)
  for (const headers of [{}, { 'authkeep-cancel': 'guess' }]) {
    expect((await fetch(`http://localhost:${port}/`, { method: 'POST', headers })).status).toBe(404)
  }
  const preflight = { 'access-control-request-method': 'POST', 'access-control-request-headers': 'authkeep-cancel' }
  const asked = await fetch(`http://localhost:${port}/`, { method: 'OPTIONS', headers: preflight })
  expect(asked.headers.get('access-control-allow-origin')).toBeNull()
  await login(provider)
  await first.ended
})
