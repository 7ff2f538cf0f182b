import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { JsonObject } from '../../src/credential.ts'
import { memoryBackend, type StoreBackend } from '../../src/store/backend.ts'
import { fileBackend } from '../../src/store/file.ts'
import { type MovingStore, moveStore } from '../../src/store/move.ts'
import { sealed } from '../../src/store/sealed.ts'
import { environmentKeys } from '../../src/store/sealing-keys.ts'
import { setStage } from '../broker/stage.ts'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'authkeep-move-'))
})
afterEach(() => rm(directory, { recursive: true }))

const at = (name: string, backend: StoreBackend = memoryBackend()): MovingStore => ({ name, backend })
async function put(backend: StoreBackend, key: string, next: JsonObject | null): Promise<void> {
  const expected = (await backend.read(key))?.revision ?? null
  expect(await backend.commit([{ key, next, expected }])).toEqual({ ok: true })
}
async function all({ backend }: MovingStore): Promise<Record<string, unknown>> {
  const keys = [...(await backend.keys())].sort()
  return Object.fromEntries(
    await Promise.all(keys.map(async (key) => [key, (await backend.read(key))?.value] as const)),
  )
}
const one = { type: 'api_key', key: 'sk-1', strange: { kept: true }, metadata: { mine: 1 } }
const two = { type: 'token', token: 't-2' }

/** Both stores of a process that dies right before, or right after, its n-th commit to either of them. */
function mortal(stores: readonly MovingStore[], n: number, isAfter: boolean): readonly MovingStore[] {
  let left = n
  return stores.map(({ name, backend }) => ({
    name,
    backend: {
      ...backend,
      async commit(changes) {
        if (left-- > 0) return backend.commit(changes)
        if (isAfter && left === -1) await backend.commit(changes)
        throw new Error('killed')
      },
    },
  }))
}

describe('moving a store', () => {
  it('brings every entry and what is remembered, as they are, and marks those that stay', async () => {
    const [from, to] = [at('a'), at('b')]
    await put(from.backend, 'p:1', one)
    await put(from.backend, 'p:2', two)
    await put(from.backend, ':lessons', { x: 1 })
    expect(await moveStore(from, to)).toEqual({ entries: 2, before: 0 })
    expect(await all(to)).toEqual({ ':lessons': { x: 1 }, 'p:1': one, 'p:2': two })
    expect(await all(from)).toEqual({
      ':lessons': { x: 1 },
      'p:1': { ...one, metadata: { mine: 1, moved: { to: 'b' } } },
      'p:2': { ...two, metadata: { moved: { to: 'b' } } },
    })
    expect(await moveStore(from, to)).toEqual({ entries: 2, before: 2 })
  })

  it('goes back the same way, with what has been deleted, changed and added there', async () => {
    const [from, to] = [at('a'), at('b')]
    await put(from.backend, 'p:1', one)
    await put(from.backend, 'p:2', two)
    await moveStore(from, to)
    await put(to.backend, 'p:1', null)
    await put(to.backend, 'p:2', { ...two, token: 't-newer' })
    await put(to.backend, 'p:3', one)
    expect(await moveStore(to, from)).toEqual({ entries: 2, before: 0 })
    expect(await all(from)).toEqual({ 'p:2': { ...two, token: 't-newer' }, 'p:3': one })
  })

  it('is refused, with nothing changed, where the other store has a login of that name', async () => {
    const [from, to] = [at('a'), at('b')]
    await put(from.backend, 'p:1', one)
    await put(to.backend, 'p:1', two)
    const before = [await all(from), await all(to)]
    await expect(moveStore(from, to)).rejects.toThrow('b has logins of its own: p:1.')
    expect([await all(from), await all(to)]).toEqual(before)
    await moveStore(from, at('c'))
    await put(to.backend, 'p:1', null)
    await expect(moveStore(from, to)).rejects.toThrow('p:1 of a was moved to c before.')
  })

  it('puts nothing in the clear into a sealed store, and keeps what is sealed as it is', async () => {
    const key = environmentKeys('K', { K: Buffer.alloc(32, 7).toString('base64') })
    const [from, to, third] = [at('a'), at('b'), at('c')]
    await put(from.backend, 'p:1', one)
    await put(sealed(to.backend, key), 'q:1', two)
    await expect(moveStore(from, to)).rejects.toThrow('Seal this one first')
    await sealed(from.backend, key).sealAll()
    await moveStore(from, third)
    expect(JSON.stringify(await all(third))).not.toContain('sk-1')
    expect((await sealed(third.backend, key).read('p:1'))?.value).toEqual(one)
  })

  it('takes with it what somebody changes, or adds, on the way', async () => {
    const [from, to] = [at('a'), at('b')]
    await put(from.backend, 'p:1', one)
    const meddling: StoreBackend = {
      ...to.backend,
      async commit(changes) {
        const result = await to.backend.commit(changes)
        if ((await from.backend.read('p:2')) === null) {
          await put(from.backend, 'p:1', { ...one, key: 'sk-newer' })
          await put(from.backend, 'p:2', two)
        }
        return result
      },
    }
    await moveStore(from, at('b', meddling))
    expect(await all(to)).toEqual({ 'p:1': { ...one, key: 'sk-newer' }, 'p:2': two })
  })

  it('that dies at any point leaves each entry renewed by one store at most, and can be finished', async () => {
    let points = 0
    for (const isAfter of [false, true]) {
      for (let n = 0, isDone = false; !isDone; n++) {
        const [from, to] = [at('a'), at('b')]
        await put(from.backend, 'p:1', one)
        await put(from.backend, 'p:2', two)
        const [dyingFrom = from, dyingTo = to] = mortal([from, to], n, isAfter)
        isDone = await moveStore(dyingFrom, dyingTo).then(
          () => true,
          () => false,
        )
        const [here, there] = [await all(from), await all(to)]
        const lives = (entry: unknown): boolean => entry !== undefined && !JSON.stringify(entry).includes('"moved"')
        for (const key of ['p:1', 'p:2']) {
          expect([lives(here[key]), lives(there[key])], `${key} at ${n}`).not.toEqual([true, true])
          expect(here[key]).toBeDefined()
        }
        await moveStore(from, to)
        expect(await all(to)).toEqual({ 'p:1': one, 'p:2': two })
        if (!isDone) points++
      }
    }
    expect(points).toBe(6)
  })

  it('to a file and back: the login is renewed in one place, never with a token that was spent in the other', async () => {
    const memory = memoryBackend()
    const stage = await setStage({ backend: memory })
    try {
      await stage.login()
      await stage.expire()
      await stage.broker.getToken(stage.urls.files)
      const [from, to] = [at('memory', memory), at('file', fileBackend({ path: join(directory, 'auth.json') }))]
      await moveStore(from, to)
      await stage.expire()
      await expect(stage.newBroker().getToken(stage.urls.files)).rejects.toMatchObject({
        ...{ code: 'authorization_required', loginCommand: undefined },
        detail: { reason: 'moved', owner: 'file' },
      })
      expect(await stage.broker.revoke({ provider: 'demo', account: 'default' })).toEqual({
        ...{ revoked: false, reason: 'moved' },
      })
      expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
      await moveStore(to, from)
      await stage.expire()
      expect((await stage.newBroker().getToken(stage.urls.files)).scopes).toEqual(['files:read'])
      expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 2 }, reuse: 0 })
      await to.backend.close()
    } finally {
      await stage.stop()
    }
  })

  it('waits for a refresh that is under way', async () => {
    const memory = memoryBackend()
    const stage = await setStage({ backend: memory })
    try {
      await stage.login()
      await stage.expire()
      stage.server.reset()
      stage.server.setTokenDelay(300)
      const refreshing = stage.newBroker().getToken(stage.urls.files)
      await vi.waitFor(() => expect(stage.server.counts().arrived).toBe(1))
      const to = at('other')
      await moveStore(at('memory', memory), to)
      const token = await refreshing
      expect(JSON.stringify(await all(to))).toContain(token.reveal())
      expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
    } finally {
      await stage.stop()
    }
  })
})
