import { mkdir, mkdtemp, readdir, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Credential, type OAuthCredential, Secret } from '../../src/credential.ts'
import { openClawAuthProfilesFormat } from '../../src/formats/openclaw-auth-profiles.ts'
import { piAuthJsonFormat } from '../../src/formats/pi-auth-json.ts'
import { fileBackend } from '../../src/store/file.ts'
import { outlasting } from '../../src/store/file-lock.ts'
import { systemFiles } from '../../src/store/file-operations.ts'
import { type CredentialStore, openStore } from '../../src/store/store.ts'

let directory: string
let path: string
const stores: CredentialStore[] = []
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'authkeep-'))
  path = join(directory, 'auth.json')
})
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close()
  await rm(directory, { recursive: true })
})

async function open(format = piAuthJsonFormat): Promise<CredentialStore> {
  const store = await openStore({ path, format })
  stores.push(store)
  return store
}
const text = (): Promise<string> => readFile(path, 'utf8')
const json = async (): Promise<Record<string, Record<string, unknown>>> =>
  JSON.parse(await text()) as Record<string, Record<string, unknown>>

/** What pi writes, and an entry that is nobody's yet. */
const piFile = `{
  "anthropic": {
    "type": "oauth",
    "refresh": "refresh-1",
    "access": "access-1",
    "expires": 1790000000000
  },
  "openai": { "type": "api_key", "key": "sk-1", "env": { "A": "b" } },
  "later": { "type": "passkey", "count": 1.0 },
  "cloud": {"type":"api_key","key":"!op read x"}
}
`

function login(provider: string, account = 'default', more: Partial<OAuthCredential> = {}): OAuthCredential {
  return {
    ...{ type: 'oauth', provider, account, issuer: 'https://as.example', clientId: 'c', subject: 'somebody' },
    grant: {
      ...{ scopes: ['a'], evidence: 'response', resources: [], refreshToken: new Secret(`refresh of ${provider}`) },
      ...{ refreshExpiresAt: null, generation: 1, obtainedAt: 1, state: 'live', replays: 0 },
    },
    tokens: [
      {
        ...{ accessToken: new Secret(`access of ${provider}`), tokenType: 'Bearer', scopes: ['a'], resource: null },
        ...{ expiresAt: 1_790_000_000_000, obtainedAt: 1, evidence: 'response' },
      },
    ],
    lease: null,
    ...more,
  }
}

/** What pi asks of a whole file before it reads any of it. */
function assertPiReads(file: Record<string, Record<string, unknown>>): void {
  for (const [provider, entry] of Object.entries(file)) {
    const isKey = entry['type'] === 'api_key' && typeof entry['key'] === 'string'
    const isLogin =
      entry['type'] === 'oauth' &&
      typeof entry['access'] === 'string' &&
      typeof entry['refresh'] === 'string' &&
      Number.isFinite(entry['expires'])
    expect(isKey || isLogin, `pi would refuse the file for ${provider}`).toBe(true)
  }
}

describe("a store in pi's auth.json", () => {
  it('reads what pi wrote, and says of the rest what it is', async () => {
    await writeFile(path, piFile)
    const store = await open()
    expect(await store.list()).toMatchObject([
      { provider: 'anthropic', account: 'default', type: 'oauth', expiresAt: 1_790_000_000_000, refreshable: true },
      { provider: 'openai', account: 'default', type: 'api_key' },
      { provider: 'later', account: 'default', type: 'unreadable', problem: 'its type is not known' },
      { provider: 'cloud', type: 'unreadable', problem: 'its key is a command or a variable' },
    ])
    expect(await text()).toBe(piFile)
  })

  it('commits several logins at once and leaves every other byte as it is', async () => {
    await writeFile(path, piFile)
    const store = await open()
    const added = [login('acme'), login('beta')]
    await store.updateAll(added, () => new Map(added.map((one) => [`${one.provider}:default`, one])))
    const written = await text()
    const kept = piFile.trimEnd().slice(0, -2)
    expect(written.startsWith(`${kept},\n  "acme": {\n    "type": "oauth",\n`)).toBe(true)
    expect(written.endsWith('\n}\n')).toBe(true)
    expect((await json())['acme']).toMatchObject({
      ...{ type: 'oauth', refresh: 'refresh of acme', access: 'access of acme', expires: 1_790_000_000_000 },
    })
    const again = await (await open()).read({ provider: 'acme', account: 'default' })
    expect(again).toMatchObject({ issuer: 'https://as.example', grant: { scopes: ['a'], generation: 1 } })
  })

  it('writes what pi reads, whatever a login has or lacks', async () => {
    const store = await open()
    const bare = login('bare')
    const entries: readonly Credential[] = [
      login('whole'),
      { ...bare, grant: { ...bare.grant, refreshToken: null }, tokens: [], provider: 'bare' },
      { ...login('endless'), tokens: login('endless').tokens.map((token) => ({ ...token, expiresAt: null })) },
      { type: 'api_key', provider: 'key', account: 'default', key: new Secret('sk') },
    ]
    for (const entry of entries) await store.update(entry, () => entry)
    await store.updateState(':issuer:https://as.example', () => ({ narrowing: 'honoured' }))
    assertPiReads(await json())
    expect(Object.keys(await json())).toEqual(['whole', 'bare', 'endless', 'key'])
    const fresh = await open()
    expect(await fresh.read({ provider: 'endless', account: 'default' })).toMatchObject({
      tokens: [{ expiresAt: null }],
    })
    expect(await fresh.read({ provider: 'bare', account: 'default' })).toMatchObject({ tokens: [] })
    expect(await fresh.readState(':issuer:https://as.example')).toMatchObject({ narrowing: 'honoured' })
  })

  it('refuses what pi could not read, and changes nothing', async () => {
    await writeFile(path, piFile)
    const store = await open()
    const refused: readonly Credential[] = [
      { type: 'token', provider: 'ci', account: 'default', token: new Secret('t'), expiresAt: null },
      login('acme', 'work'),
    ]
    for (const entry of refused) {
      await expect(store.update(entry, () => entry)).rejects.toMatchObject({ code: 'not_supported', remedy: 'fix' })
    }
    expect(await text()).toBe(piFile)
    expect(await store.read({ provider: 'acme', account: 'work' })).toBeNull()
  })

  it('goes on when pi has rewritten its entry without our member', async () => {
    const store = await open()
    await store.update(login('acme'), () => login('acme'))
    await writeFile(
      path,
      JSON.stringify({ acme: { type: 'oauth', access: 'a-2', refresh: 'r-2', expires: 5 } }, null, 2),
    )
    const read = (await store.read(login('acme'))) as OAuthCredential
    expect(read).toMatchObject({ issuer: '', clientId: '', grant: { scopes: [], evidence: 'assumed', state: 'live' } })
    expect(read.grant.refreshToken?.reveal()).toBe('r-2')
    expect(read.tokens.map(({ accessToken }) => accessToken.reveal())).toEqual(['a-2'])
  })

  it.each(['', '\0\0\0', '{"anthropic": {"type": "oauth"', '[]', '{"a":{},"a":{}}'])(
    'takes %j for damage, never for a file without logins',
    async (content) => {
      await writeFile(path, content)
      const store = await open()
      await expect(store.list()).rejects.toMatchObject({ code: 'store_corrupt' })
      await expect(store.update(login('acme'), () => login('acme'))).rejects.toMatchObject({ code: 'store_corrupt' })
      expect(await text()).toBe(content)
    },
  )

  it('brings an emptied file back with every byte that was in it', async () => {
    await writeFile(path, piFile)
    const store = await open()
    await store.update(login('acme'), () => login('acme'))
    const before = await json()
    await writeFile(path, '')
    expect((await store.list()).map(({ provider }) => provider)).toEqual([
      'anthropic',
      'openai',
      'later',
      'cloud',
      'acme',
    ])
    const after = await json()
    expect(after['later']).toEqual(before['later'])
    expect(await text()).toContain('"later": { "type": "passkey", "count": 1.0 }')
  })

  it('takes the last login that pi removes for a logout, and the loss of several for damage', async () => {
    const store = await open()
    await store.update(login('acme'), () => login('acme'))
    await writeFile(path, '{}')
    expect(await store.list()).toEqual([])
    for (const one of [login('acme'), login('beta')]) await store.update(one, () => one)
    await writeFile(path, '{}')
    expect(await store.list()).toHaveLength(2)
  })

  it('goes back to an older state with what it does not understand', async () => {
    await writeFile(path, piFile)
    const store = await open()
    await store.update(login('acme'), () => login('acme'))
    for (const name of (await readdir(directory)).filter((one) => one.endsWith('.bak'))) await rm(join(directory, name))
    await writeFile(path, '')
    expect((await store.list()).map(({ provider }) => provider)).toEqual(['anthropic', 'openai', 'later', 'cloud'])
    expect(await text()).toContain('"later": { "type": "passkey", "count": 1.0 }')
    expect(await store.read({ provider: 'anthropic', account: 'default' })).toMatchObject({
      grant: { state: 'in_doubt' },
    })
  })

  it('keeps what is no login in a file beside it, one for all links that lead there', async () => {
    await writeFile(path, piFile)
    await symlink(path, join(directory, 'link.json'))
    const [store, linked] = [
      await open(),
      await openStore({ path: join(directory, 'link.json'), format: piAuthJsonFormat }),
    ]
    stores.push(linked)
    await store.updateState(':accounts:acme', () => ({ order: ['a'] }))
    expect(await linked.readState(':accounts:acme')).toMatchObject({ order: ['a'] })
    expect(await text()).toBe(piFile)
    expect(await readdir(directory)).toContain('auth.json.state')
    const backend = fileBackend({ path, format: piAuthJsonFormat })
    const mixed = [':accounts:acme', 'acme:default'].map((key) => ({ key, next: null, expected: null }))
    await expect(backend.commit(mixed)).rejects.toThrow(TypeError)
    await backend.close()
  })
})

describe("a store in OpenClaw's auth-profiles.json", () => {
  const marker = 'openclaw-oauth-refresh-fence:v1:0123456789abcdef0123456789abcdef'
  const profiles = `{"version":1,"profiles":{
  "acme:me@x.example":{"type":"oauth","provider":"acme","access":"access-1","refresh":"refresh-1","expires":1790000000000,"email":"me@x.example","clientId":"theirs"},
  "ci:bot":{"type":"token","provider":"ci","token":"t","expires":1790000000000},
  "openai:default":{"mode":"api_key","provider":"openai","apiKey":"sk-1"},
  "vault:default":{"type":"api_key","provider":"vault","keyRef":{"source":"env","id":"K"}},
  "busy:default":{"type":"oauth","provider":"busy","access":"${marker}:access:00","refresh":"${marker}:refresh:00","expires":1},
  "odd":{"type":"api_key","provider":"odd","key":"k"}
},"order":{"acme":["acme:me@x.example"]},"lastGood":{"acme":"acme:me@x.example"},"usageStats":{"acme:me@x.example":{"lastUsed":1.50}}}`

  it('reads profiles of every kind, and lists what is none', async () => {
    await writeFile(path, profiles)
    const store = await open(openClawAuthProfilesFormat)
    expect(await store.list()).toMatchObject([
      { provider: 'acme', account: 'me@x.example', type: 'oauth' },
      { provider: 'ci', account: 'bot', type: 'token', expiresAt: 1_790_000_000_000 },
      { provider: 'openai', account: 'default', type: 'api_key' },
      { provider: 'vault', type: 'unreadable', problem: 'its key is kept elsewhere' },
      { provider: 'busy', type: 'unreadable', problem: expect.stringContaining('a marker of OpenClaw') as string },
      { provider: 'odd', type: 'unreadable' },
    ])
  })

  it('never hands out a marker, never writes over it, and keeps it through everything', async () => {
    await writeFile(path, profiles)
    const store = await open(openClawAuthProfilesFormat)
    await expect(store.read(login('busy'))).rejects.toMatchObject({
      code: 'store_corrupt',
      detail: { key: 'busy:default' },
    })
    await expect(store.update(login('busy'), () => login('busy'))).rejects.toMatchObject({ code: 'store_corrupt' })
    await store.update(login('new'), () => login('new'))
    await store.update(login('acme', 'me@x.example'), () => null)
    const row = profiles.split('\n').find((line) => line.includes('busy:default')) ?? ''
    expect(await text()).toContain(row)
  })

  it('leaves a marker where an older state has a login', async () => {
    await writeFile(path, profiles.replaceAll(marker, 'a-token'))
    const store = await open(openClawAuthProfilesFormat)
    await store.update(login('new'), () => login('new'))
    const [older] = await store.backups()
    await writeFile(path, profiles)
    const row = profiles.split('\n').find((line) => line.includes('busy:default')) ?? ''
    await store.restore(older?.id ?? '')
    expect(await text()).toContain(row)
  })

  it('changes one profile and nothing else', async () => {
    await writeFile(path, profiles)
    const store = await open(openClawAuthProfilesFormat)
    await store.update({ provider: 'acme', account: 'me@x.example' }, (current) => {
      if (current?.type !== 'oauth') return undefined
      return { ...login('acme', 'me@x.example'), metadata: { seen: true } }
    })
    const changed = await text()
    const rows = profiles.split('\n')
    expect(changed.split('\n').filter((line) => !line.includes('"acme:me'))).toEqual(
      rows.filter((line) => !line.includes('"acme:me')),
    )
    expect(changed.split('\n').at(-1)).toBe(rows.at(-1))
    const file = JSON.parse(changed) as { profiles: Record<string, Record<string, unknown>> }
    expect(file.profiles['acme:me@x.example']).toMatchObject({
      ...{ type: 'oauth', provider: 'acme', access: 'access of acme', refresh: 'refresh of acme' },
      ...{ email: 'me@x.example', clientId: 'theirs' },
    })
  })

  it('believes what it has noted of a token of that token only', async () => {
    const store = await open(openClawAuthProfilesFormat)
    const wide = login('acme')
    const [token] = wide.tokens
    if (token === undefined) throw new Error('no token')
    const narrow = { ...token, accessToken: new Secret('narrow'), resource: 'https://api.example', scopes: ['b'] }
    const dead = { ...wide, grant: { ...wide.grant, state: 'dead' as const }, tokens: [narrow, token] }
    await store.update(wide, () => dead)
    const file = JSON.parse(await text()) as { profiles: Record<string, Record<string, unknown>> }
    // OpenClaw refreshes, and keeps the members that it does not know.
    const renewed = { ...file.profiles['acme:default'], access: 'access-2', refresh: 'refresh-2', expires: 7 }
    await writeFile(path, JSON.stringify({ ...file, profiles: { 'acme:default': renewed } }))
    const read = (await store.read(wide)) as OAuthCredential
    expect(read).toMatchObject({ issuer: 'https://as.example', grant: { state: 'live', scopes: ['a'] } })
    expect(read.tokens).toMatchObject([{ scopes: ['a'], expiresAt: 7 }])
    expect(read.tokens[0]?.accessToken.reveal()).toBe('access-2')
  })

  it('counts every profile, those that cannot be read too', async () => {
    await writeFile(path, profiles)
    const store = await open(openClawAuthProfilesFormat)
    await store.update(login('new'), () => login('new'))
    const backend = fileBackend({ path, format: openClawAuthProfilesFormat })
    expect(await backend.verify()).toMatchObject({ state: 'valid', entries: 7, copy: 'valid' })
    await backend.close()
  })
})

describe('the lock of a file that another program refreshes under', () => {
  it('is waited for until a holder that died without a record is gone, where that is within a minute', () => {
    const [pi = 0, openClaw = 0] = [piAuthJsonFormat, openClawAuthProfilesFormat].map(
      ({ refreshLock }) => refreshLock?.staleMs,
    )
    expect(outlasting(pi)).toBeGreaterThan(pi + 5_000)
    expect(outlasting(openClaw)).toBeLessThan(60_000)
    expect(outlasting(10_000)).toBe(20_000)
  })

  it('stays ours for as long as it is held, whatever the file system makes of its time', async () => {
    await writeFile(path, piFile)
    const files = {
      ...systemFiles,
      lstat: (of: string) => {
        const stat = systemFiles.lstat(of)
        return stat === null ? null : { ...stat, mtimeMs: Math.round(stat.mtimeMs) - 0.001 }
      },
    }
    const backend = fileBackend({ path, format: piAuthJsonFormat, files })
    await backend.whileLocked(async (isHeld) => {
      // Twice the heartbeat, and a little.
      await delay(4_500)
      expect(isHeld()).toBe(true)
    })
    await backend.close()
  })

  it('is not taken from an owner that has touched it within the time it gives itself', async () => {
    await writeFile(path, piFile)
    await mkdir(`${path}.lock`)
    const seconds = Date.now() / 1_000 - 20
    await utimes(`${path}.lock`, seconds, seconds)
    const backend = fileBackend({ path, format: piAuthJsonFormat, lockTimeoutMs: 4_000 })
    const change = { key: 'acme:default', next: { type: 'api_key', key: 'k' }, expected: null }
    await expect(backend.commit([change])).rejects.toMatchObject({ code: 'store_busy' })
    await backend.close()
    expect(await text()).toBe(piFile)
  })

  it('is one that OpenClaw makes as a file, and is taken when that is as old as OpenClaw lets none become', async () => {
    await writeFile(path, '{"version":1,"profiles":{}}')
    await writeFile(`${path}.lock`, JSON.stringify({ pid: 1, createdAt: new Date().toISOString() }))
    const change = { key: 'acme:default', next: { type: 'api_key', key: 'k' }, expected: null }
    const hasty = fileBackend({ path, format: openClawAuthProfilesFormat, lockTimeoutMs: 500 })
    await expect(hasty.commit([change])).rejects.toMatchObject({ code: 'store_busy' })
    await hasty.close()
    const seconds = Date.now() / 1_000 - 200
    await utimes(`${path}.lock`, seconds, seconds)
    const backend = fileBackend({ path, format: openClawAuthProfilesFormat })
    expect(await backend.commit([change])).toEqual({ ok: true })
    await backend.close()
    expect(await readdir(directory)).not.toContain('auth.json.lock')
  })

  it('is held over several commits, by all who ask for it at once, and is given back after the last', async () => {
    const backend = fileBackend({ path, format: piAuthJsonFormat })
    const commit = (provider: string) =>
      backend.commit([{ key: `${provider}:default`, next: { type: 'api_key', key: 'k' }, expected: null }])
    const isLocked = async (): Promise<boolean> => (await readdir(directory)).includes('auth.json.lock')
    await Promise.all(
      ['a', 'b', 'c'].map((provider) =>
        backend.whileLocked(async (isHeld) => {
          expect(await commit(provider)).toEqual({ ok: true })
          expect(await commit(`${provider}2`)).toEqual({ ok: true })
          expect([isHeld(), await isLocked()]).toEqual([true, true])
        }),
      ),
    )
    expect(await isLocked()).toBe(false)
    expect(await backend.keys()).toHaveLength(6)
    // One that ends leaves it to the others.
    const first = backend.whileLocked(async () => undefined)
    const second = backend.whileLocked(async (isHeld) => {
      await first
      expect(isHeld()).toBe(true)
    })
    await Promise.all([first, second])
    // Lost: the commits of whoever goes on wait for the lock like any other's.
    await backend.whileLocked(async (isHeld) => {
      await rm(`${path}.lock`, { recursive: true })
      expect(isHeld()).toBe(false)
      expect(await commit('d')).toEqual({ ok: true })
    })
    expect(await isLocked()).toBe(false)
    await backend.close()
  })
})
