import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { kubernetesSecret } from '../../examples/recipes/kubernetes.ts'
import { oneDocument, type TextPlace } from '../../examples/recipes/one-document.ts'
import { vaultSecret } from '../../examples/recipes/vault.ts'
import { Secret } from '../../src/credential.ts'
import { spoiledContract, storeContract } from '../../src/store/contract.ts'
import { CredentialStore } from '../../src/store/store.ts'
import { setStage } from '../broker/stage.ts'
import { type Imitation, imitateKubernetes, imitateVault } from './imitations.ts'

const token = 'of-the-place'
const key = { provider: 'p', account: 'a' }
const credential = { ...key, type: 'api_key' as const, key: new Secret('k') }

const places = [
  {
    called: 'a secret of Vault',
    imitate: imitateVault,
    place: (address: string, path: string, mount = 'secret'): TextPlace =>
      vaultSecret({ address, mount, path, token: () => token }),
  },
  {
    called: 'a Secret of Kubernetes',
    imitate: imitateKubernetes,
    place: (server: string, name: string, namespace = 'default'): TextPlace =>
      kubernetesSecret({ server, namespace, name, token: () => token }),
  },
]

describe.each(places)('the recipe with all credentials in $called, on an imitation', ({ imitate, place }) => {
  let server: Imitation
  let name: string
  beforeAll(async () => {
    server = await imitate(token)
  })
  afterAll(() => server.stop())
  beforeEach(() => {
    name = randomUUID()
    server.limit = Number.POSITIVE_INFINITY
  })
  const open = (): ReturnType<typeof oneDocument> => oneDocument(place(server.origin, name))

  test.each(storeContract)('keeps the contract: $name', async (rule) => {
    await rule.run({ open: async () => open() })
  })

  test.each(spoiledContract)('keeps the contract: $name', async (rule) => {
    await rule.run({ open: async () => open(), spoil: async () => server.put(name, '{ "version": 1, "entr') })
  })

  test.each(['before', 'after'] as const)(
    'a connection that breaks %s a write: nobody knows, and it is settled',
    async (cut) => {
      server.cut = cut
      await expect(open().commit([{ key: ':a', next: {}, expected: null }])).rejects.toMatchObject({
        code: 'write_indeterminate',
        detail: { key: ':a' },
      })
      const store = new CredentialStore(open())
      server.cut = cut
      const update = vi.fn(() => credential)
      await store.update(key, update)
      expect(update).toHaveBeenCalledTimes(1)
      expect(await store.list()).toMatchObject([{ ...key, type: 'api_key' }])
    },
  )

  test('what is refused for its size is an error, and what was there stays', async () => {
    const backend = open()
    await backend.commit([{ key: 'p:a', next: { n: 1 }, expected: null }])
    server.limit = 1_000
    const large = { key: 'p:b', next: { text: 'x'.repeat(2_000) }, expected: null }
    await expect(backend.commit([large])).rejects.toMatchObject({
      code: 'store_failed',
      detail: { operation: 'write', errno: 'HTTP 413', unspent: true },
    })
    expect(await backend.keys()).toEqual(['p:a'])
  })

  test.each([
    ['that nobody answers for', () => place('http://127.0.0.1:1', name)],
    ['that is not there', () => place(server.origin, name, 'elsewhere')],
  ])('a place %s is an error, and never taken for an empty store', async (_, wrong) => {
    const change = { key: 'p:a', next: { n: 1 }, expected: null }
    await expect(oneDocument(wrong()).commit([change])).rejects.toMatchObject({ code: 'store_failed' })
  })

  test('what was deleted there by hand is an empty store, in which one can go on', async () => {
    const backend = open()
    await backend.commit([{ key: 'p:a', next: { n: 1 }, expected: null }])
    const revision = (await backend.read('p:a'))?.revision
    server.put(name, null)
    expect(await backend.read('p:a')).toBeNull()
    expect(await backend.commit([{ key: 'p:a', next: { n: 1 }, expected: null }])).toEqual({ ok: true })
    expect((await backend.read('p:a'))?.revision).not.toBe(revision)
  })

  test('an edit by hand is another revision, also where it leaves ours alone', async () => {
    const document = (n: number): string =>
      JSON.stringify({ version: 1, entries: { 'p:a': { rev: 'the same', value: { n } } } })
    server.put(name, document(1))
    const before = await open().read('p:a')
    server.put(name, document(2))
    expect((await open().read('p:a'))?.revision).not.toBe(before?.revision)
  })

  test('four brokers, each with a store of its own, and answers that are lost: one refresh per expiry', async () => {
    const stage = await setStage({ backend: open() })
    const stores = Array.from({ length: 4 }, () => new CredentialStore(open()))
    try {
      await stage.login()
      for (let expiry = 1; expiry <= 6; expiry++) {
        await stage.expire()
        server.cut = expiry % 2 === 0 ? 'after' : 'before'
        const brokers = stores.map((store) => stage.newBroker({ store }))
        const tokens = await Promise.all(brokers.map((broker) => broker.getToken(stage.urls.files)))
        expect(new Set(tokens.map((token) => token.reveal())).size).toBe(1)
        expect(stage.server.counts().token['refresh_token']).toBe(expiry)
      }
    } finally {
      await Promise.all(stores.map((store) => store.close()))
      await stage.stop()
    }
  })

  test('who asks at the same time shares a request', async () => {
    const backend = open()
    server.asked.length = 0
    await Promise.all(Array.from({ length: 20 }, (_, n) => backend.read(`p:${n}`)))
    expect(server.asked).toHaveLength(1)
  })
})

test('a mount of Vault that is not there is not read as an empty secret', async () => {
  const server = await imitateVault(token)
  const elsewhere = vaultSecret({ address: server.origin, mount: 'elsewhere', path: 'a', token: () => token })
  await expect(elsewhere.read()).rejects.toMatchObject({ code: 'store_failed', detail: { errno: 'HTTP 404' } })
  await server.stop()
})
