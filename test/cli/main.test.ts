import { chmod, chown, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ended, json, type Run, start } from './built.ts'

let home: string
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'authkeep-cli-'))
})
afterEach(() => rm(home, { recursive: true, force: true }))

const authkeep = (...args: readonly string[]): Promise<Run> => ended(start(home, args))

const acme = {
  id: 'acme',
  issuer: 'https://as.example',
  client: { id: 'cli', secret: 's3cr3t-of-the-client' },
  scopes: ['files:read'],
  endpoints: [
    { url: 'https://api.example/files', scopes: ['files:read'] },
    { url: 'https://api.example/upload', scopes: ['files:write'] },
    { url: 'https://llm.example/*', accepts: ['api_key'] },
  ],
}
async function file(name: string, content: unknown): Promise<string> {
  const path = join(home, name)
  await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content))
  return path
}
const later = Date.now() + 3_600_000
function entry(account: string, changes: object = {}): object {
  return {
    ...{ type: 'oauth', provider: 'acme', account, issuer: 'https://as.example', clientId: 'cli', subject: 'u1' },
    grant: { scopes: ['files:read'], evidence: 'response', resources: [], refreshToken: `rt-secret-${account}` },
    tokens: [
      {
        ...{ accessToken: `at-secret-${account}`, tokenType: 'Bearer', scopes: ['files:read'], resource: null },
        ...{ expiresAt: later, evidence: 'response' },
      },
    ],
    ...changes,
  }
}
async function store(...entries: readonly object[]): Promise<string> {
  const credentials = Object.fromEntries(
    (entries as readonly { provider: string; account: string }[]).map((each) => [
      `${each.provider}:${each.account}`,
      each,
    ]),
  )
  return file('auth.json', { version: 1, credentials })
}
const addAcme = async (): Promise<Run> => authkeep('providers', 'add', await file('acme-to-add.json', acme))

describe('authkeep', () => {
  it('without a command shows help, on stdout', async () => {
    for (const args of [[], ['--help']]) {
      const run = await authkeep(...args)
      expect(run).toMatchObject({ code: 0, stderr: '' })
      expect(run.stdout).toContain('Usage: authkeep <command>')
    }
  })

  it('shows the help of a command and its version', async () => {
    expect((await authkeep('login', '--help')).stdout).toContain('Usage: authkeep login <provider>… [options]')
    const { version } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8')) as {
      version: string
    }
    expect(await authkeep('--version')).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' })
    expect(json(await authkeep('--version', '--json'))).toEqual({ version })
  })

  it.each([
    ['frobnicate', 'There is no command "frobnicate".', 'See authkeep --help'],
    ['token', 'authkeep token needs <url>.', 'See authkeep --help'],
    ['token acme', '"acme" is not a URL such as https://api.example/files.', 'See authkeep token --help'],
    ['token ftp://api.example/', '"ftp://api.example/" is not a URL such as', 'See authkeep token --help'],
    ['token https://a.example --min-ttl soon', '--min-ttl takes a number of seconds, not "soon".', 'token --help'],
    ['login acme --timeout -1', '--timeout needs a value.', 'See authkeep --help'],
    ['login acme --resource files', '--resource takes a URL, not "files".', 'See authkeep login --help'],
  ])('%s: a wrong command line is 1, a sentence and a line', async (line, sentence, next) => {
    const run = await authkeep(...line.split(' '))
    expect(run).toMatchObject({ code: 1, stdout: '' })
    const [first, second, ...rest] = run.stderr.trimEnd().split('\n')
    expect(first).toContain(sentence)
    expect(second).toContain(next)
    expect(rest).toEqual([])
  })

  it('tells a program of errors on stdout', async () => {
    const run = await authkeep('tokn', '--json')
    expect(run).toMatchObject({ code: 1, stderr: '' })
    expect(json(run)).toEqual({
      error: {
        code: 'usage',
        remedy: 'fix',
        message: 'There is no command "tokn". Did you mean token?',
        detail: {},
        next: 'See authkeep --help',
      },
    })
  })

  it('keeps its home where it is told: --home, then AUTHKEEP_HOME, then XDG_CONFIG_HOME, then ~/.config', async () => {
    const at = async (env: Record<string, string>, ...args: string[]): Promise<unknown> =>
      (
        json(await ended(start(home, ['status', '--json', ...args], { env: { AUTHKEEP_HOME: '', ...env } }))) as {
          store: string
        }
      ).store
    expect(await at({})).toBe(join(home, '.config/authkeep/auth.json'))
    expect(await at({ XDG_CONFIG_HOME: '/xdg' })).toBe('/xdg/authkeep/auth.json')
    expect(await at({ XDG_CONFIG_HOME: '/xdg', AUTHKEEP_HOME: '/own' })).toBe('/own/auth.json')
    expect(await at({ XDG_CONFIG_HOME: '/xdg', AUTHKEEP_HOME: '/own' }, '--home', '/named')).toBe('/named/auth.json')
  })

  it('ends quietly when nobody reads what it prints', async () => {
    await store(...Array.from({ length: 2_000 }, (_, index) => entry(`account-${index}`)))
    const child = start(home, ['status'])
    child.stdout.destroy()
    const run = await ended(child)
    expect(run).toMatchObject({ code: 0, stderr: '' })
  })
})

describe('authkeep providers', () => {
  it('adds a file privately and says where tokens will go', async () => {
    expect(await addAcme()).toEqual({
      code: 0,
      stdout: 'Added acme; its tokens go to api.example, llm.example.\n',
      stderr: '',
    })
    const { mode } = await stat(join(home, 'providers/acme.json'))
    expect(mode & 0o777).toBe(0o600)
    expect((await addAcme()).stdout).toBe('acme is there already, just like this.\n')
  })

  it('does not replace another provider of the same id by itself', async () => {
    await addAcme()
    const other = await file('other.json', { ...acme, endpoints: [{ url: 'https://evil.test/*' }] })
    const refused = await authkeep('providers', 'add', other)
    expect(refused.code).toBe(1)
    expect(refused.stderr).toContain('this one would get its tokens')
    expect(refused.stderr).toContain(`authkeep providers add ${other} --replace`)
    expect((await authkeep('providers', 'add', other, '--replace')).stdout).toContain('evil.test')
  })

  it('says what is wrong with a file, and not what is in it', async () => {
    const bad = await file('bad.json', {
      ...acme,
      client: { ...acme.client, sekret: 'x' },
      issuer: 'http://as.example',
    })
    const run = await authkeep('providers', 'add', bad)
    expect(run).toMatchObject({ code: 1, stdout: '' })
    expect(run.stderr).toContain('issuer: must be an https URL')
    expect(run.stderr).toContain('client.sekret: is not a member, did you mean secret?')
    expect(run.stderr).not.toContain('s3cr3t')
    const missing = await authkeep('providers', 'add', join(home, 'none.json'), '--json')
    expect(json(missing)).toMatchObject({
      error: { code: 'provider_invalid', detail: { problems: ['file: does not exist'] } },
    })
  })

  it('lists the good ones and tells of the bad ones', async () => {
    await addAcme()
    await file('providers/broken.json', '{"id": "broken", "client": {"secret": "s3cr3t-half')
    const run = await authkeep('providers', 'list')
    expect(run.code).toBe(0)
    expect(run.stdout).toContain('acme')
    expect(run.stderr).toContain('broken.json is not a valid provider: file: is not JSON')
    const asJson = await authkeep('providers', 'list', '--json')
    expect(json(asJson)).toMatchObject({ problems: [{ code: 'provider_invalid' }] })
    expect((json(asJson) as { providers: object[] }).providers[0]).toMatchObject({ id: 'acme', source: 'file' })
    for (const { stdout, stderr } of [run, asJson]) expect(stdout + stderr).not.toContain('s3cr3t')
  })
})

describe('authkeep token', () => {
  it('prints a stored token and nothing else', async () => {
    await addAcme()
    await store(entry('default'))
    expect(await authkeep('token', 'https://api.example/files')).toEqual({
      code: 0,
      stdout: 'at-secret-default\n',
      stderr: '',
    })
    expect(json(await authkeep('token', 'https://api.example/files', '--json'))).toEqual({
      token: 'at-secret-default',
      type: 'Bearer',
      account: 'default',
      scopes: ['files:read'],
      resource: null,
      expiresAt: later,
    })
  })

  it('is 4 and names the login when there is none', async () => {
    await addAcme()
    const run = await authkeep('token', 'https://api.example/files', '--home', home)
    expect(run).toMatchObject({ code: 4, stdout: '' })
    expect(run.stderr).toBe(
      `A login to acme is needed: nobody has logged in.\nLog in: authkeep login acme --home ${home}\n`,
    )
  })

  it('is 4 and names the scopes of a login that would do, where the usual ones would not', async () => {
    await addAcme()
    const next = 'authkeep login acme --scope files:read --scope files:write'
    expect((await authkeep('token', 'https://api.example/upload')).stderr).toContain(next)
    expect((await authkeep('explain', 'https://api.example/upload')).stdout).toContain(next)
  })

  it('is 4 and names the scope when the login lacks it', async () => {
    await addAcme()
    await store(entry('work'))
    const run = await authkeep('token', 'https://api.example/upload', '--account', 'work')
    expect(run).toMatchObject({ code: 4, stdout: '' })
    expect(run.stderr).toContain('authkeep login acme --account work --scope files:write')
  })

  it('is 1 and asks which account is meant', async () => {
    await addAcme()
    await store(entry('home'), entry('work'))
    const run = await authkeep('token', 'https://api.example/files')
    expect(run).toMatchObject({ code: 1, stdout: '' })
    expect(run.stderr).toContain('authkeep token https://api.example/files --account home')
    expect((await authkeep('token', 'https://api.example/files', '--account', 'work')).stdout).toBe('at-secret-work\n')
  })

  it('is 4 for an account whose kind of credential the endpoint does not take', async () => {
    await addAcme()
    await store({ type: 'api_key', provider: 'acme', account: 'key', key: 'sk-secret' }, entry('work'))
    const run = await authkeep('token', 'https://api.example/files', '--account', 'key')
    expect(run).toMatchObject({ code: 4, stdout: '' })
  })

  it('is 1 for a URL that nobody declares, and tells of files that might have', async () => {
    await addAcme()
    await file('providers/broken.json', 'no')
    const run = await authkeep('token', 'https://api.example/filez')
    expect(run).toMatchObject({ code: 1, stdout: '' })
    expect(run.stderr).toContain('Did you mean https://api.example/files?')
    expect(run.stderr).toContain('Not used: ')
  })

  it('is 1 when the store is damaged, and does not touch it', async () => {
    await addAcme()
    const path = await file('auth.json', '{"version": 1, "credentials": {"acme:default": {"tok')
    const run = await authkeep('token', 'https://api.example/files')
    expect(run.code).toBe(1)
    expect(run.stderr).not.toMatch(/ {4}at /)
    expect(await readFile(path, 'utf8')).toContain('"tok')
  })

  it('is 75 when the server does not answer, and the token has run out', async () => {
    const closed = await closedPort()
    const issuer = `http://127.0.0.1:${closed}`
    const metadata = { issuer, token_endpoint: `${issuer}/token` }
    await authkeep('providers', 'add', await file('a.json', { ...acme, issuer, metadata, client: { id: 'cli' } }))
    const { tokens, ...rest } = entry('default', { issuer }) as { tokens: object[] }
    await store({ ...rest, tokens: [{ ...tokens[0], expiresAt: Date.now() - 1_000 }] })
    const run = await authkeep('token', 'https://api.example/files')
    expect(run).toMatchObject({ code: 75, stdout: '' })
    expect(run.stderr).toContain('Try again: authkeep token https://api.example/files')
    expect(run.stderr).not.toContain('secret')
  })
})

describe('authkeep login', () => {
  it('stores an API key from stdin, and never shows it', async () => {
    await addAcme()
    const run = await ended(start(home, ['login', 'acme', '--api-key-stdin']), 'sk-secret\n')
    expect(run).toEqual({ code: 0, stdout: 'Stored the API key of acme as "default".\n', stderr: '' })
    expect((await authkeep('token', 'https://llm.example/v1')).stdout).toBe('sk-secret\n')
    const named = await ended(start(home, ['login', 'acme', '--api-key-stdin', '--account', 'b', '--json']), 'sk-other')
    expect(json(named)).toMatchObject({ provider: 'acme', account: 'b', type: 'api_key' })
    expect(named.stdout).not.toContain('sk-other')
  })

  it.each([
    ['nothing', ''],
    ['blanks', ' \n'],
    ['two lines', 'sk-one\nsk-two\n'],
  ])('refuses %s on stdin', async (_, input) => {
    await addAcme()
    const run = await ended(start(home, ['login', 'acme', '--api-key-stdin']), input)
    expect(run.code).toBe(1)
    expect(run.stderr).not.toContain('sk-')
    expect((await authkeep('status')).stdout).toMatch(/^There are no logins/)
  })

  it('is 1 for a provider that is not there, and names the nearest', async () => {
    await addAcme()
    const run = await authkeep('login', 'acne')
    expect(run.code).toBe(1)
    expect(run.stderr).toContain('Did you mean acme?')
    expect(run.stderr).toContain('authkeep providers list')
  })

  it('does not put a login in the place of another kind', async () => {
    await addAcme()
    await store(entry('default'))
    const run = await ended(start(home, ['login', 'acme', '--api-key-stdin']), 'sk-secret')
    expect(run.code).toBe(1)
    expect(run.stderr).toContain('authkeep login acme --account default-2')
  })

  describe('in a browser', () => {
    let server: Server
    beforeEach(async () => {
      server = createServer((_, response) => response.end('{}')).listen(0, '127.0.0.1')
      await new Promise((resolve) => server.once('listening', resolve))
      const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
      const metadata = { issuer, authorization_endpoint: `${issuer}/authorize`, token_endpoint: `${issuer}/token` }
      await authkeep('providers', 'add', await file('a.json', { ...acme, issuer, metadata, client: { id: 'cli' } }))
    })
    afterEach(() => void server.close())

    it('shows the address before anything else, and is 2 when the person cancels', async () => {
      const child = start(home, ['login', 'acme', '--no-browser'])
      child.stderr.on('data', (chunk: Buffer) => {
        if (chunk.toString().includes('/authorize?')) child.kill('SIGINT')
      })
      const run = await ended(child)
      expect(run).toMatchObject({ code: 2, stdout: '' })
      expect(run.stderr).toMatch(/^To log in to acme, open this address:\nhttp:\/\/127\.0\.0\.1:\d+\/authorize\?/)
      expect(run.stderr).toContain('Cancelled.')
    })

    it('is 4 when nobody comes in time', async () => {
      const run = await authkeep('login', 'acme', '--flow', 'browser', '--timeout', '0.2')
      expect(run).toMatchObject({ code: 4, stdout: '' })
      expect(run.stderr).toContain('nobody finished the login in time')
    })
  })
})

describe('authkeep status', () => {
  it('shows every login in a table of 80 columns, and no secret', async () => {
    await store(
      entry('default'),
      entry('a.very.long.account.name.of.somebody@a-long-organisation.example'),
      entry('dead', { grant: { ...(entry('dead') as { grant: object }).grant, state: 'dead' } }),
      entry('doubt', { grant: { ...(entry('doubt') as { grant: object }).grant, state: 'in_doubt' } }),
      { type: 'token', provider: 'ci', account: 'expired', token: 'tok-secret', expiresAt: 1 },
      { type: 'api_key', provider: 'llm', account: 'default', key: 'sk-secret' },
      { type: 'oauth', provider: 'acme', account: 'broken', grant: 'rt-secret' },
    )
    const run = await authkeep('status')
    expect(run).toMatchObject({ code: 0, stderr: '' })
    const lines = run.stdout.trimEnd().split('\n')
    expect(lines[0]).toMatch(/^PROVIDER +ACCOUNT +KIND +SCOPES +EXPIRES +STATE$/)
    for (const line of lines.slice(0, 8)) expect(line.length).toBeLessThanOrEqual(80)
    const row = (account: string): string => lines.find((line) => line.includes(account)) ?? ''
    expect(row('default')).toMatch(/acme +default +oauth +files:read +in 60 min +live/)
    expect(row('dead')).toMatch(/login needed$/)
    expect(row('doubt')).toMatch(/in doubt$/)
    expect(row('expired')).toMatch(/token +expired +login needed$/)
    expect(row('llm')).toMatch(/API key +live$/)
    expect(row('broken')).toMatch(/unreadable +unreadable$/)
    expect(run.stdout).toContain('acme:broken cannot be read:')
    expect(run.stdout).not.toContain('secret')
    expect((await authkeep('status', '--json')).stdout).not.toContain('secret')
  })

  it('shows which accounts rest, why, and for how long', async () => {
    const path = await store(entry('default'), { type: 'api_key', provider: 'llm', account: 'new', key: 'sk-secret' })
    const document = JSON.parse(await readFile(path, 'utf8')) as object
    const rest = (reason: string, ms: number, more = {}): object => ({
      ...{ reason, since: Date.now() - 1_000, until: Date.now() + ms, ...more },
    })
    const state = {
      ':accounts:acme': { resting: { default: rest('usage_limited', 900_000) } },
      // Of another key than the one that is there now.
      ':accounts:llm': { resting: { new: rest('rate_limited', 60_000, { mark: 'another' }) } },
    }
    await writeFile(path, JSON.stringify({ ...document, state }))
    const { stdout } = await authkeep('status')
    expect(stdout).toContain('acme:default rests for 15 min: the limit of its plan is reached\n')
    expect(stdout.match(/ rests /g)).toHaveLength(1)
    expect(json(await authkeep('status', '--json'))).toMatchObject({
      credentials: [{ provider: 'acme', rest: { reason: 'usage_limited' } }, { provider: 'llm' }],
    })
  })

  it('cannot be made to steer the terminal by an account name', async () => {
    await store(entry('evil\u001B[2J\u001B]0;title\u0007'))
    expect((await authkeep('status')).stdout).not.toMatch(/[\u0000-\u0009\u000B-\u001F]/)
  })

  it.runIf(process.getuid?.() === 0)('works for a user who may only read', async () => {
    const path = await store(entry('default'))
    await mkdir(join(home, 'providers'))
    await writeFile(join(home, 'providers/acme.json'), JSON.stringify(acme))
    for (const each of [path, join(home, 'providers/acme.json')]) await chmod(each, 0o444)
    for (const each of [join(home, 'providers'), home]) await chmod(each, 0o555)
    await chown(home, 0, 0)
    const nobody = 65_534
    expect(await ended(start(home, ['status'], { uid: nobody }))).toMatchObject({ code: 0, stderr: '' })
    const token = await ended(start(home, ['token', 'https://api.example/files'], { uid: nobody }))
    expect(token).toEqual({ code: 0, stdout: 'at-secret-default\n', stderr: '' })
  })
})

describe('authkeep explain', () => {
  it('says what is needed, what there is, and what to do', async () => {
    await addAcme()
    await store(entry('default'))
    const run = await authkeep('explain', 'https://api.example/upload')
    expect(run).toMatchObject({ code: 0, stderr: '' })
    expect(run.stdout).toContain('needs    oauth or token of acme with files:write')
    expect(run.stdout).toContain('granted files:read')
    expect(run.stdout).toContain('verdict  authorize: ')
    expect(run.stdout.match(/lacks files:write/g)).toHaveLength(1)
    expect(run.stdout).toContain('authkeep login acme --scope files:write')
    expect(run.stdout).not.toContain('secret')
    const asJson = await authkeep('explain', 'https://api.example/files', '--json')
    expect(json(asJson)).toMatchObject({
      verdict: 'use',
      requirement: { scopes: ['files:read'] },
      candidates: [{ verdict: 'use' }],
    })
    expect(asJson.stdout).not.toContain('secret')
  })

  it('explains a URL that nobody declares', async () => {
    await addAcme()
    const run = await authkeep('explain', 'https://api.example/filez')
    expect(run.code).toBe(0)
    expect(run.stdout).toContain('No provider declares an endpoint')
  })
})

async function closedPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}
