import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { explore, type Tally } from './explore.ts'
import * as mutants from './mutants.ts'
import { copyGone, record, recovery, type Scenario, update } from './scenarios.ts'
import { startVirtualTime, stopVirtualTime } from './virtual-time.ts'

vi.mock('node:timers/promises', () => import('./virtual-time.ts'))

beforeAll(startVirtualTime)
afterAll(stopVirtualTime)

const { mutated, none } = mutants
const wrong: readonly [string, mutants.Mutant][] = [
  ['no sync of files', mutants.noFileSync],
  ['no sync of the directory', mutants.noDirectorySync],
  ['unlink, then rename', mutants.unlinkThenRename],
  ['in place', mutants.inPlace],
  ['backup by rename', mutants.backupByRename],
  ['acknowledged before the sync', mutants.acknowledgedBeforeSync],
]

async function tallyOf(scenario: Scenario, mutant: mutants.Mutant, copy: Parameters<typeof mutated>[1]) {
  const recording = await record(scenario, mutated(mutant, copy))
  // Fewer states than for the store itself: what is wrong shows in many of them.
  const bounds = { directories: 64, contents: 24, recoveries: 0 }
  return [await explore(recording, 'weak', bounds), await explore(recording, 'journal', bounds)] as const
}

const total = (tallies: readonly Tally[], count: (tally: Tally) => number): number =>
  tallies.reduce((sum, tally) => sum + count(tally), 0)

const failures = (tallies: readonly Tally[]): number => total(tallies, ({ lost, unrecovered }) => lost + unrecovered)

function report(name: string, tallies: readonly Tally[]): void {
  const counts = (['states', 'lost', 'unrecovered', 'gaps', 'lostToForeigners'] as const).map(
    (sort) => `${total(tallies, (tally) => tally[sort])} ${sort}`,
  )
  console.log(`${name}: ${counts.join(', ')}`)
}

describe('a wrong way to write is found out', () => {
  test('the right one passes, with a copy and without', async () => {
    for (const copy of ['with a copy', 'without a copy'] as const) {
      const tallies = await tallyOf(copy === 'with a copy' ? update : copyGone, none, copy)
      expect(failures(tallies)).toBe(0)
      expect(total(tallies, ({ gaps }) => gaps)).toBe(0)
    }
  })

  test.each(wrong)('%s', async (name, mutant) => {
    const tallies = await tallyOf(copyGone, mutant, 'without a copy')
    report(name, tallies)
    expect(failures(tallies)).toBeGreaterThan(0)
  })

  test.each(wrong)(
    '%s: with a copy, at least the file itself is seen broken, or something is lost',
    async (name, mutant) => {
      const tallies = await tallyOf(update, mutant, 'with a copy')
      report(`${name}, with a copy`, tallies)
      expect(failures(tallies) + total(tallies, ({ gaps }) => gaps)).toBeGreaterThan(0)
    },
  )

  test('no copy, and a foreign program that empties the file', async () => {
    const tallies = await tallyOf(update, none, 'without a copy')
    report('no copy', tallies)
    expect(total(tallies, ({ lostToForeigners }) => lostToForeigners)).toBeGreaterThan(0)
  })

  test('the copy written in place, in the middle of a recovery', async () => {
    const tallies = await tallyOf(recovery, mutants.copyInPlace, 'with a copy')
    report('copy in place', tallies)
    expect(failures(tallies)).toBeGreaterThan(0)
  })
})
