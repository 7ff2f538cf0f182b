import { mkdtemp, readdir, readFile, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Credential, Secret } from '../../src/credential.ts'
import { type CredentialStore, openStore } from '../../src/store/store.ts'

let directory: string
let path: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'authkeep-'))
  path = join(directory, 'auth.json')
})
afterEach(() => rm(directory, { recursive: true }))

const apiKey = (provider: string, value: string): Credential => ({
  ...{ type: 'api_key', provider, account: 'default' },
  key: new Secret(value),
})
const oauth = (refreshToken: string): Credential => ({
  ...{ type: 'oauth', provider: 'acme', account: 'default', issuer: 'https://as.example', clientId: 'cli' },
  ...{ subject: 'me', tokens: [], lease: null },
  grant: {
    ...{ scopes: ['a'], evidence: 'response', resources: [], refreshToken: new Secret(refreshToken) },
    ...{ refreshExpiresAt: null, generation: 1, obtainedAt: 1, state: 'live', replays: 0 },
  },
})

async function put(store: CredentialStore, credential: Credential): Promise<void> {
  await store.update(credential, () => credential)
}

async function value(provider = 'openai'): Promise<string | undefined> {
  const credential = await (await openStore({ path })).read({ provider, account: 'default' })
  return credential?.type === 'api_key' ? credential.key.reveal() : undefined
}

/** As if the newest generation had been made long ago. */
async function age(hours: number): Promise<void> {
  for (const name of await readdir(directory)) {
    if (!name.includes('.gen-')) continue
    const time = new Date(Date.now() - hours * 3_600_000).toISOString().replaceAll(':', '')
    const { rename } = await import('node:fs/promises')
    await rename(join(directory, name), join(directory, `auth.json.gen-${time}`))
  }
}

describe('generations', () => {
  test('are made of the state before a commit, at most one an hour, and the newest three stay', async () => {
    const store = await openStore({ path })
    await put(store, apiKey('openai', 'v0'))
    for (let round = 1; round <= 3; round++) await put(store, apiKey('openai', `v${round}`))
    expect((await store.backups()).length).toBe(1)
    const ids = new Set<string>()
    for (let round = 0; round < 5; round++) {
      await age(2 + (5 - round))
      await put(store, apiKey('openai', `w${round}`))
      for (const { id } of await store.backups()) ids.add(id)
    }
    expect((await store.backups()).length).toBeLessThanOrEqual(3)
    expect((await stat(join(directory, `auth.json.gen-${(await store.backups())[0]?.id ?? ''}`))).mode & 0o777).toBe(
      0o600,
    )
  })

  test('none are made where none are wanted', async () => {
    const store = await openStore({ path, backups: 0 })
    for (let round = 0; round < 3; round++) await put(store, apiKey('openai', `v${round}`))
    expect(await store.backups()).toEqual([])
  })

  test('restore brings entries back, keeps what is there and newer, and marks what may be spent', async () => {
    const earlier = await openStore({ path })
    await put(earlier, apiKey('openai', 'kept'))
    await put(earlier, oauth('refresh-token-number-one'))
    await age(3)
    const store = await openStore({ path })
    await put(store, apiKey('other', 'another'))
    const [newest] = await store.backups()
    expect(newest?.entries).toBe(2)
    await put(store, oauth('refresh-token-number-two'))
    await put(store, apiKey('openai', 'changed'))
    await store.restore(newest?.id ?? '')
    expect([await value(), await value('other')]).toEqual(['kept', 'another'])
    const login = { provider: 'acme', account: 'default' }
    expect(await refreshTokenOf(store)).toBe('refresh-token-number-two')
    await store.update(login, () => null)
    await put(store, { ...oauth('somebody-elses-refresh-token'), subject: 'other' } as Credential)
    await expect(store.restore('nonsense')).rejects.toThrow(TypeError)
  })

  test('a damaged file without a copy comes back from the newest generation, its login in doubt', async () => {
    const store = await openStore({ path })
    await put(store, oauth('refresh-token-number-one'))
    await put(store, apiKey('openai', 'kept'))
    await truncate(path)
    await rm(`${path}.bak`)
    const login = await (await openStore({ path })).read({ provider: 'acme', account: 'default' })
    expect(login).toMatchObject({ type: 'oauth', grant: { state: 'in_doubt' }, lease: null })
  })

  test('a logout is forgotten everywhere: file, copy, generations, quarantine', async () => {
    const secret = 'a-refresh-token-that-must-vanish'
    const store = await openStore({ path })
    await put(store, oauth(secret))
    await put(store, apiKey('openai', 'kept'))
    const text = await readFile(path, 'utf8')
    await writeFile(path, text.slice(0, -10))
    expect(await value()).toBe('kept')
    const holding = async (): Promise<string[]> => {
      const names = await readdir(directory)
      const found = await Promise.all(
        names.map(async (name) => (await readFile(join(directory, name), 'utf8')).includes(secret)),
      )
      return names.filter((_, index) => found[index])
    }
    expect((await holding()).length).toBeGreaterThanOrEqual(4)
    await store.update({ provider: 'acme', account: 'default' }, () => null)
    expect(await holding()).toEqual([])
    expect(await value()).toBe('kept')
  })
})

async function refreshTokenOf(store: CredentialStore): Promise<string | undefined> {
  const credential = await store.read({ provider: 'acme', account: 'default' })
  return credential?.type === 'oauth' ? credential.grant.refreshToken?.reveal() : undefined
}

describe('damage that still parses', () => {
  test('a bit that rotted is noticed, because nobody has written the file since', async () => {
    const store = await openStore({ path })
    await put(store, apiKey('openai', 'sk-abcdef'))
    const { atime, mtime } = await stat(path, { bigint: false })
    const { mtimeNs } = await stat(path, { bigint: true })
    const text = await readFile(path, 'utf8')
    await writeFile(path, text.replace('sk-abcdef', 'sk-abcdeg'))
    await utimes(path, atime, mtime)
    // A time stamp that cannot be put back exactly makes it an edit; then there is nothing to test.
    if ((await stat(path, { bigint: true })).mtimeNs !== mtimeNs) await restoreTime(path, mtimeNs)
    expect(await value()).toBe('sk-abcdef')
  })

  test('the same change by somebody who wrote the file is an edit, and stays', async () => {
    const store = await openStore({ path })
    await put(store, apiKey('openai', 'sk-abcdef'))
    const text = await readFile(path, 'utf8')
    await writeFile(path, text.replace('sk-abcdef', 'sk-edited'))
    expect(await value()).toBe('sk-edited')
  })

  test('a valid document that has lost all its credentials is brought back', async () => {
    const store = await openStore({ path })
    await put(store, apiKey('openai', 'kept'))
    await writeFile(path, '{"version":1,"credentials":{}}')
    expect(await value()).toBe('kept')
  })

  test('the last logout leaves an empty store, and it stays empty', async () => {
    const store = await openStore({ path })
    await put(store, apiKey('openai', 'gone'))
    await store.update({ provider: 'openai', account: 'default' }, () => null)
    expect(await value()).toBeUndefined()
    expect(await (await openStore({ path })).verify()).toMatchObject({ state: 'valid', entries: 0 })
  })

  test('a cut file without any copy gives back the entries that are whole', async () => {
    const store = await openStore({ path, backups: 0 })
    await put(store, apiKey('first', 'one "quoted" {value}'))
    await put(store, apiKey('second', 'two'))
    const text = await readFile(path, 'utf8')
    await writeFile(path, text.slice(0, text.indexOf('"two"') + 3))
    await rm(`${path}.bak`)
    expect(await value('first')).toBe('one "quoted" {value}')
    expect(await value('second')).toBeUndefined()
  })
})

/** Sets a modification time to the nanosecond, which Node's own call cannot. */
async function restoreTime(file: string, mtimeNs: bigint): Promise<void> {
  const { execFileSync } = await import('node:child_process')
  const seconds = `${mtimeNs / 1_000_000_000n}.${String(mtimeNs % 1_000_000_000n).padStart(9, '0')}`
  execFileSync('touch', ['-m', '-d', `@${seconds}`, file])
}
