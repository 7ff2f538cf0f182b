import { spawnSync } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type OAuthCredential, Secret } from '../../src/credential.ts'
import { openStore } from '../../src/store/store.ts'
import { ended, json, start } from './built.ts'
import { type Desk, openDesk } from './desk.ts'

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

let home: string
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'authkeep-'))
  const store = await openStore({ path: join(home, 'auth.json') })
  for (const key of ['sk-first', 'sk-second']) {
    const entry = { provider: 'openai', account: 'default' }
    await store.update(entry, () => ({ type: 'api_key', ...entry, key: new Secret(key) }))
  }
  await store.close()
})
afterEach(() => rm(home, { recursive: true }))

function authkeep(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const env = { ...process.env, HOME: home, CODEX_HOME: join(home, 'codex') }
  return spawnSync(process.execPath, [main, ...args, '--home', home], { encoding: 'utf8', env })
}

test('a healthy store is said to be one', () => {
  const { status, stdout } = authkeep('doctor')
  expect(status).toBe(0)
  expect(stdout).toContain('holds 1 logins')
  expect(stdout).not.toContain('!!')
})

const canMount = spawnSync('unshare', ['-rm', 'true']).status === 0

test.runIf(canMount)(
  'a file that is mounted by itself is healthy without a second copy, and that is said',
  async () => {
    await rm(join(home, 'auth.json.bak'))
    const script = 'mount --bind "$1" "$1" && exec "$2" "$3" doctor --offline --json --home "$4"'
    const words = ['-rm', 'sh', '-c', script, 'sh', join(home, 'auth.json'), process.execPath, main, home]
    const { status, stdout, stderr } = spawnSync('unshare', words, { encoding: 'utf8' })
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    const finding = 'no second copy is kept of a file that is mounted by itself; mount its directory to have one'
    expect(JSON.parse(stdout)).toMatchObject({
      ok: true,
      checks: expect.arrayContaining([{ name: 'copy', ok: true, finding }]) as unknown,
    })
  },
)

test('who refreshed what, and when, is in the ledger', async () => {
  const store = await openStore({ path: join(home, 'auth.json') })
  const demo = { provider: 'demo', account: 'me' }
  const grant = (more: object): OAuthCredential['grant'] => ({
    ...{ scopes: [], evidence: 'assumed', resources: [], refreshToken: new Secret('r-7'), refreshExpiresAt: null },
    ...{ generation: 7, obtainedAt: 0, state: 'live', replays: 0, ...more },
  })
  const login = { type: 'oauth', ...demo, issuer: 'https://as.example', clientId: 'cli', subject: null } as const
  await store.update(demo, () => ({ ...login, grant: grant({}), tokens: [], lease: null }))
  expect(authkeep('doctor').stdout).toContain('demo:me: generation 7, not refreshed yet')
  const refreshed = { at: Date.now() - 180_000, host: 'h', bootId: null, pid: 4711 }
  await store.update(demo, (now) => (now?.type === 'oauth' ? { ...now, grant: grant({ refreshed }) } : undefined))
  await store.close()
  const { status, stdout } = authkeep('doctor')
  expect(stdout).toContain('demo:me: generation 7, refreshed 3 min ago by pid 4711 on host h')
  expect(stdout).not.toContain('r-7')
  expect(status).toBe(0)
})

test('an emptied file is mended from its copy, when asked', async () => {
  await writeFile(join(home, 'auth.json'), '')
  const before = authkeep('doctor')
  expect([before.status, before.stdout]).toEqual([1, expect.stringContaining('authkeep doctor --fix')])
  expect(await readFile(join(home, 'auth.json'), 'utf8')).toBe('')
  const after = authkeep('doctor', '--fix', '--json')
  expect(after.status).toBe(0)
  expect(JSON.parse(after.stdout)).toMatchObject({ ok: true, report: { state: 'valid', entries: 1 } })
})

test('where nothing is left it says so, keeps the file, and names who has logins of their own', async () => {
  for (const name of await readdir(home)) if (name !== 'auth.json') await rm(join(home, name))
  await writeFile(join(home, 'auth.json'), '')
  await (await import('node:fs/promises')).mkdir(join(home, 'codex'))
  await writeFile(join(home, 'codex', 'auth.json'), '{}')
  const { status, stdout, stderr } = authkeep('doctor', '--fix')
  expect(status).toBe(1)
  expect(stdout).toContain('Nothing can be recovered')
  expect(stdout).toContain('Codex has logins')
  expect(stdout + stderr).not.toContain('    at ')
  expect(await readFile(join(home, 'auth.json'), 'utf8')).toBe('')
})

test('older states are listed, and one can be gone back to', async () => {
  const listed = authkeep('restore', '--list', '--json')
  const { backups } = JSON.parse(listed.stdout) as { backups: { id: string; entries: number }[] }
  expect(backups).toMatchObject([{ entries: 1 }])
  expect(authkeep('restore', backups[0]?.id ?? '').status).toBe(0)
  const store = await openStore({ path: join(home, 'auth.json') })
  const credential = await store.read({ provider: 'openai', account: 'default' })
  expect(credential?.type === 'api_key' && credential.key.reveal()).toBe('sk-first')
  expect(authkeep('restore', 'nonsense').status).toBe(1)
  expect(authkeep('restore').status).toBe(1)
})

describe('the surroundings', () => {
  let desk: Desk
  beforeAll(async () => {
    desk = await openDesk()
  })
  afterAll(() => desk.clear())
  const findings = async (
    ...args: readonly string[]
  ): Promise<readonly { name: string; ok: boolean; finding: string }[]> =>
    (json(await desk.authkeep('doctor', '--json', ...args)) as { checks: [] }).checks

  test('servers that answer, and a clock that agrees with them', async () => {
    const found = await findings()
    expect(found).toContainEqual({ name: 'providers', ok: true, finding: '1 can be used' })
    expect(found.find(({ name }) => name === 'network')?.finding).toMatch(/^demo: 127\.0\.0\.1:\d+ answers in \d+ ms$/)
    expect(found).toContainEqual({ name: 'clock', ok: true, finding: 'agrees with the servers' })
    expect((await findings('--offline')).map(({ name }) => name)).not.toContain('network')
  })

  test('a clock that is wrong, and by how much', async () => {
    const server = createServer((_, response) => {
      response.setHeader('date', new Date(Date.now() + 3_600_000).toUTCString()).end()
    }).listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const metadata = { issuer, token_endpoint: `${issuer}/token` }
    await desk.addProvider('demo', { issuer, metadata })
    expect((await findings()).find(({ name }) => name === 'clock')).toMatchObject({
      ok: false,
      finding: expect.stringContaining('60 min behind the servers') as string,
    })
    await new Promise((resolve) => server.close(resolve))
    const run = await desk.authkeep('doctor')
    expect(run.code).toBe(1)
    expect(run.stdout).toMatch(/!! {2}network +demo: 127\.0\.0\.1:\d+ cannot be reached: ECONNREFUSED/)
  })

  test('a provider file that cannot be used, and a proxy, without its password', async () => {
    await writeFile(join(desk.home, 'providers', 'broken.json'), '{')
    const env = { HTTPS_PROXY: 'http://me:secret@proxy.example:3128' }
    const run = await ended(start(desk.home, ['doctor', '--offline'], { env }))
    expect(run.code).toBe(1)
    expect(run.stdout).toMatch(/!! {2}providers .*broken\.json/)
    expect(run.stdout).toContain('HTTPS_PROXY sends requests through proxy.example:3128')
    expect(run.stdout).not.toContain('secret')
  })
})
