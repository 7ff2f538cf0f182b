import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { type FileBackend, fileBackend } from '../../../src/store/file.ts'
import { affected, type Fault, type Outcome, withFault } from './faults.ts'
import { drafts, readAll, sameBoot } from './judge.ts'
import { MemoryFiles, systemError } from './memory-files.ts'
import { record, recovery, type Scenario, update, valueOf } from './scenarios.ts'
import { startVirtualTime, stopVirtualTime } from './virtual-time.ts'

vi.mock('node:timers/promises', () => import('./virtual-time.ts'))

beforeAll(startVirtualTime)
afterAll(stopVirtualTime)

const before = 'p:a=a-1 p:b=b-1'
const after = 'p:a=a-2 p:b=b-1'

async function change(store: FileBackend): Promise<void> {
  const found = await store.read('p:a')
  const { ok } = await store.commit([{ key: 'p:a', next: valueOf('a-2'), expected: found?.revision ?? null }])
  expect(ok).toBe(true)
}

/** Every call of an action in turn, until there are no more. */
async function everyCall(
  scenario: Scenario,
  fault: Fault,
  action: (store: FileBackend) => Promise<unknown>,
): Promise<readonly Outcome[]> {
  const { base, path } = await record(scenario)
  const outcomes: Outcome[] = []
  for (let nth = 1; ; nth++) {
    const outcome = await withFault(base, path, fault, nth, action)
    if (outcome.failed === undefined) return outcomes
    outcomes.push(outcome)
  }
}

const all: Outcome[] = []

const faults = Object.entries(affected).flatMap(([code, affects]): Fault[] => [
  { code, affects, lasts: 'once' },
  { code, affects, lasts: 'for good' },
])

describe.each(faults)('$code $lasts, at any system call', (fault) => {
  const mayLeaveDrafts = fault.lasts === 'for good' && fault.affects('unlink')

  test('of a commit: rejected and old, rejected and new after the rename, or resolved and new', async () => {
    const outcomes = await everyCall(update, fault, change)
    expect(outcomes.length).toBeGreaterThan(25)
    for (const outcome of outcomes) {
      const { settled, said, isVisible, left } = outcome
      if (said !== before) expect(outcome).toMatchObject({ said: after, isVisible: true })
      if (settled === 'resolved') expect(outcome).toMatchObject({ said: after })
      if (!isVisible) expect(outcome).toMatchObject({ settled: 'rejected', said: before })
      if (!mayLeaveDrafts) expect({ ...outcome, left }).toMatchObject({ left: [] })
      // Whatever was refused, the copy holds one of the two, whole.
      expect([before, after]).toContain(outcome.fromCopy)
      expect(outcome).toMatchObject({ after: null })
    }
    all.push(...outcomes)
  })

  test('of a recovery: refused or read, and readable later', async () => {
    const outcomes = await everyCall(recovery, fault, (store) => store.read('p:a'))
    expect(outcomes.length).toBeGreaterThan(25)
    for (const outcome of outcomes) {
      if (!mayLeaveDrafts) expect(outcome).toMatchObject({ left: [] })
      expect(outcome).toMatchObject({ said: before, after: null })
    }
  })
})

test('every outcome that is allowed occurs', () => {
  const count = (wanted: (outcome: Outcome) => boolean): number => all.filter(wanted).length
  const isOld = ({ said }: Outcome): boolean => said === before
  const counts = {
    'rejected and old': count((outcome) => outcome.settled === 'rejected' && isOld(outcome)),
    'rejected and new': count((outcome) => outcome.settled === 'rejected' && !isOld(outcome)),
    'resolved and new': count((outcome) => outcome.settled === 'resolved' && !isOld(outcome)),
  }
  console.log(`${all.length} faults of a commit:`, counts)
  for (const number of Object.values(counts)) expect(number).toBeGreaterThan(0)
})

describe('a write that writes less than it was given', () => {
  const shortened = async (
    most: (nth: number) => number,
  ): Promise<{ files: MemoryFiles; error: unknown; path: string }> => {
    const { base, path } = await record(update)
    let count = 0
    const files = new MemoryFiles({
      tree: base,
      before: ({ operation }) => (operation === 'write' ? most(++count) : undefined),
    })
    const error = await change(fileBackend({ path, files, owner: sameBoot })).catch((thrown: unknown) => thrown)
    files.before = undefined
    return { files, error, path }
  }

  test.each([
    ['once', (nth: number) => (nth === 1 ? 512 : Infinity)],
    ['once, at the copy', (nth: number) => (nth === 2 ? 1 : Infinity)],
    ['always', () => 100],
  ])('%s: is carried on to the end', async (_, most) => {
    const { files, error, path } = await shortened(most)
    expect(error).toBeUndefined()
    expect(await readAll(files.tree(), path, sameBoot)).toMatchObject({ said: after, didRecover: false })
  })

  test.each([1, 2, 3, 8])('%i times, and then the disk is full: nothing has changed', async (times) => {
    const { files, error, path } = await shortened((nth) => {
      if (nth > times) throw systemError('ENOSPC')
      return 300
    })
    expect(error).toMatchObject({ code: 'store_failed', detail: { errno: 'ENOSPC' } })
    expect(await readAll(files.tree(), path, sameBoot)).toMatchObject({ said: before, didRecover: false })
    expect(drafts(files.tree())).toEqual([])
  })
})
