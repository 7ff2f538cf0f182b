import assert from 'node:assert/strict'
import type { Change, CommitResult, StoreBackend } from './backend.ts'

export { type Change, type CommitResult, memoryBackend, type StoreBackend, type Versioned } from './backend.ts'

export { type FileOperations, type FileStat, systemFiles } from './file-operations.ts'

/** What a case is run on: every call of `open` is another handle on the same, at first empty, place. */
export interface ContractHarness {
  open(): Promise<StoreBackend>
}

/** One rule of the contract. `run` rejects with an assertion error that says what was wrong. */
export interface ContractCase {
  readonly name: string
  run(harness: ContractHarness): Promise<void>
}

/**
 * The contract of `StoreBackend` as runnable cases for any test runner:
 *
 *     for (const rule of storeContract) test(rule.name, () => rule.run(freshHarness()))
 */
export const storeContract: readonly ContractCase[] = [
  rule('an absent key reads as null', async (store) => {
    assert.equal(await store.read('p:a'), null)
    assert.deepEqual(await store.keys(), [])
  }),

  rule('a committed value is read back, by this handle and by another', async (store, other) => {
    accepted(await store.commit([{ key: 'p:a', next: { n: 1, deep: { list: [1, 'two', null] } }, expected: null }]))
    assert.deepEqual((await store.read('p:a'))?.value, { n: 1, deep: { list: [1, 'two', null] } })
    assert.deepEqual((await other.read('p:a'))?.value, { n: 1, deep: { list: [1, 'two', null] } })
    assert.deepEqual(await other.keys(), ['p:a'])
  }),

  rule('a commit on a stale revision is refused and tells key and current value', async (store, other) => {
    const first = await put(store, 'p:a', { n: 1 }, null)
    const second = await put(other, 'p:a', { n: 2 }, first)
    const result = await store.commit([{ key: 'p:a', next: { n: 3 }, expected: first }])
    assert.ok(!result.ok, 'a stale commit was accepted')
    assert.equal(result.key, 'p:a')
    assert.deepEqual(result.current, { value: { n: 2 }, revision: second })
    assert.deepEqual((await store.read('p:a'))?.value, { n: 2 })
  }),

  rule('expected null means only if absent', async (store) => {
    await put(store, 'p:a', { n: 1 }, null)
    const result = await store.commit([{ key: 'p:a', next: { n: 2 }, expected: null }])
    assert.ok(!result.ok, 'a create overwrote')
    assert.deepEqual((await store.read('p:a'))?.value, { n: 1 })
  }),

  rule('a change or delete of an absent key is refused, and current is null', async (store) => {
    const revision = await put(store, 'p:a', { n: 1 }, null)
    accepted(await store.commit([{ key: 'p:a', next: null, expected: revision }]))
    for (const next of [{ n: 2 }, null]) {
      const result = await store.commit([{ key: 'p:a', next, expected: revision }])
      assert.ok(!result.ok, 'a change of an absent key was accepted')
      assert.equal(result.current, null)
    }
  }),

  rule('the same value written twice has two revisions', async (store) => {
    const first = await put(store, 'p:a', { n: 1 }, null)
    const second = await put(store, 'p:a', { n: 1 }, first)
    assert.notEqual(second, first)
  }),

  rule('a revision never comes back, not even after delete and re-create', async (store) => {
    const seen = new Set<string>()
    for (let round = 0; round < 5; round++) {
      const made = await put(store, 'p:a', { n: 1 }, null)
      const changed = await put(store, 'p:a', { n: 1 }, made)
      for (const revision of [made, changed]) {
        assert.ok(!seen.has(revision), 'a revision was used twice')
        seen.add(revision)
      }
      accepted(await store.commit([{ key: 'p:a', next: null, expected: changed }]))
      const late = await store.commit([{ key: 'p:a', next: { n: 9 }, expected: made }])
      assert.ok(!late.ok, 'a commit on a deleted incarnation was accepted')
    }
  }),

  rule('a read that follows an acknowledged commit sees it, through any handle', async (store, other) => {
    let revision: string | null = null
    for (let n = 0; n < 20; n++) {
      revision = await put(n % 2 === 0 ? store : other, 'p:a', { n }, revision)
      assert.deepEqual((await (n % 2 === 0 ? other : store).read('p:a'))?.value, { n })
    }
  }),

  rule('of concurrent commits on one revision exactly one wins', async (store, other) => {
    const revision = await put(store, 'p:a', { n: 0 }, null)
    const results = await Promise.all(
      Array.from({ length: 16 }, (_, n) =>
        (n % 2 === 0 ? store : other).commit([{ key: 'p:a', next: { n: n + 1 }, expected: revision }]),
      ),
    )
    const winners = results.flatMap((result, n) => (result.ok ? [n + 1] : []))
    assert.equal(winners.length, 1, `${winners.length} commits won`)
    assert.deepEqual((await store.read('p:a'))?.value, { n: winners[0] })
  }),

  rule('concurrent commits of different keys all land', async (store, other) => {
    const keys = Array.from({ length: 20 }, (_, n) => `p:${n}`)
    const results = await Promise.all(
      keys.map((key, n) => (n % 2 === 0 ? store : other).commit([{ key, next: { n }, expected: null }])),
    )
    assert.ok(results.every(({ ok }) => ok))
    assert.deepEqual([...(await store.keys())].sort(), keys.sort())
  }),

  rule('a refused batch changes nothing', async (store) => {
    const revision = await put(store, 'p:a', { n: 1 }, null)
    const result = await store.commit([
      { key: 'p:b', next: { n: 1 }, expected: null },
      { key: 'p:a', next: { n: 2 }, expected: revision },
      { key: 'p:c', next: null, expected: 'never-a-revision' },
    ])
    assert.ok(!result.ok, 'a batch with a wrong expectation was accepted')
    assert.equal(result.key, 'p:c')
    assert.deepEqual(await store.read('p:a'), { value: { n: 1 }, revision })
    assert.equal(await store.read('p:b'), null)
  }),

  rule('an accepted batch changes everything', async (store, other) => {
    const revision = await put(store, 'p:a', { n: 1 }, null)
    const gone = await put(store, 'p:gone', { n: 1 }, null)
    accepted(
      await store.commit([
        { key: 'p:a', next: { n: 2 }, expected: revision },
        { key: 'p:b', next: { n: 3 }, expected: null },
        { key: 'p:gone', next: null, expected: gone },
      ]),
    )
    assert.deepEqual((await other.read('p:a'))?.value, { n: 2 })
    assert.deepEqual((await other.read('p:b'))?.value, { n: 3 })
    assert.equal(await other.read('p:gone'), null)
  }),

  rule('values are handed over by copy', async (store) => {
    const given: { n: number; deep: { n: number } } = { n: 1, deep: { n: 1 } }
    await put(store, 'p:a', given, null)
    given.deep.n = 2
    const read = (await store.read('p:a'))?.value as { deep: { n: number } }
    assert.equal(read.deep.n, 1, 'a later change of the given object reached the store')
    read.deep.n = 3
    assert.deepEqual((await store.read('p:a'))?.value, { n: 1, deep: { n: 1 } })
  }),

  rule('long and odd keys and values survive', async (store, other) => {
    const odd = [
      ...[
        'p:__proto__',
        'p:constructor',
        'p:a@b.example',
        'p:with:colons',
        'p:ünï çødé 🔑',
        'p:line\nbreak',
        "p:'; --",
      ],
      ...[`p:${'long'.repeat(100)}`, ':state:https://issuer.example/x'],
    ]
    for (const key of odd) await put(store, key, { key, text: '\u2028 "\\ \u0000 🔑', big: 'x'.repeat(70_000) }, null)
    for (const key of odd) assert.equal((await other.read(key))?.value['key'], key)
    assert.deepEqual([...(await other.keys())].sort(), odd.sort())
  }),

  rule('waiting ends when another handle changes the key', async (store, other) => {
    const revision = await put(store, 'p:a', { n: 1 }, null)
    const waited = store.waitForChange('p:a', revision, 20_000)
    await put(other, 'p:a', { n: 2 }, revision)
    await within(waited, 10_000, 'the change was never noticed')
  }),

  rule('waiting ends at once for a key that has changed already, and when it is deleted', async (store) => {
    const revision = await put(store, 'p:a', { n: 1 }, null)
    await within(store.waitForChange('p:a', null, 20_000), 10_000, 'a created key was not noticed')
    accepted(await store.commit([{ key: 'p:a', next: null, expected: revision }]))
    await within(store.waitForChange('p:a', revision, 20_000), 10_000, 'a deleted key was not noticed')
  }),

  rule('waiting ends after its time-out when nothing happens', async (store) => {
    const revision = await put(store, 'p:a', { n: 1 }, null)
    await within(store.waitForChange('p:a', revision, 20), 10_000, 'the time-out was not kept')
  }),

  rule('after close every method rejects, and what was committed stays', async (store, other) => {
    await put(store, 'p:a', { n: 1 }, null)
    await store.close()
    if (store !== other) assert.deepEqual((await other.read('p:a'))?.value, { n: 1 })
    const refused = [
      () => store.read('p:a'),
      () => store.keys(),
      () => store.commit([{ key: 'p:b', next: {}, expected: null }]),
      () => store.waitForChange('p:a', null, 10),
    ]
    for (const call of refused) await assert.rejects(call(), 'a closed backend still works')
  }),
]

function rule(name: string, run: (store: StoreBackend, other: StoreBackend) => Promise<void>): ContractCase {
  return {
    name,
    async run(harness) {
      const store = await harness.open()
      const other = await harness.open()
      try {
        await run(store, other)
      } finally {
        await Promise.all([store.close(), other.close()])
      }
    },
  }
}

function accepted(result: CommitResult): void {
  assert.ok(result.ok, 'a commit whose expectations hold was refused')
}

async function put(store: StoreBackend, key: string, next: Change['next'], expected: string | null): Promise<string> {
  accepted(await store.commit([{ key, next, expected }]))
  const revision = (await store.read(key))?.revision
  assert.ok(typeof revision === 'string' && revision !== '', 'a stored value has no revision')
  return revision
}

async function within<T>(work: Promise<T>, limitMs: number, message: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new assert.AssertionError({ message })), limitMs)
  })
  try {
    return await Promise.race([work, limit])
  } finally {
    clearTimeout(timer)
  }
}
