import { readFileSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type ApiKeyCredential, Secret } from '../../src/credential.ts'
import { decodeBlank, encodeBlank } from '../../src/store/blank.ts'
import { fileBackend } from '../../src/store/file.ts'
import type { FileOperations } from '../../src/store/file-operations.ts'
import { settledBytes } from '../../src/store/in-place.ts'
import { CredentialStore } from '../../src/store/store.ts'
import { changing, deadOwner, Stopped, systemError, watchedFiles } from './files.ts'

let directory: string
let path: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'authkeep-'))
  path = join(directory, 'auth.json')
  await writeFile(path, '{"version":1,"credentials":{}}', { mode: 0o600 })
})
afterEach(() => rm(directory, { recursive: true }))

const key = { provider: 'openai', account: 'default' }
const apiKey = (value: string): ApiKeyCredential => ({ type: 'api_key', ...key, key: new Secret(value) })

/** The file as a container sees one that is mounted by itself: nothing can be renamed over it. */
function mounted(before: Parameters<typeof watchedFiles>[0] = () => undefined): FileOperations {
  const files = watchedFiles((operation, args) => {
    before(operation, args)
    if (operation === 'rename' && args[1] === path) throw systemError('EBUSY')
  })
  return { ...files, isMountPoint: () => true }
}

function open(files: FileOperations = mounted(), owner = deadOwner): CredentialStore {
  return new CredentialStore(fileBackend({ path, files, owner, staleLockMs: 300 }))
}

async function read(): Promise<string | undefined> {
  const credential = await new CredentialStore(fileBackend({ path, staleLockMs: 300 })).read(key)
  return credential?.type === 'api_key' ? credential.key.reveal() : undefined
}

/** What a program sees that knows nothing of us. */
function plainRead(): string | undefined {
  const document = JSON.parse(readFileSync(path, 'utf8')) as {
    credentials: Record<string, { key: string } | undefined>
  }
  return document.credentials['openai:default']?.key
}

describe('a file that is mounted by itself', () => {
  test('is written in place: the inode stays, and no copy beside it grows old', async () => {
    const { ino } = await stat(path)
    const store = open()
    for (const value of ['one', 'a much longer value '.repeat(100), 'two']) {
      await store.update(key, () => apiKey(value))
      expect([await read(), plainRead()]).toEqual([value, value])
    }
    expect(store.exclusion).toBe('none')
    expect((await stat(path)).ino).toBe(ino)
    expect(await readdir(directory)).toEqual(['auth.json'])
    expect((await stat(path)).size).toBe(4096)
  })

  test('is found out by the first rename, where the system does not tell', async () => {
    const silent: FileOperations = { ...mounted(), isMountPoint: () => false }
    const store = open(silent)
    expect(store.exclusion).toBe('cas')
    await store.update(key, () => apiKey('one'))
    expect(store.exclusion).toBe('none')
    expect([await read(), plainRead()]).toEqual(['one', 'one'])
    expect(await readdir(directory)).toEqual(['auth.json'])
  })

  test.each([
    ['longer', 'short', 'long '.repeat(500)],
    ['shorter', 'long '.repeat(500), 'short'],
  ])(
    'a writer that dies at any operation, with a %s successor: old or new, for every JSON reader',
    async (_, old, next) => {
      const outcomes: (string | undefined)[] = []
      for (let nth = 1; ; nth++) {
        await writeFile(path, '{"version":1,"credentials":{}}')
        const store = open()
        await store.update(key, () => apiKey(old))
        let count = 0
        const dying = open(
          mounted((operation) => {
            if (changing.has(operation) || operation === 'write' || operation === 'truncate') count++
            if (count >= nth) throw new Stopped()
          }),
        )
        const outcome = await dying
          .update(key, () => apiKey(next))
          .then(
            () => 'acknowledged',
            () => 'died',
          )
        if (count < nth) break
        expect([old, next]).toContain(plainRead())
        const found = await read()
        if (outcome === 'acknowledged') expect(found).toBe(next)
        outcomes.push(found)
        await open().update(key, () => apiKey('after'))
        expect([await read(), plainRead()]).toEqual(['after', 'after'])
      }
      expect(new Set(outcomes)).toEqual(new Set([old, next]))
      expect(outcomes.lastIndexOf(old)).toBeLessThan(outcomes.indexOf(next))
    },
  )

  test('a head that was torn while it was overwritten is made whole by the journal', async () => {
    const store = open()
    await store.update(key, () => apiKey('old '.repeat(600)))
    let torn = 0
    const files = mounted()
    const tearing: FileOperations = {
      ...files,
      write(fd, bytes, offset, position) {
        if (position !== 0 || !Buffer.from(bytes).includes('new')) return files.write(fd, bytes, offset, position)
        torn++
        files.write(fd, bytes.subarray(0, 1024), 0, 0)
        throw new Stopped()
      },
    }
    await open(tearing)
      .update(key, () => apiKey('new '.repeat(600)))
      .catch(() => undefined)
    expect(torn).toBe(1)
    expect(() => plainRead()).not.toThrow(TypeError)
    expect(await read()).toBe('new '.repeat(600))
  })

  test('a disk that is full while the journal is written: the old document stands as it was', async () => {
    const store = open()
    await store.update(key, () => apiKey('old'))
    const before = await readFile(path)
    const files = mounted()
    const full: FileOperations = {
      ...files,
      write(fd, bytes, offset, position) {
        if (position === 0) return files.write(fd, bytes, offset, position)
        throw systemError('ENOSPC')
      },
    }
    await expect(open(full).update(key, () => apiKey('new'))).rejects.toMatchObject({
      code: 'store_failed',
      detail: { errno: 'ENOSPC' },
    })
    expect(await readFile(path)).toEqual(before)
  })

  test('a foreign edit behind a journal wins over it', async () => {
    const store = open()
    await store.update(key, () => apiKey('old'))
    const stopped = open(
      mounted((operation, args) => {
        if (operation === 'write' && args[3] === 0 && String(args[1]).includes('new')) throw new Stopped()
      }),
    )
    await stopped.update(key, () => apiKey('new')).catch(() => undefined)
    expect(await read()).toBe('new')
    const bytes = await readFile(path)
    const foreign = Buffer.from(
      JSON.stringify({ version: 1, credentials: { 'openai:default': { type: 'api_key', key: 'foreign' } } }),
    )
    foreign.copy(bytes, 0)
    bytes.fill(' '.charCodeAt(0), foreign.byteLength, bytes.indexOf('}\n') + 2)
    await writeFile(path, bytes)
    expect(await read()).toBe('foreign')
  })
})

describe('white space that carries bytes', () => {
  test('comes back as it went, and no JSON parser sees it', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const blank = encodeBlank(bytes)
        expect(JSON.parse(`{"a":1}${blank.toString('latin1')}`)).toEqual({ a: 1 })
        expect(decodeBlank(blank)).toEqual(Buffer.from(bytes))
      }),
    )
  })

  test('a file without a journal is what it is, whatever stands at its end', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(' ', '\n', '\t', '\r'), { maxLength: 400 }), (blanks) => {
        const bytes = Buffer.from(`{"a":1}${blanks.join('')}`)
        expect(settledBytes(bytes)).toEqual(bytes)
      }),
    )
  })
})

test('a journal left by a long document does not hide the one of a short successor', async () => {
  await open().update(key, () => apiKey('long '.repeat(3_000)))
  const stopped = open(
    mounted((operation, args) => {
      if (operation === 'write' && args[3] === 0 && String(args[1]).includes('short-1')) throw new Stopped()
    }),
  )
  await stopped.update(key, () => apiKey('short-1')).catch(() => undefined)
  expect(await read()).toBe('short-1')
  let writesAtHead = 0
  const again = open(
    mounted((operation, args) => {
      if (operation === 'write' && args[3] === 0 && ++writesAtHead === 2) throw new Stopped()
    }),
  )
  await again.update(key, () => apiKey('short-2')).catch(() => undefined)
  expect(writesAtHead).toBe(2)
  expect(await read()).toBe('short-2')
})
