import { mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { ended, json, type Run, start } from './built.ts'
import { type Desk, openDesk } from './desk.ts'

let desk: Desk
let home: string
beforeEach(async () => {
  desk = await openDesk()
  ;({ home } = desk)
})
afterEach(() => desk.clear())

const run = (...args: readonly string[]): Promise<Run> =>
  ended(start(home, args, { env: { CODEX_HOME: join(home, 'c') } }))

/** A file of another program, and a look at whether anybody has touched it. */
async function put(path: string, content: unknown): Promise<() => Promise<void>> {
  const file = join(home, path)
  await mkdir(dirname(file), { recursive: true })
  await writeFile(file, typeof content === 'string' ? content : JSON.stringify(content), { mode: 0o600 })
  const look = async (): Promise<unknown> => {
    const { ino, mtimeNs, ctimeNs, size } = await stat(file, { bigint: true })
    return { ino, mtimeNs, ctimeNs, size, text: await readFile(file, 'utf8') }
  }
  const before = await look()
  return async () => expect(await look()).toEqual(before)
}
const later = Date.now() + 3_600_000
const opencode = '.local/share/opencode/auth.json'

it('shows what there is, without a secret', async () => {
  const untouched = await put(opencode, {
    demo: { type: 'oauth', refresh: 'secret-r', access: 'secret-a', expires: later },
  })
  await put('.gemini/oauth_creds.json', '{"access_token": "secret')
  const found = await run('import')
  expect(found.code).toBe(0)
  expect(found.stdout).toMatch(/opencode +demo +oauth +in 60 min/)
  expect(found.stderr).toContain('oauth_creds.json cannot be read: it is not JSON')
  expect(json(await run('import', '--json'))).toMatchObject({
    found: [{ program: 'opencode', entry: 'demo', type: 'oauth', expiresAt: later, refreshable: true }],
  })
  expect(found.stdout + found.stderr).not.toContain('secret')
  await untouched()
})

it('borrows: the access token only, which serves, is never refreshed, and leaves the file alone', async () => {
  await desk.login()
  const token = (await desk.authkeep('token', `${desk.api.origin}/files`)).stdout.trim()
  const untouched = await put(opencode, {
    other: { type: 'oauth', refresh: 'secret-r', access: token, expires: later },
  })
  const borrowed = await run('import', 'opencode', '--provider', 'demo', '--account', 'lent')
  await untouched()
  expect(borrowed).toMatchObject({ code: 0, stderr: '' })
  expect(borrowed.stdout).toContain('Borrowed other of opencode as demo "lent"')
  expect(await readFile(join(home, 'auth.json'), 'utf8')).not.toContain('secret-r')
  const served = await run('token', `${desk.api.origin}/files`, '--account', 'lent')
  expect(served.stdout).toBe(`${token}\n`)
  expect((await run('status')).stdout).toContain('borrowed from opencode')
  await put(opencode, { other: { type: 'oauth', refresh: 'secret-r', access: 'renewed', expires: later + 3_600_000 } })
  expect((await run('token', `${desk.api.origin}/files`, '--account', 'lent')).stdout).toBe('renewed\n')
  expect(json(await run('status', '--json'))).toMatchObject({
    credentials: expect.arrayContaining([
      expect.objectContaining({ account: 'lent', expiresAt: later + 3_600_000 }),
    ]) as unknown,
  })
  expect((await run('logout', 'demo', '--account', 'lent')).stdout).toContain(
    'the program it belongs to stays logged in',
  )
})

it('takes over only when told to, in words, and refreshes from then on', async () => {
  await desk.login()
  const [refresh = ''] = await desk.refreshTokens()
  await desk.authkeep('logout', 'demo', '--local')
  const content = { demo: { type: 'oauth', refresh, access: 'expired', expires: 1 } }
  const untouched = await put(opencode, content)
  const refused = await run('import', 'opencode')
  expect(refused.code).toBe(1)
  expect(refused.stdout).toContain('let opencode renew it, or take it over with --take-over')
  const taken = await run('import', 'opencode', '--take-over')
  expect(taken.code).toBe(0)
  expect(taken.stdout).toContain('opencode will be logged out at its next refresh.')
  const shared = await run('status')
  expect(shared.stdout.replaceAll(/\s+/g, ' ')).toContain('demo:default has the same refresh token as opencode')
  expect(json(await run('status', '--json'))).toMatchObject({
    credentials: [{ sharedWith: [{ program: 'opencode', entry: 'demo' }] }],
  })
  expect(await run('token', `${desk.api.origin}/files`)).toMatchObject({ code: 0 })
  await untouched()
  expect((await run('status')).stdout).not.toContain('same refresh token')
  const again = await run('import', 'opencode', '--take-over')
  expect(again.code).toBe(1)
  expect(await desk.refreshTokens()).not.toContain(refresh)
})

it('does not take over what a token shows to be of another issuer or client', async () => {
  const access = (claims: object): string => `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2ln`
  for (const [claims, reason] of [
    [{ iss: 'https://other.example' }, 'of another issuer'],
    [{ iss: desk.server.issuer, client_id: 'other' }, 'to another client'],
  ] as const) {
    await put('c/auth.json', { tokens: { access_token: access(claims), refresh_token: 'secret-r' } })
    const taken = await run('import', 'codex', '--provider', 'demo', '--take-over')
    expect(taken.code).toBe(1)
    expect(taken.stdout).toContain(reason)
  }
  expect((await run('status')).stdout).toMatch(/^There are no logins/)
})

it('imports all or none, and never in the place of another login', async () => {
  await desk.login()
  await desk.addProvider('second')
  await put(opencode, {
    second: { type: 'api', key: 'sk-secret' },
    demo: { type: 'oauth', refresh: 'r', access: 'a', expires: later },
    unknown: { type: 'api', key: 'sk-secret' },
  })
  const all = await run('import', 'opencode')
  expect(all.code).toBe(1)
  expect(json(await run('accounts', '--json'))).toMatchObject({ accounts: [{ provider: 'demo' }] })
  const one = await run('import', 'opencode', '--entry', 'second', '--json')
  expect(json(one)).toMatchObject({ imported: [{ provider: 'second', type: 'api_key', stored: true }] })
  expect(one.stdout).not.toContain('sk-secret')
  expect((await run('import', 'opencode', '--entry', 'unknown')).stdout).toContain('no provider is called unknown')
})

it.each([
  [['import', 'codexx'], 'Did you mean codex?'],
  [['import', 'pi'], 'pi has no logins that can be imported.'],
])('%j: %s', async (args, sentence) => {
  const wrong = await run(...args)
  expect(wrong).toMatchObject({ code: 1, stdout: '' })
  expect(wrong.stderr).toContain(sentence)
})
