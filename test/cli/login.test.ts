import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { type AuthorizationServer, startAuthorizationServer } from '../../examples/server/authorization-server.ts'
import { demoProvider } from '../../examples/server/demo-provider.ts'
import { type ResourceServer, startResourceServer } from '../../examples/server/resource-server.ts'
import { completeLogin, type RobotOptions } from '../../examples/server/robot.ts'
import { ended, json, type Run, start } from './built.ts'

let home: string
let server: AuthorizationServer
let api: ResourceServer
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'authkeep-login-'))
  server = await startAuthorizationServer()
  api = await startResourceServer({ authorizationServer: server })
  const path = join(home, 'demo.json')
  await writeFile(path, JSON.stringify(demoProvider(server, { api: api.origin })))
  expect(await authkeep('providers', 'add', path)).toMatchObject({ code: 0 })
})
afterEach(async () => {
  await Promise.all([api.stop(), server.stop()])
  await rm(home, { recursive: true, force: true })
})

const authkeep = (...args: readonly string[]): Promise<Run> => ended(start(home, args))

/** A login in which the robot opens the address that stderr shows. */
async function login(args: readonly string[] = [], robot: RobotOptions = {}): Promise<Run> {
  const child = start(home, ['login', 'demo', '--no-browser', ...args])
  let shown = ''
  let visit: Promise<unknown> | undefined
  child.stderr.on('data', (chunk: Buffer) => {
    shown += chunk.toString()
    const address = /^(http\S+)\n/m.exec(shown)?.[1]
    if (address !== undefined) visit ??= completeLogin(new URL(address), robot)
  })
  const run = await ended(child)
  await visit
  return run
}
const call = async (method: string, path: string, token: string): Promise<number> =>
  (await fetch(`${api.origin}${path}`, { method, headers: { authorization: `Bearer ${token.trim()}` } })).status

it('a login is stored, shown, explained and used, and nothing but token prints a secret', async () => {
  const run = await login()
  expect(run.code).toBe(0)
  expect(run.stdout).toMatch(/^Logged in to demo as "default" with .*files:read.*mail:read/)
  expect(run.stderr).toMatch(/^To log in to demo, open this address:\nhttp/)

  const files = await authkeep('token', `${api.origin}/files`)
  expect(files).toMatchObject({ code: 0, stderr: '' })
  expect(await call('GET', '/files', files.stdout)).toBe(200)
  const mail = await authkeep('token', `${api.origin}/mail`)
  expect(await call('GET', '/mail', mail.stdout)).toBe(200)
  expect(await call('GET', '/files', mail.stdout)).not.toBe(200)
  expect(await authkeep('token', `${api.origin}/files`)).toEqual(files)

  const status = await authkeep('status')
  expect(status.stdout).toMatch(/demo +default +oauth .* in \d+ min +live/)
  const explained = await authkeep('explain', `${api.origin}/mail`)
  expect(explained.stdout).toContain('verdict  use')
  const secrets = [files.stdout.trim(), mail.stdout.trim(), ...(await refreshTokens())]
  for (const { stdout, stderr } of [run, status, explained, await authkeep('status', '--json')]) {
    for (const secret of secrets) expect(stdout + stderr).not.toContain(secret)
  }
})

it('a scope that is missing is 4 and names a login, which brings it and keeps the others', async () => {
  await login()
  const run = await authkeep('token', `${api.origin}/mail/send`)
  expect(run).toMatchObject({ code: 4, stdout: '' })
  expect(run.stderr).toContain('authkeep login demo --scope mail:send')
  expect(server.counts().token['refresh_token'] ?? 0).toBe(0)

  expect((await login(['--scope', 'mail:send'])).stdout).toContain('mail:send')
  expect(await call('POST', '/mail/send', (await authkeep('token', `${api.origin}/mail/send`)).stdout)).toBeLessThan(
    300,
  )
  expect(await call('GET', '/files', (await authkeep('token', `${api.origin}/files`)).stdout)).toBe(200)
})

it('a login that brings less than was asked for is 4 and changes nothing, unless less is accepted', async () => {
  const robot = { scopesToReject: ['mail:read'] }
  const run = await login([], robot)
  expect(run).toMatchObject({ code: 4, stdout: '' })
  expect(run.stderr).toContain('brought less than was asked for: not mail:read. Nothing was stored')
  expect(run.stderr).toContain('authkeep login demo --no-browser --accept-narrower\n')
  expect((await authkeep('status')).stdout).toMatch(/^There are no logins/)

  const accepted = await login(['--accept-narrower'], robot)
  expect(accepted.code).toBe(0)
  expect(accepted.stdout).toContain('Asked for and not granted: mail:read.')
})

it('a person who says no is 4, and nothing is stored', async () => {
  const run = await login([], { deny: true })
  expect(run).toMatchObject({ code: 4, stdout: '' })
  expect(run.stderr).toContain('denied')
  expect((await authkeep('status')).stdout).toMatch(/^There are no logins/)
})

it('another person does not take the place of the first', async () => {
  await login([], { login: 'alice' })
  const run = await login([], { login: 'bob' })
  expect(run.code).toBe(1)
  expect(run.stderr).toContain('authkeep login demo --account default-2')
  expect(await login(['--account', 'bob'], { login: 'bob' })).toMatchObject({ code: 0 })
  expect((await authkeep('token', `${api.origin}/files`)).stderr).toContain('--account bob')
  const token = await authkeep('token', `${api.origin}/files`, '--account', 'bob')
  expect(await call('GET', '/files', token.stdout)).toBe(200)
})

it('tells a program everything about a login but its secrets', async () => {
  const run = await login(['--json', '--account', 'work'])
  expect(json(run)).toMatchObject({ provider: 'demo', account: 'work', type: 'oauth', notGranted: [] })
  for (const secret of await refreshTokens()) expect(run.stdout).not.toContain(secret)
})

it('ten processes that want a token at once refresh once', async () => {
  await login()
  const runs = await Promise.all(
    Array.from({ length: 10 }, () => authkeep('token', `${api.origin}/files`, '--min-ttl', '299')),
  )
  expect(new Set(runs.map(({ stdout }) => stdout)).size).toBeLessThanOrEqual(2)
  for (const run of runs) expect(run).toMatchObject({ code: 0, stderr: '' })
  expect(server.counts()).toMatchObject({ reuse: 0, revoked: 0, inFlightMax: 1 })
})

async function refreshTokens(): Promise<readonly string[]> {
  const text = await readFile(join(home, 'auth.json'), 'utf8')
  const found = [...text.matchAll(/"refreshToken":\s*"([^"]+)"/g)].map(([, token = '']) => token)
  expect(found.length).toBeGreaterThan(0)
  return found
}
