import { chmod, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { delimiter, dirname, join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { ended, json, type Run, start } from './built.ts'
import { type Desk, openDesk } from './desk.ts'

// A file as each program writes it, with secrets that are obviously none, through the command line and back.

/** What a place of a program is made of. */
interface Case {
  readonly program: string
  readonly fixture: string
  /** Below the home directory. */
  readonly path: string
  readonly access: string
  /** In the spelling of the file. */
  readonly expiry: readonly [late: string, past: string] | null
  readonly canTakeOver: boolean
}

const milliseconds = ['4102444800000', '1000000000000'] as const
const access = (program: string): string => `fake-access-token-of-${program}`
const file = (program: string, path: string, canTakeOver = true): Case => ({
  ...{ program, fixture: `${program}.json`, path, access: access(program), expiry: milliseconds, canTakeOver },
})

const read = (name: string): Promise<string> =>
  readFile(new URL(`../formats/fixtures/${name}`, import.meta.url), 'utf8')
const codex = JSON.parse(await read('codex.json')) as { tokens: { access_token: string } }
const jwt = codex.tokens.access_token
const payload = (exp: number): string => {
  const claims = JSON.parse(Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString()) as object
  return Buffer.from(JSON.stringify({ ...claims, exp })).toString('base64url')
}

const cases: readonly Case[] = [
  { ...file('codex', '.codex/auth.json'), access: jwt, expiry: [payload(4_102_444_800), payload(1_000_000_000)] },
  file('claude-code', '.claude/.credentials.json'),
  file('opencode', '.local/share/opencode/auth.json'),
  file('gemini-cli', '.gemini/oauth_creds.json'),
  file('qwen-code', '.qwen/oauth_creds.json'),
  file('pi', '.pi/agent/auth.json'),
  file('openclaw', '.openclaw/agents/main/agent/auth-profiles.json'),
  {
    ...file('openclaw', '.openclaw/state/openclaw.sqlite'),
    ...{ fixture: 'openclaw.sql', access: access('openclaw-today') },
  },
  {
    ...file('openclaw', '.openclaw/agents/main/agent/openclaw-agent.sqlite'),
    ...{ fixture: 'openclaw-agent.sql', access: access('openclaw-agent') },
  },
  { ...file('gh', '.config/gh/hosts.yml', false), fixture: 'gh.yml', expiry: null },
  {
    ...file('aws-sso', '.aws/sso/cache/0123456789abcdef0123456789abcdef01234567.json', false),
    expiry: ['2100-01-01T00:00:00Z', '2001-09-09T01:46:40Z'],
  },
]

/** The part of `node:sqlite` that is used; not there on older Node. */
interface Sqlite {
  readonly DatabaseSync: new (path: string) => { exec(sql: string): void; close(): void }
}
const sqlite = process.getBuiltinModule('node:sqlite') as Sqlite | undefined

let desk: Desk
beforeAll(async () => {
  desk = await openDesk()
  await desk.login()
  // Takes whatever a file says its token may do.
  await desk.addProvider('theirs', { endpoints: [{ url: `${desk.api.origin}/files` }] })
})
afterAll(() => desk.clear())
let places: string[] = []
afterEach(async () => {
  for (const place of places) await rm(join(desk.home, place), { recursive: true, force: true })
  places = []
})

const run = (args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Run> =>
  ended(start(desk.home, args, { env }))
const token = (account: string): Promise<Run> => run(['token', `${desk.api.origin}/files`, '--account', account])

/** Puts a place there as its program does, and looks whether it, and what is beside it, stays as it is. */
async function put(path: string, text: string): Promise<() => Promise<void>> {
  const place = join(desk.home, path)
  places.push(path.split('/')[0] ?? '')
  await mkdir(dirname(place), { recursive: true })
  if (sqlite !== undefined && path.endsWith('.sqlite')) {
    const database = new sqlite.DatabaseSync(place)
    database.exec(`PRAGMA journal_mode = WAL;\n${text}`)
    database.close()
  } else await writeFile(place, text, { mode: 0o600 })
  const look = async (): Promise<unknown> => {
    const { ino, mtimeNs, ctimeNs } = await stat(place, { bigint: true })
    return { ino, mtimeNs, ctimeNs, content: await readFile(place, 'hex'), beside: await readdir(dirname(place)) }
  }
  const before = await look()
  return async () => expect(await look()).toEqual(before)
}

describe.each(cases)('$program: $fixture', ({ program, fixture, path, access, expiry, canTakeOver }) => {
  const account = `of ${fixture}`
  const borrow = ['import', program, '--provider', 'theirs', '--account', account]
  const needsSqlite = path.endsWith('.sqlite')

  it.runIf(!needsSqlite || sqlite !== undefined)('is borrowed as it is, and left as it is', async () => {
    const untouched = await put(path, await read(fixture))
    const borrowed = await run(borrow)
    expect(borrowed.code).toBe(0)
    expect(borrowed.stdout).not.toContain('Not imported')
    expect(await token(account)).toMatchObject({ code: 0, stdout: `${access}\n` })
    expect(await readFile(join(desk.home, 'auth.json'), 'utf8')).not.toContain('fake-refresh-token')
    await untouched()
  })

  it.runIf(needsSqlite && sqlite === undefined)('names the Node that it takes', async () => {
    await put(path, 'not empty')
    const refused = await run(borrow)
    expect(refused).toMatchObject({ code: 1, stdout: '' })
    expect(refused.stderr).toContain(
      `it is a database, which takes Node 22.15 or newer; this is Node ${process.versions.node}`,
    )
  })

  it.runIf(expiry !== null && (!needsSqlite || sqlite !== undefined))(
    'is not borrowed when it has expired',
    async () => {
      await put(path, (await read(fixture)).replace(...(expiry ?? ['', ''])))
      const refused = await run([...borrow.slice(0, -1), 'another'])
      expect(refused.code).toBe(1)
      expect(refused.stdout).toMatch(/its access token has expired; let .* renew it, or take it over with --take-over/)
    },
  )

  it.runIf(canTakeOver && (!needsSqlite || sqlite !== undefined))('is taken over, and refreshed then', async () => {
    const [refresh = ''] = await desk.refreshTokens()
    const text = (await read(fixture)).replace('fake-refresh-token', refresh).replace(...(expiry ?? ['', '']))
    const untouched = await put(path, text)
    expect(await run(['logout', ...(await mine()), '--local'])).toMatchObject({ code: 0 })
    const taken = await run([...borrow.slice(0, -1), `taken ${fixture}`, '--take-over'])
    expect(taken.code).toBe(0)
    expect(taken.stdout).toContain('will be logged out at its next refresh.')
    const fresh = await token(`taken ${fixture}`)
    expect(fresh.code).toBe(0)
    expect(fresh.stdout).not.toBe(`${access}\n`)
    expect(await desk.refreshTokens()).not.toContain(refresh)
    await untouched()
  })

  it('is a problem when it is empty, half written or something else', async () => {
    for (const text of ['', (await read(fixture)).slice(0, -20), '["fake-secret"]']) {
      if (needsSqlite) await rm(join(desk.home, path), { force: true })
      const place = join(desk.home, path)
      await mkdir(dirname(place), { recursive: true })
      await writeFile(place, text)
      places.push(path.split('/')[0] ?? '')
      const refused = await run(borrow)
      expect(refused).toMatchObject({ code: 1, stdout: '' })
      expect(refused.stderr).toContain(`${place} cannot be read: it `)
      expect(refused.stderr).not.toContain('fake-')
    }
  })
})

/** The login that has the one refresh token. */
async function mine(): Promise<readonly string[]> {
  const { credentials } = json(await run(['status', '--json'])) as {
    credentials: readonly { provider: string; account: string; source: string }[]
  }
  const { provider = '', account = '' } = credentials.find(({ source }) => !source.startsWith('borrowed')) ?? {}
  return [provider, '--account', account]
}

it('of an OpenClaw that has its database open, what has not reached the file yet is read too', async (context) => {
  if (sqlite === undefined) return context.skip()
  const path = '.openclaw/state/openclaw.sqlite'
  const place = join(desk.home, path)
  places.push('.openclaw')
  await mkdir(dirname(place), { recursive: true })
  const open = new sqlite.DatabaseSync(place)
  try {
    open.exec('PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;')
    open.exec(await read('openclaw.sql'))
    expect(await run(['import', 'openclaw', '--provider', 'theirs', '--account', 'open'])).toMatchObject({ code: 0 })
    expect(await token('open')).toMatchObject({ stdout: `${access('openclaw-today')}\n` })
  } finally {
    open.close()
  }
})

it('gh: a token that is in a keyring is asked for, without those of the environment', async () => {
  await put('.config/gh/hosts.yml', 'github.com:\n    user: nobody\nother.example:\n    user: nobody\n')
  const bin = join(desk.home, 'bin')
  places.push('bin')
  await mkdir(bin)
  // What the real one does, as far as it is asked here.
  const script =
    '#!/bin/sh\n[ "$*" = "auth token --hostname github.com" ] || { echo "no oauth token" >&2; exit 1; }\n' +
    '[ -f "$GH_CONFIG_DIR/hosts.yml" ] || exit 1\necho "${GH_TOKEN:-fake-access-token-of-a-keyring}"\n'
  await writeFile(join(bin, 'gh'), script)
  await chmod(join(bin, 'gh'), 0o755)
  const env = { PATH: `${bin}${delimiter}${process.env['PATH'] ?? ''}`, GH_TOKEN: 'fake-of-the-environment' }
  const borrowed = await run(['import', 'gh', '--provider', 'theirs', '--account', 'keyring'], env)
  expect(borrowed).toMatchObject({ code: 0, stderr: '' })
  const served = await run(['token', `${desk.api.origin}/files`, '--account', 'keyring'], env)
  expect(served.stdout).toBe('fake-access-token-of-a-keyring\n')
})

it('aws-sso: a refresh token of another client is not taken over', async () => {
  const path = cases.find(({ program }) => program === 'aws-sso')?.path ?? ''
  await put(path, await read('aws-sso.json'))
  const refused = await run(['import', 'aws-sso', '--provider', 'theirs', '--account', 'aws', '--take-over'])
  expect(refused.code).toBe(1)
  expect(refused.stdout).toContain('it was issued to another client than theirs has')
})

it('openclaw: the same login of two agents is one; where they differ, a file has to be named', async () => {
  const text = await read('openclaw.json')
  const path = (agent: string): string => `.openclaw/agents/${agent}/agent/auth-profiles.json`
  await put(path('main'), text)
  await put(path('other'), text)
  const args = ['import', 'openclaw', '--provider', 'theirs', '--account', 'agents', '--json']
  const one = json(await run(args)) as { imported: readonly object[] }
  expect(one.imported).toMatchObject([{ stored: true, path: join(desk.home, path('main')) }])
  await put(path('other'), text.replace(access('openclaw'), 'fake-access-token-of-another'))
  const several = await run(args)
  expect(several.code).toBe(1)
  expect(several.stdout).toContain('name one with --entry, or its file with --file.')
})

it('gh: without a client of your own for GitHub, what is missing is said', async () => {
  await put('.config/gh/hosts.yml', await read('gh.yml'))
  const refused = await run(['import', 'gh'])
  expect(refused.code).toBe(1)
  expect(refused.stdout).toContain('github wants a client of your own, in AUTHKEEP_CLIENT_ID_GITHUB')
  expect(await run(['import', 'gh'], { AUTHKEEP_CLIENT_ID_GITHUB: 'fake' })).toMatchObject({ code: 0 })
})
