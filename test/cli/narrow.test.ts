import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import widthOf from 'string-width'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { commands } from '../../src/cli/commands.ts'
import { type Credential, Secret } from '../../src/credential.ts'
import { openStore } from '../../src/store/store.ts'
import { ended, type Run, start } from './built.ts'

const names = [
  'a.very.long.account.name.of.somebody.who.works.at.a.long.organisation@mail.example'.repeat(2),
  '東京都千代田区霞が関一丁目'.repeat(5),
  '🦊👨‍👩‍👧🇩🇪'.repeat(12),
  'evil\u001B[2J\u001B]0;title\u0007\u202Egnp\r\n\u009B31m',
]
const [long = '', wide = ''] = names
const id = `acme-${'with-a-long-name-'.repeat(3)}`
const scopes = ['files:read', `https://scopes.example/${'deep/'.repeat(30)}`]
const url = 'https://api.example/files'

let home: string
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'authkeep-narrow-'))
  const issuer = 'https://login.of.a.server.with.a.rather.long.name.that.goes.on.and.on.example'
  const metadata = { issuer, token_endpoint: `${issuer}/token` }
  const endpoints = [
    { url, scopes, service: 'files' },
    { url: 'https://keys.example/*', accepts: ['api_key'], service: 'files' },
  ]
  await writeFile(join(home, 'acme.json'), JSON.stringify({ id, issuer, client: { id: 'cli' }, metadata, endpoints }))
  expect(await authkeep('providers', 'add', join(home, 'acme.json'))).toMatchObject({ code: 0, stderr: '' })
  const store = await openStore({ path: join(home, 'auth.json') })
  for (const account of names) {
    const credential: Credential = {
      ...{ type: 'oauth', provider: id, account, issuer, clientId: 'cli', subject: account },
      grant: {
        ...{ scopes: account === long ? scopes : ['files:read'], evidence: 'response', resources: [] },
        ...{ refreshToken: new Secret(`rt-${account}`), refreshExpiresAt: null },
        ...{ generation: 1, obtainedAt: Date.now(), state: 'live', replays: 0 },
      },
      tokens: [],
      lease: null,
    }
    await store.update(credential, () => credential)
  }
  const token = { provider: id, account: 'token' }
  for (const text of ['one', 'two']) {
    await store.update(token, () => ({ type: 'token', ...token, token: new Secret(text), expiresAt: null }))
  }
  await store.close()
})
afterAll(() => rm(home, { recursive: true }))

/** As loudly as an environment can ask for colours. */
const authkeep = (...args: readonly string[]): Promise<Run> =>
  ended(start(home, args, { env: { FORCE_COLOR: '3', CLICOLOR_FORCE: '1', TERM: 'xterm-256color' } }))

const shows: readonly (readonly string[])[] = [
  ['status'],
  ['accounts'],
  ['providers', 'list'],
  ['restore', '--list'],
  ['doctor', '--offline'],
  ['explain', url],
  ['explain', url, '--account', long],
  ['explain', url, '--account', wide],
  ['route', 'files', '--account', 'token'],
  ['order', id],
]

describe('at 80 columns', () => {
  it.each(shows)('%s fits, whatever the names are', async (...args) => {
    const { stdout, code } = await authkeep(...args)
    expect(code).toBe(0)
    // A command to be copied is kept whole.
    const tooWide = stdout.split('\n').filter((line) => widthOf(line) > 80 && !/^\s+authkeep /.test(line))
    expect(tooWide).toEqual([])
    expect(stdout).not.toMatch(/[^\P{Cc}\n]|\p{Cf}/u)
  })

  it('order names accounts, too', async () => {
    const { stdout } = await authkeep('order', id, ...names.slice(0, 2).flatMap((name) => ['--try', name]))
    expect(stdout.split('\n').filter((line) => widthOf(line) > 80)).toEqual([])
    await authkeep('order', id, '--none')
  })

  it('the help of every command fits', async () => {
    for (const words of [[], ...commands.map(({ name }) => name.split(' '))]) {
      const { stdout } = await authkeep(...words, '--help')
      expect(stdout.split('\n').filter((line) => widthOf(line) > 80)).toEqual([])
    }
  })
})

describe('no escape code, whatever the environment asks for', () => {
  it('in what is shown, in errors of every command and in their JSON', async () => {
    const wrong = commands.map(({ name }) => [...name.split(' '), '--no-such-\u001B[31m'])
    const failing = [['token', url], ['exec', url, '--', 'true'], ['login', `${id}\u001B[31m`], ['nonsense\u001B[31m']]
    for (const args of [...wrong, ...failing, ...wrong.map((words) => [...words, '--json'])]) {
      const { stdout, stderr, code } = await authkeep(...args)
      expect(code).not.toBe(0)
      expect(stdout + stderr).not.toMatch(/[^\P{Cc}\n]/u)
    }
  })
})
