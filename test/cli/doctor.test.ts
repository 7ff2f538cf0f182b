import { spawnSync } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type OAuthCredential, Secret } from '../../src/credential.ts'
import { openStore } from '../../src/store/store.ts'

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
