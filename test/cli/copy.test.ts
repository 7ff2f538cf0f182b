import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type PostgresServer, startPostgres } from '../store/postgres-server.ts'
import { ended, json, type Run, start } from './built.ts'
import { type Desk, openDesk } from './desk.ts'

let database: PostgresServer
let desk: Desk
let target: string
let place: string
let env: Readonly<Record<string, string>>
beforeAll(async () => {
  database = await startPostgres()
})
afterAll(() => database.stop())
let round = 0
beforeEach(async () => {
  desk = await openDesk()
  target = `${desk.api.origin}/files`
  await desk.login()
  place = `${database.url}?namespace=round${++round}`
  env = { DATABASE_URL: place }
})
afterEach(() => desk.clear())

const run = (args: readonly string[], more: Readonly<Record<string, string>> = {}): Promise<Run> =>
  ended(start(desk.home, args, { env: { ...env, ...more } }))
const there = { AUTHKEEP_STORE: 'env:DATABASE_URL' }
const away = ['copy', '--from', 'file', '--to', 'env:DATABASE_URL', '--json']
const back = ['copy', '--from', 'env:DATABASE_URL', '--to', 'file', '--json']

describe('copy', () => {
  it('to a database and back: every command works on it, and no password is shown', async () => {
    const moved = await run(away)
    expect(json(moved)).toMatchObject({ entries: 1, before: 0, from: join(desk.home, 'auth.json') })
    expect(moved.stdout + moved.stderr).not.toContain(':postgres@')
    const mail = `${desk.api.origin}/mail`
    const all = await Promise.all(Array.from({ length: 4 }, () => run(['token', mail], there)))
    expect(all.map(({ code, stderr }) => [code, stderr])).toEqual(Array.from({ length: 4 }, () => [0, '']))
    expect(desk.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
    expect(json(await run(['status', '--json'], there))).toMatchObject({
      ...{ chosenBy: 'AUTHKEEP_STORE', credentials: [{ provider: 'demo', generation: 2 }] },
      store: expect.stringMatching(/^postgres:\/\/127\.0\.0\.1:\d+\/postgres\?namespace=round/) as string,
    })
    expect(await run(['doctor', '--offline'], there)).toMatchObject({ code: 0 })

    const here = await run(['token', mail])
    expect(here).toMatchObject({
      code: 4,
      stderr: expect.stringContaining('was moved to postgres://127.0.0.1') as string,
    })
    expect(await run(['token', target])).toMatchObject({ code: 0 })
    expect(json(await run(['status', '--json']))).toMatchObject({
      credentials: [{ source: expect.stringMatching(/^moved to postgres:/) as string }],
    })

    expect(json(await run(back))).toMatchObject({ entries: 1 })
    expect(await run(['token', mail])).toMatchObject({ code: 0 })
    expect(await run(['token', mail], there)).toMatchObject({ code: 0 })
    expect(desk.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
    expect(await readFile(join(desk.home, 'auth.json'), 'utf8')).not.toContain('moved')
  })

  it('that is killed at any time can be begun again, and no refresh token is spent twice', {
    timeout: 120_000,
  }, async () => {
    const tally = { away: 0, back: 0, killed: 0 }
    for (let n = 0; n < 12; n++) {
      for (const [name, args] of Object.entries({ away, back })) {
        const child = start(desk.home, args, { env })
        const done = new Promise((resolve) => child.once('close', resolve))
        await Promise.race([delay(70 + Math.random() * 70), done])
        if (child.kill('SIGKILL')) tally.killed++
        await done
        const finished = await run(args)
        expect(finished).toMatchObject({ code: 0, stderr: '' })
        tally[name as 'away' | 'back']++
      }
    }
    console.log(JSON.stringify(tally))
    expect(tally.killed).toBeGreaterThan(5)
    const mail = `${desk.api.origin}/mail`
    expect(await run(['token', mail])).toMatchObject({ code: 0 })
    expect(desk.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
  })

  it.each([
    ['one place only', ['copy', '--from', 'file'], 'Name two places'],
    ['the same place', ['copy', '--from', 'file', '--to', 'file'], 'Both places are the same store'],
    ['no place', ['copy', '--from', 'file', '--to', 'mysql://me:secret@host/db'], 'That is no place of a store'],
    ['a variable that is not set', ['copy', '--from', 'file', '--to', 'env:NOTHING'], 'env:NOTHING names no place'],
  ])('of %s is refused', async (_, args, said) => {
    const { code, stderr } = await run(args)
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining(said) as string })
    expect(stderr).not.toContain('secret')
  })

  it('where the database is not there says so, and changes nothing', async () => {
    const before = await readFile(join(desk.home, 'auth.json'), 'utf8')
    const { code, stdout } = await run(away, { DATABASE_URL: 'postgres://me:secret@127.0.0.1:1/db' })
    expect(code).toBe(1)
    expect(stdout).toContain('ECONNREFUSED')
    expect(stdout).not.toContain('secret')
    expect(await readFile(join(desk.home, 'auth.json'), 'utf8')).toBe(before)
  })
})
