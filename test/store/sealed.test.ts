import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest'
import { type Credential, type JsonObject, Secret } from '../../src/credential.ts'
import { AuthkeepError } from '../../src/errors.ts'
import { memoryBackend } from '../../src/store/backend.ts'
import { storeContract } from '../../src/store/contract.ts'
import { fileBackend } from '../../src/store/file.ts'
import { sealed } from '../../src/store/sealed.ts'
import { environmentKeys, fileKeys, passphraseKeys, severalKeys, wrappedKeys } from '../../src/store/sealing-keys.ts'
import { openStore } from '../../src/store/store.ts'
import { setStage } from '../broker/stage.ts'
import { Worker } from '../e2e/process.ts'

let directory: string
let path: string
let keys: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'authkeep-sealed-'))
  path = join(directory, 'store', 'auth.json')
  keys = join(directory, 'keys')
})
afterEach(() => rm(directory, { recursive: true }))

const newKey = (): string => randomBytes(32).toString('base64url')
const variable = (...all: readonly string[]) => environmentKeys('KEYS', { KEYS: all.join(' ') })
const change = (key: string, next: JsonObject | null, expected: string | null = null) => [{ key, next, expected }]
const apiKey = (account: string, secret: string): Credential => ({
  ...{ type: 'api_key', provider: 'p', account, key: new Secret(secret) },
})

describe.each([
  ['the memory backend', () => memoryBackend()],
  ['the file backend', () => fileBackend({ path })],
] as const)('%s, sealed, keeps the contract:', (name, make) => {
  test.each(storeContract)('$name', async (rule) => {
    const provider = variable(newKey())
    const one = sealed(make(), provider)
    // Memory is one place for one object; every handle on a file is of its own.
    await rule.run({ open: async () => (name.includes('file') ? sealed(make(), provider) : one) })
  })
})

describe('a sealed store', () => {
  it('holds no secret in the clear, in no file, and hands out every token', async () => {
    const stage = await setStage({ backend: sealed(fileBackend({ path }), fileKeys(keys)) })
    try {
      await stage.login()
      await stage.expire()
      const token = await stage.broker.getToken(stage.urls.files)
      const { grant, tokens, idToken } = await stage.credential()
      const secrets = [grant.refreshToken, idToken, ...tokens.map(({ accessToken }) => accessToken)].map(
        (secret) => secret?.reveal() ?? '',
      )
      expect(secrets).toContain(token.reveal())
      expect(secrets.length).toBeGreaterThan(2)
      for (const name of await readdir(join(directory, 'store'))) {
        const text = await readFile(join(directory, 'store', name), 'utf8').catch(() => '')
        for (const secret of secrets) expect(text, name).not.toContain(secret)
      }
      const file = JSON.parse(await readFile(path, 'utf8')) as { credentials: Record<string, JsonObject> }
      expect(file.credentials['demo:default']).toMatchObject({
        ...{
          type: 'oauth',
          issuer: stage.server.issuer,
          grant: { generation: 2, scopes: expect.any(Array) as unknown },
        },
        sealed: expect.stringMatching(/^[\w-]+\.\.[\w-]+\.[\w-]+\.[\w-]+$/) as unknown,
      })
      expect((await stat(keys)).mode & 0o777).toBe(0o600)
      expect(await stage.store.verify()).toMatchObject({ state: 'valid', copy: 'valid', unreadable: [] })
    } finally {
      await stage.stop()
    }
  })

  it('reads an entry in the clear, and seals it with its next change', async () => {
    const plain = await openStore({ path })
    await plain.update({ provider: 'p', account: 'a' }, () => apiKey('a', 'sk-a'))
    await plain.close()
    const store = await openStore({ backend: sealed(fileBackend({ path }), fileKeys(keys)) })
    const change = (current: Credential | null): Credential | undefined =>
      current === null ? undefined : { ...current, metadata: { seen: true } }
    expect(await store.update({ provider: 'p', account: 'a' }, change)).toMatchObject({ metadata: { seen: true } })
    expect(await readFile(path, 'utf8')).not.toContain('sk-a')
    await store.close()
  })

  const spoiled: readonly (readonly [string, (a: JsonObject, b: JsonObject, old: JsonObject) => JsonObject])[] = [
    [
      'altered',
      (a) => ({ ...a, sealed: (a['sealed'] as string).replace(/.(?=.{10}$)/, (c) => (c === 'A' ? 'B' : 'A')) }),
    ],
    ['another entry’s', (a, b) => ({ ...a, sealed: b['sealed'] ?? '' })],
    ['an earlier one of this entry', (a, _, old) => ({ ...a, sealed: old['sealed'] ?? '' })],
    ['no JWE', (a) => ({ ...a, sealed: 'text' })],
  ]
  it.each(spoiled)('refuses a sealed part that is %s, and changes nothing', async (what, spoil) => {
    const memory = memoryBackend()
    const store = await openStore({ backend: sealed(memory, variable(newKey())) })
    const [a, b] = [
      { provider: 'p', account: 'a' },
      { provider: 'p', account: 'b' },
    ]
    await store.update(a, () => apiKey('a', 'sk-old'))
    const old = (await memory.read('p:a'))?.value ?? {}
    await store.update(a, () => apiKey('a', 'sk-a'))
    await store.update(b, () => apiKey('b', 'sk-b'))
    const [now, other] = [await memory.read('p:a'), await memory.read('p:b')]
    await memory.commit(change('p:a', spoil(now?.value ?? {}, other?.value ?? {}, old), now?.revision))
    const before = await memory.read('p:a')
    const code = what === 'no JWE' ? 'key_missing' : 'store_corrupt'
    await expect(store.read(a)).rejects.toMatchObject({ code })
    await expect(store.update(a, () => apiKey('a', 'sk-new'))).rejects.toMatchObject({ code })
    expect(await memory.read('p:a')).toEqual(before)
    expect((await store.list()).map(({ account, type }) => [account, type])).toEqual([
      ['a', 'unreadable'],
      ['b', 'api_key'],
    ])
  })

  it('refuses the sealed part of another entry also where commits have no name', async () => {
    const memory = memoryBackend()
    const backend = sealed(memory, variable(newKey()))
    await backend.commit([...change('p:a', { key: 'sk-a' }), ...change('p:b', { key: 'sk-b' })])
    const [a, b] = [await memory.read('p:a'), await memory.read('p:b')]
    await memory.commit(change('p:a', b?.value ?? null, a?.revision))
    await expect(backend.read('p:a')).rejects.toMatchObject({ code: 'store_corrupt' })
  })

  it('without its key is an error that names it: no new key, nothing in the clear, nothing changed', async () => {
    const memory = memoryBackend()
    const [first, second] = [newKey(), newKey()]
    const store = await openStore({ backend: sealed(memory, variable(first)) })
    await store.update({ provider: 'p', account: 'a' }, () => apiKey('a', 'sk-a'))
    const before = [await memory.read('p:a'), await memory.read(':sealing')]
    for (const provider of [variable(), variable(second)]) {
      const other = await openStore({ backend: sealed(memory, provider) })
      for (const account of ['a', 'b']) {
        const call = other.update({ provider: 'p', account }, () => apiKey(account, 'sk-new'))
        await expect(call).rejects.toMatchObject({ code: 'key_missing', remedy: 'fix' })
      }
    }
    const bare = await openStore({ backend: memory })
    await expect(bare.read({ provider: 'p', account: 'a' })).rejects.toMatchObject({ code: 'key_missing' })
    expect([await memory.read('p:a'), await memory.read(':sealing')]).toEqual(before)
    expect(await memory.keys()).toEqual([':sealing', 'p:a'])
  })
})

describe('the keys of a sealed store', () => {
  it('are one, however many processes begin at once', async () => {
    const names = Array.from({ length: 8 }, (_, n) => `n${n}`)
    const workers = names.map((name) => new Worker('../store/sealer.mjs', { path, keys, does: 'fill', names: [name] }))
    await Promise.all(workers.map((worker) => worker.next()))
    await Promise.all(workers.map((worker) => worker.end()))
    const backend = sealed(fileBackend({ path }), fileKeys(keys))
    const store = await openStore({ backend })
    for (const name of names) {
      const found = await store.read({ provider: 'p', account: name })
      expect(found?.type === 'api_key' && found.key.reveal()).toBe(`sk-${name}`)
    }
    expect((await readFile(keys, 'utf8')).trim().split('\n')).toHaveLength(1)
    expect(await readdir(directory)).toEqual(['keys', 'store'])
    await store.close()
  })

  it('are rotated while others read and write; the old one can then be forgotten', async () => {
    const backend = sealed(fileBackend({ path }), fileKeys(keys))
    const store = await openStore({ backend })
    const other = await openStore({ backend: sealed(fileBackend({ path }), fileKeys(keys)) })
    const all = Array.from({ length: 20 }, (_, n) => ({ provider: 'p', account: `n${n}` }))
    await store.updateAll(all, () => new Map(all.map((key) => [`p:${key.account}`, apiKey(key.account, 'sk-1')])))
    const [was] = (await readFile(keys, 'utf8')).split('\n')
    const writing = Promise.all(all.map((key) => other.update(key, () => apiKey(key.account, 'sk-2'))))
    await Promise.all([backend.rotateKey(), writing])
    await backend.rotateKey()
    expect(await backend.forgetKeys()).toHaveLength(2)
    const [newest] = (await readFile(keys, 'utf8')).split('\n')
    expect(newest).not.toBe(was)
    await writeFile(keys, `${newest}\n`)
    const fresh = await openStore({ backend: sealed(fileBackend({ path }), fileKeys(keys)) })
    for (const key of all) {
      const found = await fresh.read(key)
      expect(found?.type === 'api_key' && found.key.reveal()).toBe('sk-2')
    }
    await Promise.all([store.close(), other.close(), fresh.close()])
  })

  it('that are being rotated by a process that is killed leave every entry readable, 20 times', async () => {
    const backend = sealed(fileBackend({ path }), fileKeys(keys))
    const store = await openStore({ backend })
    const all = Array.from({ length: 40 }, (_, n) => ({ provider: 'p', account: `n${n}` }))
    await store.updateAll(all, () => new Map(all.map((key) => [`p:${key.account}`, apiKey(key.account, 'sk')])))
    await store.close()
    for (let round = 0; round < 20; round++) {
      const worker = new Worker('../store/sealer.mjs', { path, keys, does: 'rotate' })
      await worker.next()
      await delay(Math.random() * 150)
      await worker.kill()
      const fresh = await openStore({ backend: sealed(fileBackend({ path }), fileKeys(keys)) })
      expect((await fresh.list()).filter(({ type }) => type !== 'api_key')).toEqual([])
      await fresh.close()
    }
  }, 120_000)

  it('made at the same time in one file are all kept', async () => {
    await mkdir(join(directory, 'store'), { recursive: true })
    const made = await Promise.all(
      Array.from({ length: 8 }, async (_, n) => {
        const provider = fileKeys(keys)
        // Each of them knows those that are there: it wants one of its own.
        const known = { has: () => true } as unknown as ReadonlySet<string>
        return n % 2 === 0 ? provider.create(known) : fileKeys(keys).create(known)
      }),
    )
    for (const { id, key } of made) expect(await fileKeys(keys).open(id, null)).toEqual(Buffer.from(key))
    expect((await readdir(directory)).sort()).toEqual(['keys', 'store'])
  })

  it('that wrap the store’s secrets outlive the return to an older state', async () => {
    const phrase = passphraseKeys(() => 'correct horse')
    const backend = sealed(fileBackend({ path }), phrase)
    const store = await openStore({ backend })
    const [a, b] = [
      { provider: 'p', account: 'a' },
      { provider: 'p', account: 'b' },
    ]
    await store.update(a, () => apiKey('a', 'sk-a'))
    // The first state that is worth keeping is kept now.
    await store.update(b, () => apiKey('b', 'sk-b'))
    await backend.rotateKey()
    await backend.forgetKeys()
    await store.update(b, () => null)
    const [older] = await store.backups()
    await store.restore(older?.id ?? '')
    await store.close()
    const fresh = await openStore({
      backend: sealed(
        fileBackend({ path }),
        passphraseKeys(() => 'correct horse'),
      ),
    })
    const found = await fresh.read(a)
    expect(found?.type === 'api_key' && found.key.reveal()).toBe('sk-a')
    await fresh.close()
  })

  it('may move to another place', async () => {
    const memory = memoryBackend()
    const [old, next] = [variable(newKey()), variable(newKey())]
    await sealed(memory, old).commit(change('p:a', { key: 'sk-a' }))
    expect(await sealed(memory, severalKeys(next, old)).rotateKey()).toMatchObject({ entries: 1 })
    expect((await sealed(memory, next).read('p:a'))?.value).toEqual({ key: 'sk-a' })
    const unreachable = { ...old, open: () => Promise.reject(new AuthkeepError('store_busy', { path: 'x' })) }
    await expect(sealed(memory, severalKeys(unreachable, old)).read('p:a')).rejects.toMatchObject({
      code: 'store_busy',
    })
  })

  it('that cannot be had back are not used', async () => {
    const memory = memoryBackend()
    const forgetful = { ...variable(newKey()), open: async () => null }
    await expect(sealed(memory, forgetful).commit(change('p:a', { key: 'k' }))).rejects.toMatchObject({
      code: 'key_missing',
    })
    expect(await memory.keys()).toEqual([])
  })

  it('are needed no more when all is in the clear', async () => {
    const memory = memoryBackend()
    const backend = sealed(memory, variable(newKey()))
    await backend.commit([...change('p:a', { key: 'sk-a' }), ...change('p:b', { type: 'token' })])
    expect(await backend.unsealAll()).toBe(1)
    expect((await memory.read('p:a'))?.value).toEqual({ key: 'sk-a' })
    expect(await backend.sealAll()).toMatchObject({ entries: 1 })
    expect((await memory.read('p:a'))?.value['key']).toBeUndefined()
  })

  it('made with a passphrase open with that only, and cost once a process', async () => {
    const memory = memoryBackend()
    let asked = 0
    const backend = sealed(
      memory,
      passphraseKeys(() => (asked++, 'correct horse')),
    )
    await backend.commit(change('p:a', { type: 'api_key', key: 'sk-a' }))
    for (let n = 0; n < 5; n++) await backend.read('p:a')
    expect(asked).toBe(1)
    const again = sealed(
      memory,
      passphraseKeys(() => 'correct horse'),
    )
    expect((await again.read('p:a'))?.value).toEqual({ type: 'api_key', key: 'sk-a' })
    await expect(
      sealed(
        memory,
        passphraseKeys(() => 'wrong'),
      ).read('p:a'),
    ).rejects.toMatchObject({ code: 'key_missing' })
    expect(JSON.stringify(await memory.read(':sealing'))).toContain('wrapped')
  })

  it('may be wrapped by a service', async () => {
    const memory = memoryBackend()
    const mask = randomBytes(32)
    const xor = (bytes: Uint8Array): Uint8Array => bytes.map((byte, n) => byte ^ (mask[n] ?? 0))
    const service = () =>
      wrappedKeys({
        name: 'the service',
        wrap: async (key) => Buffer.from(xor(key)).toString('base64url'),
        unwrap: async (wrapped) => xor(Buffer.from(wrapped, 'base64url')),
      })
    await sealed(memory, service()).commit(change('p:a', { type: 'token', token: 't' }))
    expect((await sealed(memory, service()).read('p:a'))?.value).toEqual({ type: 'token', token: 't' })
  })

  it.each(['', 'short', randomBytes(31).toString('hex')])('%j is none', async (text) => {
    const backend = sealed(memoryBackend(), environmentKeys('KEYS', { KEYS: text }))
    await expect(backend.commit(change('p:a', { key: 'k' }))).rejects.toMatchObject({ code: 'key_missing' })
    expect(await backend.keys()).toEqual([])
  })
})
