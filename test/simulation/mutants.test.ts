import { expect, test } from 'vitest'
import { exhaust, sample, shrink, tell } from './explore.ts'
import { load } from './load.ts'
import { mutants } from './mutants.ts'
import { four, two } from './settings.ts'

const timeout = 600_000

test.each(Object.keys(mutants))('the simulation finds %s', { timeout }, async (name) => {
  const Broker = await load(name)
  const found = await exhaust(Broker, two[0]!, 1)
  for (const setting of two) if (found.findings.length === 0) await exhaust(Broker, setting, 2, { found })
  const [first] =
    found.findings.length > 0 ? found.findings : (await sample(Broker, four, { from: 0, count: 5_000 })).findings
  expect(first).toBeDefined()
  const least = await shrink(Broker, first!)
  console.log(`${name}: ${least.violation}, after ${found.schedules} schedules: ${await tell(Broker, least)}`)
})
