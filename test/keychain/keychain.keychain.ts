import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Worker } from '../e2e/process.ts'
import { type Session, startSession } from './session.ts'

let session: Session
let home: string
let path: string
beforeEach(async () => {
  session = await startSession()
  home = await mkdtemp(join(tmpdir(), 'authkeep-keychain-home-'))
  path = join(home, 'auth.json')
})
afterEach(async () => {
  session.signal('SIGCONT')
  await session.end()
  await rm(home, { recursive: true })
})

const worker = (does: string, options: object = {}): Worker =>
  new Worker('../store/sealer.mjs', { path, does, ...options }, session.env)

async function said(does: string, options: object = {}, env = session.env): Promise<Record<string, unknown>> {
  const child = new Worker('../store/sealer.mjs', { path, does, ...options }, env)
  const line = await child.next()
  await child.end()
  return line
}

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
function authkeep(args: readonly string[], input = ''): { code: number | null; out: string; err: string } {
  const env = { ...session.env, AUTHKEEP_HOME: home }
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { env, input, encoding: 'utf8' })
  return { code: status, out: stdout, err: stderr }
}

/** What the keychain itself says it holds for us, by a program that is not ours. */
function items(): readonly string[] {
  const query = ['--session', '--dest', 'org.freedesktop.secrets', '--object-path', '/org/freedesktop/secrets']
  const method = ['--method', 'org.freedesktop.Secret.Service.SearchItems', "{'service': 'authkeep'}"]
  const { stdout } = spawnSync('gdbus', ['call', ...query, ...method], { env: session.env, encoding: 'utf8' })
  return [...stdout.matchAll(/'(\/org[^']+)'/g)].map(([, item = '']) => item)
}

describe('keys in the keychain', () => {
  it('seal, open and rotate a store, also from the command line', async () => {
    expect(authkeep(['login', 'openrouter', '--api-key-stdin'], 'sk-very-secret').code).toBe(0)
    expect(authkeep(['encrypt', '--key', 'keychain'])).toMatchObject({ code: 0 })
    expect(await readFile(path, 'utf8')).not.toContain('sk-very-secret')
    expect(items()).toHaveLength(1)
    expect(await said('read')).toEqual({ read: ['sk-very-secret'] })
    expect(authkeep(['rotate-key']).code).toBe(0)
    expect(items()).toHaveLength(2)
    expect(authkeep(['token', 'https://openrouter.ai/api/v1/models'])).toMatchObject({ out: 'sk-very-secret\n' })
    expect(authkeep(['rotate-key', '--forget', '--json']).out).toMatch(/\{"forgotten":\["[\w-]{22}"\]\}/)
    expect(authkeep(['doctor', '--offline'])).toMatchObject({ out: expect.stringContaining('of keychain') as string })
    expect(authkeep(['decrypt']).code).toBe(0)
    expect(await readFile(path, 'utf8')).toContain('sk-very-secret')
  })

  it('are one, however many processes begin at once', async () => {
    const names = Array.from({ length: 8 }, (_, n) => `n${n}`)
    await Promise.all(names.map((name) => said('fill', { names: [name] })))
    expect(items()).toHaveLength(1)
    expect(await said('read')).toEqual({ read: expect.arrayContaining(names.map((name) => `sk-${name}`)) as unknown })
  })

  it('that are being rotated by a process that is killed leave each of 40 entries readable', async () => {
    await said('fill', { names: Array.from({ length: 40 }, (_, n) => `n${n}`) })
    for (let round = 0; round < 10; round++) {
      const child = worker('rotate')
      await child.next()
      await delay(Math.random() * 250)
      await child.kill()
      const { read } = (await said('read')) as { read: readonly string[] }
      expect(read).toHaveLength(40)
    }
  }, 120_000)
})

describe('a keychain', () => {
  it('that is frozen is a typed error within the time-out, and changes nothing', async () => {
    await said('fill', { names: ['a'] })
    const before = await readFile(path, 'utf8')
    session.signal('SIGSTOP')
    const error = await said('read', { timeoutMs: 10_000 })
    expect(error).toMatchObject({ code: 'keychain_unavailable', remedy: 'fix', detail: { why: 'no_answer' } })
    expect(error['afterMs']).toBeLessThan(10_000)
    expect(authkeep(['token', 'https://openrouter.ai/api/v1/models'])).toMatchObject({ code: 1 })
    session.signal('SIGCONT')
    expect(await readFile(path, 'utf8')).toBe(before)
    expect(await said('read')).toEqual({ read: ['sk-a'] })
  }, 60_000)

  it('that freezes in the middle of a question is one, too', async () => {
    const child = worker('ask', { timeoutMs: 500 })
    await child.next()
    session.signal('SIGSTOP')
    expect(await child.next()).toMatchObject({ code: 'keychain_unavailable', detail: { why: 'no_answer' } })
    await child.end()
  })

  it('that is locked, and cannot ask anybody, is one, too', async () => {
    await said('fill', { names: ['a'] })
    session.lock()
    expect(await said('read')).toMatchObject({ code: 'keychain_unavailable', detail: { why: 'refused' } })
    expect(authkeep(['encrypt', '--key', 'keychain'])).toMatchObject({
      ...{ code: 1, err: expect.stringContaining('it is locked, or refuses') as string },
    })
  })

  it('that is not there at all is one, too: nothing is kept anywhere else', async () => {
    await session.end()
    const { DBUS_SESSION_BUS_ADDRESS: _, ...env } = session.env
    const error = await said('fill', { names: ['a'] }, env)
    expect(error).toMatchObject({ code: 'keychain_unavailable', detail: { why: 'no_answer' } })
    expect(existsSync(path)).toBe(false)
    session = await startSession()
  })

  it('without its key is key_missing, not a new key', async () => {
    await said('fill', { names: ['a'] })
    await session.end()
    session = await startSession()
    expect(await said('read')).toMatchObject({ code: 'key_missing' })
    expect(items()).toEqual([])
  })
})
