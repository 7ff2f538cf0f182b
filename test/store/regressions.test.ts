import fs from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, symlink, truncate, utimes, writeFile } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type ApiKeyCredential, type OAuthCredential, Secret } from '../../src/credential.ts'
import { AuthkeepError } from '../../src/errors.ts'
import { memoryBackend } from '../../src/store/backend.ts'
import { fileBackend } from '../../src/store/file.ts'
import { CredentialStore, openStore } from '../../src/store/store.ts'
import { deadOwner, type Operation, systemError, watchedFiles } from './files.ts'

let directory: string
let path: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'authkeep-'))
  path = join(directory, 'auth.json')
})
afterEach(() => rm(directory, { recursive: true }))

const key = { provider: 'openai', account: 'default' }
const name = 'openai:default'
const apiKey = (value: string): ApiKeyCredential => ({ type: 'api_key', ...key, key: new Secret(value) })

function login(account: string, refreshToken: string): OAuthCredential {
  return {
    ...{ type: 'oauth', provider: 'acme', account, issuer: 'https://as.example', clientId: 'cli', subject: null },
    ...{ tokens: [], lease: null },
    grant: {
      ...{ scopes: [], evidence: 'assumed', resources: [], refreshExpiresAt: null, generation: 0, obtainedAt: 0 },
      ...{ refreshToken: new Secret(refreshToken), state: 'live', replays: 0 },
    },
  }
}

async function write(value: string): Promise<void> {
  const store = await openStore({ path })
  await store.update(key, () => apiKey(value))
  await store.close()
}

async function read(): Promise<string | undefined> {
  const credential = await (await openStore({ path })).read(key)
  return credential?.type === 'api_key' ? credential.key.reveal() : undefined
}

/** A program that knows nothing of locks writes one entry in place. */
function writeForeign(entry: string, value: string): void {
  const document = JSON.parse(fs.readFileSync(path, 'utf8')) as { credentials: Record<string, unknown> }
  document.credentials[entry] = { type: 'api_key', key: value }
  fs.writeFileSync(path, JSON.stringify(document))
}

async function entries(): Promise<string[]> {
  const document = JSON.parse(await readFile(path, 'utf8')) as { credentials: Record<string, unknown> }
  return Object.keys(document.credentials).sort()
}

describe('a foreign program that writes in place', () => {
  test('a commit that is refused because of it leaves no trace in the second copy', async () => {
    await write('old')
    let isDone = false
    const files = watchedFiles((operation) => {
      if (operation !== 'fsync' || isDone) return
      isDone = true
      writeForeign(name, 'foreign')
    })
    const backend = fileBackend({ path, files })
    const seen = await backend.read(name)
    const change = { key: name, next: { type: 'api_key', key: 'refused' }, expected: seen!.revision }
    expect(await backend.commit([change])).toMatchObject({ ok: false, current: { value: { key: 'foreign' } } })
    await truncate(path)
    expect(await read()).toBe('old')
  })

  test.each(['before', 'after'] as const)(
    'is not overwritten when it writes just %s a file is looked at',
    async (when) => {
      await write('old')
      const backend = fileBackend({ path })
      const seen = await backend.read(name)
      const fstat = fs.fstatSync
      let isDone = false
      const writeOnce = (now: typeof when): void => {
        if (now !== when || isDone) return
        isDone = true
        writeForeign('foreign:me', 'theirs')
      }
      const spy = vi.spyOn(fs, 'fstatSync').mockImplementation((...args: Parameters<typeof fstat>) => {
        writeOnce('before')
        const stat = fstat(...args)
        writeOnce('after')
        return stat
      })
      syncBuiltinESMExports()
      try {
        const change = { key: name, next: { type: 'api_key', key: 'new' }, expected: seen!.revision }
        expect(await backend.commit([change])).toEqual({ ok: true })
      } finally {
        spy.mockRestore()
        syncBuiltinESMExports()
      }
      expect(isDone).toBe(true)
      expect(await entries()).toEqual(['foreign:me', name])
      expect(await read()).toBe('new')
    },
  )

  test('truncates the file under twenty readers of one store: all of them are served', async () => {
    await write('one')
    await truncate(path)
    const store = await openStore({ path })
    const found = await Promise.all(Array.from({ length: 20 }, () => store.read(key)))
    expect(found.map((credential) => credential?.type)).toEqual(Array.from({ length: 20 }, () => 'api_key'))
    await store.close()
  })
})

test('a copy that a person made beside the file is not deleted', async () => {
  await write('one')
  const mine = `${path}.bak.2026`
  await writeFile(mine, 'mine')
  await write('two')
  expect(await readFile(mine, 'utf8')).toBe('mine')
})

describe('one refresh token', () => {
  test('in two new entries of one update is refused', async () => {
    const store = await openStore({ backend: memoryBackend() })
    const [one, two] = [login('one', 'same'), login('two', 'same')]
    const added = new Map([
      ['acme:one', one],
      ['acme:two', two],
    ])
    await expect(store.updateAll([one, two], () => added)).rejects.toMatchObject({ code: 'account_ambiguous' })
    expect(await store.list()).toEqual([])
  })

  test('may move to another account in one update', async () => {
    const store = await openStore({ backend: memoryBackend() })
    const [before, after] = [login('before', 'same'), login('after', 'same')]
    await store.update(before, () => before)
    const renamed = new Map([
      ['acme:before', null],
      ['acme:after', after],
    ])
    await store.updateAll([before, after], () => renamed)
    expect((await store.list()).map(({ account }) => account)).toEqual(['after'])
  })
})

test('entries with odd names do not stand in the way of a new login', async () => {
  const odd = { type: 'oauth', issuer: 'https://as.example', clientId: 'cli', grant: { refreshToken: 'theirs' } }
  const credentials = { 'acme:': odd, openai: { type: 'api_key', key: 'k' } }
  await writeFile(path, JSON.stringify({ version: 1, credentials }))
  const store = await openStore({ path })
  await store.update(login('me', 'mine'), () => login('me', 'mine'))
  expect(await store.read(login('me', 'mine'))).toMatchObject({ type: 'oauth' })
  expect(await entries()).toEqual(['acme:', 'acme:me', 'openai'])
})

test('a system call that fails, whichever it is, is an error of this library or none', async () => {
  const raw = new Set<string>()
  let nth = 1
  for (; ; nth++) {
    await rm(directory, { recursive: true })
    await mkdir(directory)
    await write('old')
    let count = 0
    let failed: Operation | undefined
    const files = watchedFiles((operation) => {
      if (++count !== nth) return
      failed = operation
      throw systemError('EIO')
    })
    const options = { path, files, owner: deadOwner, staleLockMs: 100, lockTimeoutMs: 2_000 }
    const store = new CredentialStore(fileBackend(options))
    const caught = await store.update(key, () => apiKey('new')).catch((thrown: unknown) => thrown)
    await store.close()
    if (failed === undefined) break
    if (caught instanceof Error && !(caught instanceof AuthkeepError)) raw.add(`${failed}: ${caught.message}`)
  }
  expect([...raw]).toEqual([])
  expect(nth).toBeGreaterThan(20)
})

describe('a document', () => {
  test('in which two members have one name is not read as the later of them', async () => {
    const store = await openStore({ path })
    const other: ApiKeyCredential = { type: 'api_key', provider: 'acme', account: 'default', key: new Secret('kept') }
    await store.update(other, () => other)
    await store.update(key, () => apiKey('mine'))
    const text = await readFile(path, 'utf8')
    await writeFile(path, text.replace('"acme:default"', `"${name}"`))
    expect((await (await openStore({ path })).list()).map(({ provider }) => provider)).toEqual(['acme', 'openai'])
    await store.close()
  })

  test('that is of a newer version by a single byte is damaged; one that a newer version wrote is not', async () => {
    await write('old')
    const text = await readFile(path, 'utf8')
    await writeFile(path, text.replace('"version": 1', '"version": 3'))
    expect(await read()).toBe('old')
    await writeFile(path, text.replace('"version": 1', '"version": 3, "more": true'))
    await expect(read()).rejects.toMatchObject({ code: 'store_corrupt' })
    expect(await readFile(path, 'utf8')).toContain('"more": true')
  })

  test('may hold strings that look like members', async () => {
    for (const value of ['"', '\\', '\\"', '": ', '\\\\": {', 'a": "b', '\u2028"\u0000":']) {
      await write(value)
      expect(await read()).toBe(value)
    }
  })

  test('does not change with an object that was committed', async () => {
    const backend = fileBackend({ path })
    const next = { type: 'api_key', nested: { key: 'committed' } }
    const commit = backend.commit([{ key: name, next, expected: null }])
    next.nested.key = 'changed later'
    await commit
    next.nested.key = 'changed later still'
    await backend.commit([{ key: 'acme:default', next, expected: null }])
    expect((await backend.read(name))?.value).toEqual({ type: 'api_key', nested: { key: 'committed' } })
    expect(JSON.parse(await readFile(path, 'utf8'))).toMatchObject({
      credentials: { [name]: { nested: { key: 'committed' } } },
    })
    await backend.close()
  })
})

describe('what stands beside the file', () => {
  test("is a person's, unless it bears the name of a temporary file", async () => {
    const theirs = [`${path}.bak.20261122`, `${path}.bak.1`, `${path}.old.1234567`, join(directory, 'auth.json.tmp')]
    const left = [
      `${path}.gen-2026-11-22T180518.217Z.1234567`,
      join(directory, '.auth.json.999999999.0123456789abcdef.tmp'),
      join(directory, '.auth.json.bak.999999999.0123456789abcdef.tmp'),
    ]
    for (const file of [...theirs, ...left]) await writeFile(file, 'x')
    await write('new')
    const names = fs.readdirSync(directory)
    for (const file of theirs) expect(names).toContain(basename(file))
    for (const file of left) expect(names).not.toContain(basename(file))
  })
})

describe('a lock', () => {
  test('that is lost in the instant before the rename: what was committed meanwhile comes back from the copy', async () => {
    await write('old')
    const other = { provider: 'acme', account: 'default' }
    const theirs = new CredentialStore(fileBackend({ path }))
    let isDone = false
    const files = watchedFiles((operation, [, target]) => {
      if (operation !== 'rename' || target !== path || isDone) return
      isDone = true
      // Stopped here for a minute: the lock is taken over, and a whole commit of somebody else is acknowledged.
      const document = JSON.parse(fs.readFileSync(path, 'utf8')) as { credentials: Record<string, unknown> }
      document.credentials['acme:default'] = { type: 'api_key', key: 'acknowledged' }
      const text = JSON.stringify(document)
      fs.writeFileSync(`${path}.new`, text)
      fs.renameSync(`${path}.new`, path)
      fs.writeFileSync(`${path}.bak`, text)
      fs.unlinkSync(`${path}.lock.owner`)
      fs.rmdirSync(`${path}.lock`)
    })
    const store = new CredentialStore(fileBackend({ path, files }))
    await store.update(key, () => apiKey('new'))
    expect(isDone).toBe(true)
    expect(await read()).toBe('new')
    expect(await theirs.read(other)).toMatchObject({ type: 'api_key' })
    await store.close()
    await theirs.close()
  })

  test('behind a takeover guard of an unknown owner is busy in time, and the event loop goes on', async () => {
    await mkdir(`${path}.lock`)
    const anHourAgo = new Date(Date.now() - 3_600_000)
    await utimes(`${path}.lock`, anHourAgo, anHourAgo)
    const unknown = { host: 'elsewhere', bootId: 'x', pidNamespace: 'pid:[1]', pid: 7, startTime: '1', nonce: 'n' }
    await symlink(JSON.stringify(unknown), `${path}.lock.guard`)
    // A guard is given six times as long as a lock: here more than the waiter has.
    const store = new CredentialStore(fileBackend({ path, staleLockMs: 400, lockTimeoutMs: 500 }))
    let ticks = 0
    const ticking = setInterval(() => ticks++, 10)
    const startedAt = performance.now()
    try {
      await expect(store.update(key, () => apiKey('one'))).rejects.toMatchObject({ code: 'store_busy' })
    } finally {
      clearInterval(ticking)
    }
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(500)
    expect(performance.now() - startedAt).toBeLessThan(2_000)
    expect(ticks).toBeGreaterThan(10)
  })

  test('that somebody else took during a commit is taken again, and what they wrote survives', async () => {
    await write('old')
    const [lock, record] = [`${path}.lock`, `${path}.lock.owner`]
    let state: 'ours' | 'theirs' | 'given back' = 'ours'
    let atTheirWrite: string | undefined
    const files = watchedFiles((operation, [target]) => {
      if (operation === 'fsync' && state === 'ours') {
        state = 'theirs'
        fs.unlinkSync(record)
        fs.rmdirSync(lock)
        fs.mkdirSync(lock)
        const { ino, birthtimeMs } = fs.lstatSync(lock, { bigint: true })
        const theirs = { ...deadOwner, host: 'elsewhere', nonce: 'theirs', directory: `${ino}.${birthtimeMs}` }
        fs.symlinkSync(JSON.stringify(theirs), record)
      } else if (operation === 'mkdir' && target === lock && state === 'theirs') {
        // We ask for the lock again: they write, and let it go.
        atTheirWrite = fs.readFileSync(path, 'utf8')
        writeForeign('foreign:me', 'theirs')
        fs.unlinkSync(record)
        fs.rmdirSync(lock)
        state = 'given back'
      }
    })
    const store = new CredentialStore(fileBackend({ path, files }))
    await store.update(key, () => apiKey('new'))
    expect(state).toBe('given back')
    expect(atTheirWrite).toContain('"old"')
    expect(await entries()).toEqual(['foreign:me', name])
    expect(await read()).toBe('new')
    await store.close()
  })
})
