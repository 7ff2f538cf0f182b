import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type ApiKeyCredential, Secret } from '../../src/credential.ts'
import type { StoreEvent } from '../../src/store/events.ts'
import { fileBackend } from '../../src/store/file.ts'
import type { FileOperations } from '../../src/store/file-operations.ts'
import { CredentialStore, openStore } from '../../src/store/store.ts'
import { changing, deadOwner, type Operation, Stopped, stoppedBefore, systemError, watchedFiles } from './files.ts'

let directory: string
let path: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'authkeep-'))
  path = join(directory, 'home', 'auth.json')
})
afterEach(() => rm(directory, { recursive: true }))

const key = { provider: 'openai', account: 'default' }
const apiKey = (value: string): ApiKeyCredential => ({ type: 'api_key', ...key, key: new Secret(value) })

async function write(value: string, files?: FileOperations, owner = deadOwner): Promise<void> {
  // A process that dies between making the lock and saying whose it is leaves one of an unknown holder, who is given
  // time: 10 s in production.
  const backend = fileBackend({ path, staleLockMs: 300, ...(files === undefined ? {} : { files, owner }) })
  const store = new CredentialStore(backend)
  await store.update(key, () => apiKey(value))
  await store.close()
}

async function read(): Promise<string | undefined> {
  const credential = await new CredentialStore(fileBackend({ path, staleLockMs: 300 })).read(key)
  return credential?.type === 'api_key' ? credential.key.reveal() : undefined
}

/** Names in the store's directory that should not outlive a commit. */
async function leftovers(): Promise<string[]> {
  const expected = new Set(['auth.json', 'auth.json.bak'])
  return (await readdir(dirname(path))).filter((name) => !expected.has(name) && !/\.(corrupt|gen)-.*Z$/.test(name))
}

describe('a file store', () => {
  test('is 0600 with one link in a 0700 directory, and leaves nothing else behind', async () => {
    await write('one')
    await write('two')
    const { mode, nlink } = await stat(path)
    expect([mode & 0o777, nlink]).toEqual([0o600, 1])
    expect((await stat(`${path}.bak`)).mode & 0o777).toBe(0o600)
    expect((await stat(dirname(path))).mode & 0o777).toBe(0o700)
    expect(await leftovers()).toEqual([])
    expect((await stat(path)).ino).not.toBe((await stat(`${path}.bak`)).ino)
  })

  test('heals a mode that somebody has opened', async () => {
    await write('one')
    await chmod(path, 0o644)
    await write('two')
    expect((await stat(path)).mode & 0o777).toBe(0o600)
  })

  test('keeps a symbolic link, also a dangling one, and writes what it points to', async () => {
    await mkdir(dirname(path), { recursive: true })
    const real = join(directory, 'real.json')
    await symlink('../real.json', path)
    await write('one')
    expect(await readlink(path)).toBe('../real.json')
    expect((await lstat(real)).isFile()).toBe(true)
    expect(await read()).toBe('one')
  })

  test('keeps every member that it does not know, wherever it stands', async () => {
    await mkdir(dirname(path), { recursive: true })
    const document = {
      version: 1,
      futureTop: { a: 1 },
      credentials: {
        'acme:me': {
          type: 'oauth',
          issuer: 'https://as.example',
          clientId: 'cli',
          future: [1, { two: 2 }],
          grant: { scopes: ['a'], resources: [], refreshToken: 'r-1', futureGrant: 'x' },
          tokens: [{ accessToken: 't-1', scopes: ['a'], futureToken: true }],
        },
        'other:me': { type: 'from-the-future', anything: 1 },
      },
      state: { ':issuer:https://as.example': { narrowing: 'honoured' } },
    }
    await writeFile(path, JSON.stringify(document))
    const store = await openStore({ path })
    await store.update({ provider: 'acme', account: 'me' }, (current) =>
      current?.type === 'oauth' ? { ...current, subject: 'me' } : undefined,
    )
    const after = JSON.parse(await readFile(path, 'utf8')) as typeof document
    expect(after).toMatchObject(document)
    expect(after.credentials['acme:me']).toMatchObject({ subject: 'me' })
  })

  test('isolates an entry that cannot be read', async () => {
    await write('one')
    const document = JSON.parse(await readFile(path, 'utf8')) as { credentials: Record<string, unknown> }
    document.credentials['bad:wrong'] = { type: 'api_key', key: 7 }
    document.credentials['bad:shape'] = 'not an object'
    await writeFile(path, JSON.stringify(document))
    const store = await openStore({ path })
    const infos = await store.list()
    expect(infos.map(({ provider, type }) => `${provider} ${type}`).sort()).toEqual([
      'bad unreadable',
      'bad unreadable',
      'openai api_key',
    ])
    await expect(store.read({ provider: 'bad', account: 'wrong' })).rejects.toMatchObject({
      code: 'store_corrupt',
      detail: { key: 'bad:wrong', what: 'key must be a string' },
    })
    await store.update(key, () => apiKey('two'))
    const after = JSON.parse(await readFile(path, 'utf8')) as typeof document
    expect(after.credentials['bad:shape']).toBe('not an object')
    expect(after.credentials['bad:wrong']).toMatchObject({ type: 'api_key', key: 7 })
  })

  test('takes a change by a foreign program for what it is', async () => {
    await write('one')
    const store = await openStore({ path })
    await store.read(key)
    const text = await readFile(path, 'utf8')
    await writeFile(path, text.replace('"one"', '"foreign"'))
    expect(await read()).toBe('foreign')
    const seen: (string | undefined)[] = []
    await store.update(key, (current) => {
      seen.push(current?.type === 'api_key' ? current.key.reveal() : undefined)
      return apiKey('two')
    })
    expect(seen.at(-1)).toBe('foreign')
  })
})

describe('a file that was damaged', () => {
  const damages: readonly [string, (text: string) => string | Buffer][] = [
    ['emptied', () => ''],
    ['cut in the middle', (text) => text.slice(0, text.length / 2)],
    ['filled with NUL bytes', (text) => Buffer.alloc(text.length)],
    ['no JSON', () => 'oops'],
    ['an empty object', () => '{}'],
    ['of another schema', () => '{"version":1,"credentials":[]}'],
    ['no UTF-8', () => Buffer.from([0xff, 0xfe, 0x00, 0x41])],
  ]

  test.each(damages)('%s: is restored from the second copy, its bytes kept, and told', async (_, damage) => {
    await write('one')
    const bytes = Buffer.from(damage(await readFile(path, 'utf8')))
    await writeFile(path, bytes)
    const events: StoreEvent[] = []
    const store = await openStore({ path })
    store.watch((event) => events.push(event))
    expect(await store.read(key)).toMatchObject({ type: 'api_key' })
    expect(await read()).toBe('one')
    expect(events).toMatchObject([{ type: 'recovered', restoredFrom: `${path}.bak` }])
    const quarantine = events[0]?.type === 'recovered' ? events[0].quarantine : null
    expect(await readFile(quarantine ?? '')).toEqual(bytes)
    expect((await stat(quarantine ?? '')).mode & 0o777).toBe(0o600)
    expect(await store.verify()).toMatchObject({ state: 'valid', copy: 'valid', entries: 1 })
  })

  test.each(damages)('%s: without a copy it is an error, and nothing is touched', async (_, damage) => {
    await write('one')
    await rm(`${path}.bak`)
    const bytes = Buffer.from(damage(await readFile(path, 'utf8')))
    await writeFile(path, bytes)
    const store = await openStore({ path })
    await expect(store.read(key)).rejects.toMatchObject({ code: 'store_corrupt', remedy: 'fix', detail: { path } })
    await expect(store.update(key, () => apiKey('two'))).rejects.toMatchObject({ code: 'store_corrupt' })
    expect(await readFile(path)).toEqual(bytes)
    expect(await store.recover({ startEmpty: true })).toMatchObject({ state: 'valid', entries: 0 })
    expect((await readdir(dirname(path))).some((name) => name.includes('.corrupt-'))).toBe(true)
  })

  test('of a newer version: is neither read nor repaired', async () => {
    await write('one')
    const newer = '{"version":2,"credentials":{"a":"b"}}'
    await writeFile(path, newer)
    await expect(read()).rejects.toMatchObject({ code: 'store_corrupt' })
    await expect(write('two')).rejects.toMatchObject({ code: 'store_corrupt' })
    expect(await readFile(path, 'utf8')).toBe(newer)
  })

  test('removed altogether: is restored', async () => {
    await write('one')
    await rm(path)
    expect(await read()).toBe('one')
  })

  test('a logout is not undone by a recovery', async () => {
    await write('one')
    const store = await openStore({ path })
    await store.update(key, () => null)
    await truncate(path)
    expect(await read()).toBeUndefined()
  })

  test('is recovered once, whoever asks at the same time, and a commit goes on beside it', async () => {
    await write('one')
    await truncate(path)
    const store = await openStore({ path })
    const events: StoreEvent[] = []
    store.watch((event) => events.push(event))
    const other = { provider: 'other', account: 'default' }
    await Promise.all([
      ...Array.from({ length: 8 }, () => store.read(key)),
      store.update(other, () => ({ ...apiKey('two'), ...other })),
    ])
    expect(events.filter(({ type }) => type === 'recovered')).toHaveLength(1)
    expect((await store.list()).length).toBe(2)
  })

  test('keeps the newest five of the damaged files', async () => {
    for (let round = 0; round < 7; round++) {
      await write(`value ${round}`)
      await truncate(path)
      expect(await read()).toBe(`value ${round}`)
    }
    const kept = (await readdir(dirname(path))).filter((name) => name.includes('.corrupt-'))
    expect(kept.length).toBe(5)
  })
})

describe('a writer that dies', () => {
  test('before any one operation of a commit: the file is the old or the new one, and the next writer goes on', async () => {
    const outcomes: (string | undefined)[] = []
    for (let nth = 1; ; nth++) {
      await rm(dirname(path), { recursive: true, force: true })
      await write('old')
      const { files, wasReached } = stoppedBefore(nth)
      const outcome = await write('new', files).then(
        () => 'acknowledged',
        (error: unknown) => error,
      )
      if (!wasReached()) break
      expect((await stat(path)).nlink).toBe(1)
      const found = await read()
      if (outcome === 'acknowledged') expect(found).toBe('new')
      else expect(outcome).toBeInstanceOf(Stopped)
      outcomes.push(found)
      await write('next')
      expect(await read()).toBe('next')
      expect(await leftovers()).toEqual([])
    }
    expect(outcomes.length).toBeGreaterThan(8)
    expect(new Set(outcomes)).toEqual(new Set(['old', 'new']))
    // Once the new one is visible, it stays so: there is no operation that takes it back.
    expect(outcomes.lastIndexOf('old')).toBeLessThan(outcomes.indexOf('new'))
  })

  test('before any one operation of a recovery: the next reader recovers', async () => {
    for (let nth = 1; ; nth++) {
      await rm(dirname(path), { recursive: true, force: true })
      await write('old')
      await truncate(path)
      const { files, wasReached } = stoppedBefore(nth)
      const dying = new CredentialStore(fileBackend({ path, files, owner: deadOwner })).read(key)
      await dying.catch(() => undefined)
      expect(await read()).toBe('old')
      if (!wasReached()) break
    }
  })
})

describe('a system call that fails', () => {
  const codes = ['ENOSPC', 'EIO', 'EROFS', 'EACCES', 'EDQUOT', 'EMFILE']

  test.each(codes)('%s at any one of them: rejected and old, or told and new', async (code) => {
    for (let nth = 1; ; nth++) {
      await rm(dirname(path), { recursive: true, force: true })
      await write('old')
      let count = 0
      let failed: Operation | undefined
      const files = watchedFiles((operation) => {
        if (!changing.has(operation) || ++count !== nth) return
        failed = operation
        throw systemError(code)
      })
      const outcome = await write('new', files).then(
        () => 'resolved',
        (error: unknown) => error,
      )
      if (failed === undefined) break
      const found = await read()
      if (outcome === 'resolved') {
        expect(found).toBe('new')
      } else {
        expect(outcome).toMatchObject({ code: expect.stringMatching(/^(store_failed|write_indeterminate)$/) as string })
        expect(found).toBe(failed === 'fsyncDirectory' ? 'new' : 'old')
        expect((await readFile(`${path}.bak`, 'utf8')).length).toBeGreaterThan(10)
      }
      await write('next')
      expect(await read()).toBe('next')
      expect(await leftovers()).toEqual([])
    }
  })

  test('short writes are carried on to the end', async () => {
    const files = watchedFiles(() => undefined)
    const byteByByte: FileOperations = {
      ...files,
      write: (fd, bytes, offset, position) => files.write(fd, bytes.subarray(0, offset + 1), offset, position),
    }
    await write('one', byteByByte)
    expect(await read()).toBe('one')
  })

  test('a size that is not what was written is an error, not a file', async () => {
    await write('old')
    const files = watchedFiles(() => undefined)
    const lying: FileOperations = { ...files, write: (_fd, bytes, offset) => bytes.byteLength - offset }
    await expect(write('new', lying)).rejects.toMatchObject({ code: 'store_failed', detail: { errno: 'ENOSPC' } })
    expect(await read()).toBe('old')
  })

  test('after EIO at fsync the bytes go to another file', async () => {
    const synced: unknown[] = []
    const created: unknown[] = []
    const files = watchedFiles((operation, args) => {
      if (operation === 'create') created.push(args[0])
      if (operation === 'fsync' && synced.push(args[0]) === 1) throw systemError('EIO')
    })
    await write('one', files)
    // The file and its copy, and both once more.
    expect(created.length).toBe(4)
    expect(new Set(created).size).toBe(4)
    expect(synced.length).toBe(4)
    expect(await read()).toBe('one')
  })

  test('a file system that knows no directory sync is as durable as it is', async () => {
    const files = watchedFiles((operation) => {
      if (operation === 'fsyncDirectory') throw systemError('EINVAL')
    })
    await write('one', files)
    expect(await read()).toBe('one')
  })

  test('a foreign program that writes between our read and our rename is not overwritten', async () => {
    await write('old')
    let isDone = false
    const { writeFileSync, readFileSync } = await import('node:fs')
    const files = watchedFiles((operation) => {
      if (operation !== 'fsync' || isDone) return
      isDone = true
      const document = JSON.parse(readFileSync(path, 'utf8')) as { credentials: Record<string, unknown> }
      document.credentials['foreign:me'] = { type: 'api_key', key: 'theirs' }
      writeFileSync(path, JSON.stringify(document))
    })
    await write('new', files)
    expect(await read()).toBe('new')
    const foreign = await (await openStore({ path })).read({ provider: 'foreign', account: 'me' })
    expect(foreign).toMatchObject({ type: 'api_key' })
  })
})

describe('a lock whose release fails', () => {
  test.each(['unlink', 'rmdir'] as const)(
    'at %s: the next commit of this process goes on at once',
    async (operation) => {
      await write('old')
      let isArmed = false
      const files = watchedFiles((name, args) => {
        if (!isArmed || name !== operation || !String(args[0]).includes('.lock')) return
        isArmed = false
        throw systemError('EIO')
      })
      const acknowledged: FileOperations = {
        ...files,
        async fsyncDirectory(directory) {
          await files.fsyncDirectory(directory)
          isArmed = true
        },
      }
      const store = new CredentialStore(fileBackend({ path, files: acknowledged }))
      for (const value of ['one', 'two', 'three']) await store.update(key, () => apiKey(value))
      expect(await read()).toBe('three')
    },
  )
})
