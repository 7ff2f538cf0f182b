import assert from 'node:assert/strict'
import type { JsonObject } from '../credential.ts'
import type { Change, CommitResult, StoreBackend } from './backend.ts'

export { type Change, type CommitResult, memoryBackend, type StoreBackend, type Versioned } from './backend.ts'

export { type FileOperations, type FileStat, systemFiles } from './file-operations.ts'

/** What a case is run on: every call of `open` is another handle on the same, at first empty, place. */
export interface ContractHarness {
  /** A backend on the place of the harness, as another process would open it: it sees what others have committed. */
  open(): Promise<StoreBackend>
}

/** A place whose content can be spoiled, as by a failing disk or by another program. */
export interface SpoilingHarness extends ContractHarness {
  /** Makes what stands under the key unreadable. */
  spoil(key: string): Promise<void>
}

/** One rule of the contract. `run` rejects when the rule is broken; an assertion error says what was wrong. */
export interface ContractCase<Harness extends ContractHarness = ContractHarness> {
  readonly name: string
  /** Rejects when the rule is broken. */
  run(harness: Harness): Promise<void>
}

/**
 * The contract of `StoreBackend` as runnable cases for any test runner:
 *
 *     for (const rule of storeContract) test(rule.name, () => rule.run(freshHarness()))
 *
 * What it cannot show is durability: that what `commit` has acknowledged outlives a power cut.
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

  rule('a value is kept whole, whatever its members are called and hold', async (store, other) => {
    const value = JSON.parse(
      `{ "nothing": null, "no": false, "zero": 0, "text": "", "list": [[], {}, [null, { "a": [] }]], "object": {},
        "large": 9007199254740991, "small": -1.5e-7, "__proto__": { "a": 1 }, "constructor": "c", "with space": " s " }`,
    ) as JsonObject
    await put(store, 'p:a', value, null)
    assert.deepEqual((await other.read('p:a'))?.value, value)
    assert.ok(Object.hasOwn((await other.read('p:a'))?.value ?? {}, '__proto__'), 'a member called __proto__ is gone')
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

  rule('a delete on a stale revision is refused', async (store, other) => {
    const first = await put(store, 'p:a', { n: 1 }, null)
    await put(other, 'p:a', { n: 2 }, first)
    for (const expected of [first, null]) {
      const result = await store.commit([{ key: 'p:a', next: null, expected }])
      assert.ok(!result.ok, 'a stale delete was accepted')
      assert.deepEqual(result.current?.value, { n: 2 })
    }
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

  rule('a delete that expects the key to be absent is accepted where it is, and makes nothing', async (store) => {
    accepted(await store.commit([{ key: 'p:a', next: null, expected: null }]))
    assert.equal(await store.read('p:a'), null)
    assert.deepEqual(await store.keys(), [])
  }),

  rule('a deleted key is gone from reads and from the list', async (store, other) => {
    const revision = await put(store, 'p:a', { n: 1 }, null)
    accepted(await store.commit([{ key: 'p:a', next: null, expected: revision }]))
    for (const handle of [store, other]) {
      assert.equal(await handle.read('p:a'), null)
      assert.deepEqual(await handle.keys(), [])
    }
  }),

  rule('the same value written twice has two revisions', async (store) => {
    const first = await put(store, 'p:a', { n: 1 }, null)
    const second = await put(store, 'p:a', { n: 1 }, first)
    assert.notEqual(second, first)
  }),

  rule('a commit leaves the revisions of other keys as they are', async (store, other) => {
    const revision = await put(store, 'p:a', { n: 1 }, null)
    accepted(await other.commit([{ key: 'p:b', next: { n: 1 }, expected: null }]))
    assert.equal((await store.read('p:a'))?.revision, revision)
  }),

  rule('a revision never comes back, not even after delete and re-create', async (store, other) => {
    const seen = new Set<string>()
    for (let round = 0; round < 5; round++) {
      const made = await put(round % 2 === 0 ? store : other, 'p:a', { n: 1 }, null)
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

  rule('a refused batch names the first change whose expectation does not hold', async (store) => {
    const revision = await put(store, 'p:b', { n: 1 }, null)
    const result = await store.commit([
      { key: 'p:a', next: { n: 1 }, expected: null },
      { key: 'p:b', next: { n: 2 }, expected: null },
      { key: 'p:c', next: { n: 3 }, expected: 'never-a-revision' },
    ])
    assert.ok(!result.ok, 'a batch with two wrong expectations was accepted')
    assert.equal(result.key, 'p:b')
    assert.deepEqual(result.current, { value: { n: 1 }, revision })
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

  rule('nobody sees half of a batch', async (store, other) => {
    const keys = Array.from({ length: 12 }, (_, n) => `p:${n}`)
    const ends = ['p:0', 'p:11'] as const
    let revisions: readonly (string | null)[] = keys.map(() => null)
    for (let n = 1; n <= 5; n++) {
      const changes = keys.map((key, index) => ({ key, next: { n }, expected: revisions[index] ?? null }))
      const commit = watched(store.commit(changes))
      // Of values that only change together, the one that is read later is never the older one.
      for (let look = 0; !commit.isAnswered || look < 40; look++) {
        const [first, second] = look % 2 === 0 ? ends : [ends[1], ends[0]]
        const before = (await other.read(first))?.value['n'] ?? 0
        const after = (await other.read(second))?.value['n'] ?? 0
        assert.ok(after >= before, 'one change of a batch was there before another')
        if (look % 20 === 19) await nextTurn()
      }
      accepted(await commit.result)
      revisions = await Promise.all(keys.map(async (key) => (await store.read(key))?.revision ?? null))
    }
  }),

  rule('a key that occurs twice in a commit is a TypeError, and changes nothing', async (store) => {
    const change = { key: 'p:a', expected: null }
    const twice = [
      { ...change, next: { n: 1 } },
      { ...change, next: { n: 2 } },
    ]
    await assert.rejects(store.commit(twice), TypeError)
    assert.equal(await store.read('p:a'), null)
  }),

  rule('values are handed over by copy', async (store) => {
    const given: { n: number; deep: { n: number } } = { n: 1, deep: { n: 1 } }
    await put(store, 'p:a', given, null)
    given.deep.n = 2
    const read = (await store.read('p:a'))?.value as { deep: { n: number } }
    assert.equal(read.deep.n, 1, 'a later change of the given object reached the store')
    read.deep.n = 3
    const refused = await store.commit([{ key: 'p:a', next: {}, expected: null }])
    assert.ok(!refused.ok, 'a create overwrote')
    assert.deepEqual(refused.current?.value, { n: 1, deep: { n: 1 } })
    Object.assign(refused.current.value, { n: 4 })
    assert.deepEqual((await store.read('p:a'))?.value, { n: 1, deep: { n: 1 } })
  }),

  rule('the names of what every object has are keys like any other', async (store, other) => {
    const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', ':__proto__']
    for (const key of names) assert.equal(await store.read(key), null, `${key} is there before it was made`)
    for (const key of names) await put(store, key, { key }, null)
    for (const key of names) assert.deepEqual((await other.read(key))?.value, { key })
    assert.deepEqual([...(await other.keys())].sort(), names.sort())
  }),

  rule('long and odd keys and values survive', async (store, other) => {
    const odd = [
      ...[
        'p:__proto__',
        'p:constructor',
        'p:a@b.example',
        'p:A@B.example',
        'p:with:colons',
        'p:ünï çødé 🔑',
        'p:ünï çødé 🔑'.normalize('NFD'),
        'p:trailing',
        'p:trailing ',
        'p:%',
        'p:*',
        'p:line\nbreak',
        "p:'; --",
      ],
      ...[`p:${'long'.repeat(100)}`, `p:${'long'.repeat(100)}er`, ':state:https://issuer.example/x'],
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

  rule('waiting ends when another handle deletes the key, or makes it', async (store, other) => {
    const revision = await put(store, 'p:a', { n: 1 }, null)
    const deleted = store.waitForChange('p:a', revision, 20_000)
    accepted(await other.commit([{ key: 'p:a', next: null, expected: revision }]))
    await within(deleted, 10_000, 'the delete was never noticed')
    const made = store.waitForChange('p:a', null, 20_000)
    await put(other, 'p:a', { n: 1 }, null)
    await within(made, 10_000, 'the new key was never noticed')
  }),

  rule('waiting ends at once for a key that has changed already, and when it is deleted', async (store) => {
    const revision = await put(store, 'p:a', { n: 1 }, null)
    await within(store.waitForChange('p:a', null, 20_000), 10_000, 'a created key was not noticed')
    accepted(await store.commit([{ key: 'p:a', next: null, expected: revision }]))
    await within(store.waitForChange('p:a', revision, 20_000), 10_000, 'a deleted key was not noticed')
  }),

  rule('waiting ends after its time-out when nothing happens, and not at once', async (store) => {
    const revision = await put(store, 'p:a', { n: 1 }, null)
    const from = performance.now()
    await within(store.waitForChange('p:a', revision, 100), 10_000, 'the time-out was not kept')
    assert.ok(performance.now() - from > 50, 'waiting ended and nothing had happened')
  }),

  rule('close waits for a commit under way', async (store, other) => {
    const commit = watched(store.commit([{ key: 'p:a', next: { n: 1 }, expected: null }]))
    await store.close()
    await nextTurn()
    assert.ok(commit.isAnswered, 'closed, and a commit is still under way')
    accepted(await commit.result)
    if (store !== other) assert.deepEqual((await other.read('p:a'))?.value, { n: 1 })
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

/** The rules for what cannot be read, for backends whose place can be spoiled. To mend it is as good as to refuse it. */
export const spoiledContract: readonly ContractCase<SpoilingHarness>[] = [
  rule('what cannot be read is mended or an error, never absent', async (store, other, harness) => {
    await put(store, 'p:a', { n: 1 }, null)
    await harness.spoil('p:a')
    for (const handle of [store, other]) {
      const read = await orError(handle.read('p:a'))
      if (!('error' in read)) assert.deepEqual(read.answer?.value, { n: 1 }, 'what cannot be read was passed over')
      const keys = await orError(handle.keys())
      if (!('error' in keys)) assert.deepEqual(keys.answer, ['p:a'], 'what cannot be read is not listed')
    }
  }),

  rule('what cannot be read is not created over', async (store, _, harness) => {
    await put(store, 'p:a', { n: 1 }, null)
    await harness.spoil('p:a')
    const created = await orError(store.commit([{ key: 'p:a', next: { n: 2 }, expected: null }]))
    assert.ok('error' in created || !created.answer.ok, 'what cannot be read was overwritten')
  }),
]

function rule<Harness extends ContractHarness>(
  name: string,
  run: (store: StoreBackend, other: StoreBackend, harness: Harness) => Promise<void>,
): ContractCase<Harness> {
  return {
    name,
    async run(harness) {
      const store = await harness.open()
      const other = await harness.open()
      try {
        await run(store, other, harness)
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

/** A commit under way, and whether it has been answered yet. */
function watched<T>(result: Promise<T>): { readonly result: Promise<T>; readonly isAnswered: boolean } {
  const watch = { result, isAnswered: false }
  const answered = (): void => {
    watch.isAnswered = true
  }
  result.then(answered, answered)
  return watch
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

async function orError<T>(work: Promise<T>): Promise<{ readonly answer: T } | { readonly error: unknown }> {
  return work.then(
    (answer) => ({ answer }),
    (error: unknown) => ({ error }),
  )
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
