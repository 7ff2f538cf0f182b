import { describe, expect, test } from 'vitest'
import { type ApiKeyCredential, Secret } from '../../src/credential.ts'
import { AuthkeepError } from '../../src/errors.ts'
import { memoryBackend, type StoreBackend } from '../../src/store/backend.ts'
import { CredentialStore, openStore } from '../../src/store/store.ts'

const key = { provider: 'counter', account: 'default' }
const count = (value: number): ApiKeyCredential => ({ type: 'api_key', ...key, key: new Secret(String(value)) })

async function add(store: CredentialStore): Promise<void> {
  await store.update(key, (current) => count(current?.type === 'api_key' ? Number(current.key.reveal()) + 1 : 1))
}

async function value(store: CredentialStore): Promise<string | undefined> {
  const credential = await store.read(key)
  return credential?.type === 'api_key' ? credential.key.reveal() : undefined
}

/** A backend whose answer to the `nth` commit is lost, before or after it was carried out. */
function losing(
  backend: StoreBackend,
  nth: number,
  moment: 'before' | 'after',
  between?: () => Promise<void>,
): StoreBackend {
  let commits = 0
  return {
    ...backend,
    async commit(changes) {
      if (++commits !== nth) return backend.commit(changes)
      if (moment === 'after') await backend.commit(changes)
      await between?.()
      throw new AuthkeepError('write_indeterminate', { key: changes[0]?.key ?? '' })
    },
  }
}

describe('an answer that is lost in the middle of a commit', () => {
  test.each(['before', 'after'] as const)('%s it was carried out: the change is made exactly once', async (moment) => {
    const store = new CredentialStore(losing(memoryBackend(), 2, moment))
    for (let n = 0; n < 3; n++) await add(store)
    expect(await value(store)).toBe('3')
  })

  test('and somebody else commits in between: both changes are there', async () => {
    const backend = memoryBackend()
    const other = new CredentialStore(backend)
    const store = new CredentialStore(losing(backend, 1, 'before', () => add(other)))
    await add(store)
    expect(await value(store)).toBe('2')
  })

  test('of a delete is settled too', async () => {
    const store = new CredentialStore(losing(memoryBackend(), 2, 'after'))
    await add(store)
    await store.update(key, () => null)
    expect(await value(store)).toBeUndefined()
  })
})

describe('a store', () => {
  test('changes several entries together or not at all', async () => {
    const store = await openStore({ backend: memoryBackend() })
    const keys = ['a', 'b'].map((account) => ({ provider: 'p', account }))
    const entry = (account: string): ApiKeyCredential => ({
      type: 'api_key',
      provider: 'p',
      account,
      key: new Secret('k'),
    })
    await store.updateAll(
      keys,
      () =>
        new Map([
          ['p:a', entry('a')],
          ['p:b', entry('b')],
        ]),
    )
    expect((await store.list()).map(({ account }) => account)).toEqual(['a', 'b'])
    const refused = store.updateAll(
      keys,
      () =>
        new Map([
          ['p:a', null],
          ['p:c', entry('c')],
        ]),
    )
    await expect(refused).rejects.toThrow(TypeError)
    expect((await store.list()).length).toBe(2)
  })

  test('refuses what it could not read again, and stays as it was', async () => {
    const store = await openStore({ backend: memoryBackend() })
    await add(store)
    const wrong = { ...count(2), key: 7 } as unknown as ApiKeyCredential
    await expect(store.update(key, () => wrong)).rejects.toThrow(TypeError)
    await expect(store.update(key, () => ({ ...count(2), account: 'other' }))).rejects.toThrow(TypeError)
    await expect(store.read({ provider: 'a:b', account: 'x' })).rejects.toThrow(TypeError)
    expect(await value(store)).toBe('1')
  })

  test('undefined leaves an entry, null deletes it', async () => {
    const store = await openStore({ backend: memoryBackend() })
    await add(store)
    expect(await store.update(key, () => undefined)).toMatchObject({ type: 'api_key' })
    expect(await store.update(key, () => null)).toBeNull()
    expect(await store.read(key)).toBeNull()
  })

  test('a listener that throws fails no commit', async () => {
    const store = await openStore({ backend: memoryBackend() })
    const thrown: unknown[] = []
    const listeners = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    process.once('uncaughtException', (error) => thrown.push(error))
    try {
      store.watch(() => {
        throw new Error('the listener')
      })
      await add(store)
      await new Promise((resolve) => setImmediate(resolve))
    } finally {
      for (const listener of listeners) process.on('uncaughtException', listener)
    }
    expect(await value(store)).toBe('1')
    expect(thrown).toHaveLength(1)
  })

  test('waiting can be aborted, and ends when the entry changes', async () => {
    const store = await openStore({ backend: memoryBackend() })
    await add(store)
    const seen = await store.read(key)
    const controller = new AbortController()
    const waiting = store.waitForChange(key, seen, { timeoutMs: 20_000, signal: controller.signal })
    controller.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
    const other = store.waitForChange(key, await store.read(key), { timeoutMs: 20_000 })
    await add(store)
    await other
    await store.waitForChange(key, count(99), { timeoutMs: 20_000 })
  })
})

describe('an entry', () => {
  test('is read once for each state of the store', async () => {
    const memory = memoryBackend()
    let reads = 0
    const backend = { ...memory, read: (name: string) => (reads++, memory.read(name)) }
    const [store, other] = [new CredentialStore(backend), new CredentialStore(memory)]
    await add(other)
    const first = await store.read(key)
    expect(await store.read(key)).toBe(first)
    expect(reads).toBe(1)
    await add(other)
    expect(await value(store)).toBe('2')
    await other.update(key, () => null)
    expect(await store.read(key)).toBeNull()
  })

  test('that is changed while it is read is read again', async () => {
    const memory = memoryBackend()
    const other = new CredentialStore(memory)
    await add(other)
    let isRead = false
    const store = new CredentialStore({
      ...memory,
      async read(name: string) {
        const entry = await memory.read(name)
        if (!isRead) await add(other)
        isRead = true
        return entry
      },
    })
    expect(await value(store)).toBe('1')
    expect(await value(store)).toBe('2')
  })
})

describe('the list of entries', () => {
  const entry = (provider: string): ApiKeyCredential => ({ ...count(1), provider })

  test('is made once for each state of the store, whoever has changed it', async () => {
    const memory = memoryBackend()
    let reads = 0
    const backend = { ...memory, read: (name: string) => (reads++, memory.read(name)) }
    const [store, other] = [new CredentialStore(backend), new CredentialStore(memory)]
    for (const provider of ['a', 'b', 'c']) await other.update(entry(provider), () => entry(provider))
    expect(await store.list({ provider: 'b' })).toHaveLength(1)
    const before = reads
    for (const provider of ['a', 'b', 'd']) await store.list({ provider })
    expect(await store.list()).toHaveLength(3)
    expect(reads).toBe(before)
    await other.update(entry('d'), () => entry('d'))
    expect(await store.list({ provider: 'd' })).toHaveLength(1)
    await other.update(entry('b'), () => null)
    expect(await store.list({ provider: 'b' })).toEqual([])
  })

  test('is made anew where the backend cannot tell', async () => {
    const { version: _, ...memory } = memoryBackend() as StoreBackend & { version?: unknown }
    const [store, other] = [new CredentialStore(memory), new CredentialStore(memory)]
    expect(await store.list()).toEqual([])
    await other.update(entry('a'), () => entry('a'))
    expect(await store.list()).toHaveLength(1)
  })
})

describe('what is remembered under a reserved name', () => {
  const name = ':issuer:https://as.example'

  test('is changed by compare-and-swap, and is no credential', async () => {
    const backend = memoryBackend()
    const [store, other] = [new CredentialStore(backend), new CredentialStore(backend)]
    const seen: (number | null)[] = []
    await store.updateState(name, () => ({ uses: 0 }))
    const count = (by: CredentialStore): Promise<unknown> =>
      by.updateState(name, (current) => {
        seen.push(Number(current?.['uses']))
        return { ...current, uses: Number(current?.['uses']) + 1 }
      })
    await Promise.all([count(store), count(other), count(store)])
    expect(await other.readState(name)).toMatchObject({ uses: 3 })
    expect(seen.length).toBeGreaterThan(3)
    expect(await store.list()).toEqual([])
  })

  test('is left alone by undefined and forgotten by null', async () => {
    const store = new CredentialStore(memoryBackend())
    await store.updateState(name, () => ({ narrowing: 'honoured' }))
    expect(await store.updateState(name, () => undefined)).toMatchObject({ narrowing: 'honoured' })
    expect(await store.updateState(name, () => null)).toBeNull()
    expect(await store.readState(name)).toBeNull()
  })

  test('cannot be a credential', async () => {
    const store = new CredentialStore(memoryBackend())
    await expect(store.readState('demo:default')).rejects.toThrow(TypeError)
    await expect(store.updateState('demo:default', () => ({}))).rejects.toThrow(TypeError)
  })
})
