import { expect, test } from 'vitest'
import { Exploration, exhaust, report } from './explore.ts'
import { load } from './load.ts'
import { all, twoResources } from './settings.ts'

// As `two.test.ts`, for processes that want different tokens of one grant: each refreshes once, one after the other.

const Broker = await load()
const found = new Exploration()
const some = twoResources.filter(({ rotation, proof }) => proof === (rotation === 'none'))

test.each(some)('$name: every rule holds', { timeout: 600_000 }, async (setting) => {
  await exhaust(Broker, setting, 2, { found })
  expect(await report(Broker, found, all)).toBe('')
})

test('in 45,000 schedules', () => {
  const { schedules, steps, detections } = found
  console.log(`two resources: ${schedules} schedules, ${steps} steps, ${detections} detected second uses`)
  expect(schedules).toBeGreaterThanOrEqual(45_000)
})
