import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { explore } from './explore.ts'
import { mounted, mutated } from './mutants.ts'
import { copyGone, record, type Scenario, update } from './scenarios.ts'
import { startVirtualTime, stopVirtualTime } from './virtual-time.ts'

vi.mock('node:timers/promises', () => import('./virtual-time.ts'))

beforeAll(startVirtualTime)
afterAll(stopVirtualTime)

const bounds = { contents: 60, recoveries: 3 }
const twice = (scenario: Scenario): Scenario => ({
  ...scenario,
  run: async (writer) => {
    await writer.put({ 'p:a': 'a-2' })
    await writer.put({ 'p:a': 'a-3' })
  },
})

describe.each(['weak', 'journal'] as const)(
  'after a power cut while a mounted file is written in place, %s',
  (model) => {
    test('the store says what it acknowledged or what it was about to', async () => {
      const tally = await explore(await record(twice(copyGone), mutated(mounted, 'without a copy')), model, bounds)
      console.log(`in place, ${model}: ${tally.states} states, ${tally.recovered} readable after a recovery only`)
      expect(tally).toMatchObject({ lost: 0, unrecovered: 0, stuck: 0 })
    })

    test('so it does on the host, where an old copy stands beside the file', async () => {
      const tally = await explore(await record(twice(update), mutated(mounted, 'with a copy')), model, bounds)
      expect(tally).toMatchObject({ lost: 0, unrecovered: 0, stuck: 0 })
    })
  },
)
