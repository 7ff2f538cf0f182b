import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { explore, exploreKills, type Tally } from './explore.ts'
import { record, scenarios, unsyncedDirectory } from './scenarios.ts'
import { startVirtualTime, stopVirtualTime } from './virtual-time.ts'

vi.mock('node:timers/promises', () => import('./virtual-time.ts'))

beforeAll(startVirtualTime)
afterAll(stopVirtualTime)

const flawless = { lost: 0, unrecovered: 0, stuck: 0, gaps: 0, lostToForeigners: 0, examples: [] }

describe('after a power cut at any instant, the store says what it acknowledged or what it was about to', () => {
  const tallies: Tally[] = []

  for (const scenario of scenarios) {
    for (const model of ['weak', 'journal'] as const) {
      test(`${scenario.name}, ${model}`, async () => {
        const tally = await explore(await record(scenario), model)
        tallies.push(tally)
        expect(tally).toMatchObject(flawless)
      })
    }
  }

  test('over enough states', () => {
    const sum = (count: (tally: Tally) => number): number => tallies.reduce((total, tally) => total + count(tally), 0)
    console.log(
      [
        `${sum(({ states }) => states)} states after a power cut`,
        `${sum(({ secondCrashes }) => secondCrashes)} of them in the middle of a recovery`,
        `${sum(({ recovered }) => recovered)} readable after a recovery only`,
        `${sum(({ lost }) => lost)} lost, ${sum(({ unrecovered }) => unrecovered)} unrecovered`,
      ].join('; '),
    )
    expect(sum(({ states }) => states)).toBeGreaterThan(30_000)
  })

  test(unsyncedDirectory.name, async () => {
    expect(await explore(await record(unsyncedDirectory), 'weak')).toMatchObject(flawless)
  })
})

describe('after the death of the process at any instant', () => {
  test.each(scenarios)('$name', async (scenario) => {
    expect(await exploreKills(await record(scenario))).toMatchObject(flawless)
  })
})
