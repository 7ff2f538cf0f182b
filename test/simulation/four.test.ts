import { expect, test } from 'vitest'
import { report, sample } from './explore.ts'
import { load } from './load.ts'
import { all, four } from './settings.ts'

const Broker = await load()
/** More of them for a longer hunt: `SEEDS=100000 npx vitest run test/simulation/four.test.ts`. */
const count = Number(process.env['SEEDS'] ?? 3_000)

test('four processes with several callers each: every rule holds', { timeout: 86_400_000 }, async () => {
  const found = await sample(Broker, four, { from: 1, count })
  const { schedules, steps, detections } = found
  console.log(`four: ${schedules} schedules, ${steps} steps, ${detections} detected second uses in the declared window`)
  expect(await report(Broker, found, all)).toBe('')
  expect(schedules).toBe(count)
})
