import { expect, test } from 'vitest'
import { Exploration, exhaust, report, sample } from './explore.ts'
import { load } from './load.ts'
import { four, two } from './settings.ts'

// Through openid-client, with requests and responses as `fetch` has them: fewer schedules, and the same rules.

const Broker = await load()
// Loading it takes turns of the event loop, which no schedule has.
await import('openid-client')
const overHttp = [...two, ...four].map((setting) => ({ ...setting, name: `${setting.name}, HTTP`, http: true }))

test.each(overHttp.slice(0, two.length))('$name: every rule holds', { timeout: 600_000 }, async (setting) => {
  const found = new Exploration()
  await exhaust(Broker, setting, 1, { found })
  expect(await report(Broker, found, overHttp)).toBe('')
})

test('four processes over HTTP: every rule holds', { timeout: 600_000 }, async () => {
  const found = await sample(Broker, overHttp.slice(two.length), { from: 1, count: 100 })
  expect(await report(Broker, found, overHttp)).toBe('')
})
