import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  type ContractCase,
  type ContractHarness,
  type StoreBackend,
  spoiledContract,
  storeContract,
} from '../../src/store/contract.ts'
import { handles, spoilable, wrongAboutSpoiled, wrongBackends } from './wrong-backends.ts'

// Some mistakes show only after seconds of waiting. Immediates stay real: they let everybody else have a turn.
beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }))
afterEach(() => void vi.useRealTimers())

/** The cases that find something wrong. */
async function findings<Harness extends ContractHarness>(
  rules: readonly ContractCase<Harness>[],
  harness: () => Harness,
): Promise<readonly string[]> {
  const found: string[] = []
  for (const rule of rules) {
    const run = { isOver: false }
    const over = rule
      .run(harness())
      .catch(() => found.push(rule.name))
      .finally(() => {
        run.isOver = true
      })
    while (!run.isOver) await vi.advanceTimersByTimeAsync(100)
    await over
  }
  return found
}

describe('the contract finds a backend that', () => {
  test.each(wrongBackends)('$mistake: "$caughtBy"', async ({ place, caughtBy }) => {
    expect(await findings(storeContract, () => harnessOf(place()))).toContain(caughtBy)
  })

  test.each(wrongAboutSpoiled)('$mistake: "$caughtBy"', async ({ place, caughtBy }) => {
    expect(await findings(spoiledContract, place)).toContain(caughtBy)
  })
})

describe('the contract finds nothing', () => {
  test('in what the wrong backends are made of, without the mistake', async () => {
    expect(await findings(storeContract, () => harnessOf(handles()()))).toEqual([])
    expect(await findings(spoiledContract, spoilable())).toEqual([])
  })
})

test.each([...storeContract, ...spoiledContract])('some backend is wrong in "$name"', ({ name }) => {
  expect([...wrongBackends, ...wrongAboutSpoiled].map(({ caughtBy }) => caughtBy)).toContain(name)
})

function harnessOf(open: () => StoreBackend): ContractHarness {
  return { open: async () => open() }
}
