import { afterEach, beforeEach, expect, it } from 'vitest'
import { ended, json, start } from './built.ts'
import { type Desk, openDesk } from './desk.ts'

let desk: Desk
beforeEach(async () => {
  desk = await openDesk()
})
afterEach(() => desk.clear())

it('revokes a login at the server, then forgets it, and says so', async () => {
  await desk.login()
  const [refreshToken = ''] = await desk.refreshTokens()
  const run = await desk.authkeep('logout', 'demo')
  expect(run).toMatchObject({ code: 0, stderr: '' })
  expect(run.stdout).toBe('Logged out of demo as "default": revoked at the server and forgotten.\n')
  expect(run.stdout).not.toContain(refreshToken)
  expect(desk.server.counts().revoked).toBeGreaterThan(0)
  expect(await desk.refreshTokens()).toEqual([])
  expect(await desk.authkeep('logout', 'demo')).toMatchObject({ code: 4, stdout: '' })
})

it('keeps what the server has not confirmed, and says how to forget it all the same', async () => {
  await desk.login()
  await desk.addProvider('demo', { metadata: await metadata({ revocation_endpoint: 'http://127.0.0.1:9/revoke' }) })
  const run = await desk.authkeep('logout', 'demo')
  expect(run.code).toBe(75)
  expect(run.stdout).toContain('Not logged out of demo as "default"')
  expect(run.stdout).toContain('authkeep logout demo --local')
  expect(await desk.refreshTokens()).toHaveLength(1)
  const local = await desk.authkeep('logout', 'demo', '--local', '--json')
  expect(local.code).toBe(0)
  expect(json(local)).toMatchObject({ revoked: false, forgotten: true, reason: 'not_asked' })
  expect(await desk.refreshTokens()).toEqual([])
})

it('forgets where the server has no way to be told, and says what that means', async () => {
  await desk.login()
  await desk.addProvider('demo', { metadata: await metadata({}) })
  const run = await desk.authkeep('logout', 'demo')
  expect(run.code).toBe(0)
  expect(run.stdout).toMatch(/^Forgot demo as "default"; the server has no way to be told/)
})

it('of several accounts ends the one that is named', async () => {
  await desk.login()
  await desk.login(['--account', 'bob'], { login: 'bob' })
  const run = await desk.authkeep('logout', 'demo')
  expect(run.code).toBe(1)
  expect(run.stderr).toContain('authkeep logout demo --account default')
  expect(await desk.authkeep('logout', 'demo', '--account', 'bob')).toMatchObject({ code: 0 })
  expect((await desk.authkeep('accounts', 'demo')).stdout).toMatch(/demo +default +alice/)
  expect(json(await desk.authkeep('accounts', '--json'))).toMatchObject({ accounts: [{ account: 'default' }] })
})

it('forgets an API key', async () => {
  await ended(start(desk.home, ['login', 'demo', '--api-key-stdin']), 'sk-secret')
  expect((await desk.authkeep('logout', 'demo')).stdout).toContain('Forgot demo as "default"; nothing was issued')
})

it('is 1 for a provider that nobody knows', async () => {
  expect(await desk.authkeep('logout', 'dmeo')).toMatchObject({ code: 1, stdout: '' })
})

async function metadata(changes: object): Promise<object> {
  const url = `${desk.server.origin}/.well-known/openid-configuration`
  const { revocation_endpoint: _, ...rest } = (await (await fetch(url)).json()) as Record<string, unknown>
  return { ...rest, ...changes }
}
