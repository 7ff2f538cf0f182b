import { readFile, rm, stat, writeFile } from 'node:fs/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { TokenBroker } from '../../src/broker/broker.ts'
import { fingerprint, keyName } from '../../src/credential.ts'
import { memoryBackend } from '../../src/store/backend.ts'
import { parseSpent, printSpent, withSpent } from '../../src/store/spent.ts'
import { type CredentialStore, openStore } from '../../src/store/store.ts'
import { key, type Stage, setStage } from './stage.ts'

let stage: Stage
beforeEach(async () => {
  stage = await setStage()
  await stage.login()
  await stage.expire()
  stage.server.reset()
})
afterEach(() => stage.stop())

/** As another process would open it: it remembers nothing. */
async function elsewhere(): Promise<{ store: CredentialStore; broker: TokenBroker }> {
  const store = await openStore({ path: stage.path })
  return { store, broker: stage.newBroker({ store }) }
}

describe('an old state of the file that somebody writes back in place', () => {
  test('is healed from the second copy: its refresh token is not sent again, and nobody has to log in', async () => {
    const old = await readFile(stage.path)
    await stage.broker.getToken(stage.urls.files)
    const { generation } = (await stage.credential()).grant
    await writeFile(stage.path, old)
    const { store, broker } = await elsewhere()
    expect((await broker.getToken(stage.urls.files)).scopes).toEqual(['files:read'])
    expect((await stage.credential()).grant.generation).toBeGreaterThanOrEqual(generation)
    await stage.expire()
    expect((await broker.getToken(stage.urls.files)).scopes).toEqual(['files:read'])
    expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 2 }, reuse: 0, revoked: 0 })
    await broker.close()
    await store.close()
  })

  test('with no newer copy: it is said what has happened, nothing is sent, and a login ends it', async () => {
    const [old, oldCopy] = await Promise.all([readFile(stage.path), readFile(`${stage.path}.bak`)])
    await stage.broker.getToken(stage.urls.files)
    await writeFile(stage.path, old)
    await writeFile(`${stage.path}.bak`, oldCopy)
    const { store, broker } = await elsewhere()
    for (let attempt = 0; attempt < 3; attempt++) {
      await expect(broker.getToken(stage.urls.files)).rejects.toMatchObject({
        code: 'refresh_interrupted',
        remedy: 'authorize',
        detail: { stage: 'rolled_back' },
      })
    }
    expect(stage.server.counts()).toMatchObject({ arrived: 1, reuse: 0, revoked: 0 })
    await stage.login()
    await stage.expire()
    expect((await broker.getToken(stage.urls.files)).scopes).toEqual(['files:read'])
    await broker.close()
    await store.close()
  })

  test('costs nobody a token that still lives', async () => {
    await stage.broker.getToken(stage.urls.files)
    const [old, oldCopy] = await Promise.all([readFile(stage.path), readFile(`${stage.path}.bak`)])
    const forLong = { minTtlMs: 24 * 3_600_000 }
    await stage.broker.getToken(stage.urls.files, forLong)
    await writeFile(stage.path, old)
    await writeFile(`${stage.path}.bak`, oldCopy)
    expect((await stage.broker.getToken(stage.urls.files, forLong)).scopes).toEqual(['files:read'])
    expect(stage.server.counts()).toMatchObject({ arrived: 2, reuse: 0 })
  })

  test('is known for what it is by who did the refresh, also where the memory beside the file is gone', async () => {
    const old = await readFile(stage.path)
    await stage.broker.getToken(stage.urls.files)
    for (const suffix of ['.spent', '.bak']) await rm(stage.path + suffix)
    await writeFile(stage.path, old)
    await expect(stage.broker.getToken(stage.urls.files)).rejects.toMatchObject({ code: 'refresh_interrupted' })
    expect(stage.server.counts()).toMatchObject({ arrived: 1, reuse: 0 })
  })
})

test('the memory is private and holds no token', async () => {
  const before = await stage.credential()
  await stage.broker.getToken(stage.urls.files)
  const path = `${stage.path}.spent`
  const text = await readFile(path, 'utf8')
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  if (before.grant.refreshToken === null) throw new Error('no refresh token')
  expect(text).toContain(fingerprint(before.grant.refreshToken))
  expect(text).not.toContain(before.grant.refreshToken.reveal())
})

test('other backends remember it under a reserved key, and forget it with none of their entries', async () => {
  const backend = memoryBackend()
  const store = await openStore({ backend })
  const login = await stage.credential()
  await store.update(key, () => login)
  const before = await backend.read(keyName(key))
  const broker = stage.newBroker({ store })
  await broker.getToken(stage.urls.files)
  const now = await backend.read(keyName(key))
  await backend.commit([{ key: keyName(key), next: before?.value ?? null, expected: now?.revision ?? null }])
  const another = stage.newBroker({ store: await openStore({ backend }) })
  await expect(another.getToken(stage.urls.files)).rejects.toMatchObject({ code: 'refresh_interrupted' })
  expect(stage.server.counts()).toMatchObject({ arrived: 1, reuse: 0 })
  expect((await store.list()).map(({ account }) => account)).toEqual(['default'])
})

describe('the list of what is spent', () => {
  const print = (n: number): string => String(n).padStart(22, 'x')

  test('keeps the newest, each once', () => {
    let spent = parseSpent('')
    for (const n of [1, 2, 1, 3]) spent = withSpent(spent, print(n), n, 2)
    expect([...spent.keys()]).toEqual([print(1), print(3)])
    expect(parseSpent(printSpent(spent))).toEqual(spent)
  })

  test('is read as far as it makes sense', () => {
    expect([...parseSpent(`\0\0\n${print(1)} 5\nnonsense\n${print(2)}`)]).toEqual([[print(1), 5]])
  })
})
