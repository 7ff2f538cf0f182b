import { expect, test } from 'vitest'
import { Exploration, exhaust, report } from './explore.ts'
import { load } from './load.ts'
import { aging, all, two, twoEach, twoResources } from './settings.ts'

/*
 * Two processes that want the same token: every schedule with at most two interferences, each a step of the other one
 * out of turn, time that passes too early, a death, a stop, a fault of the store, the network or the server, or a login;
 * and, for the first setting, every mere order of steps with at most four. Where they want different tokens, so that each refreshes, with at most
 * one: those schedules are longer. So where a token is renewed in the background. `world.ts` says what a step is and `rules.ts` what must hold.
 *
 * The grant is met at its seam (`grant.ts`), because openid-client would take most of the time; `http.test.ts` goes
 * through it.
 */

const Broker = await load()
const found = new Exploration()

test.each(two)('$name: every rule holds', { timeout: 600_000 }, async (setting) => {
  // Where nothing goes wrong, the settings differ little.
  await exhaust(Broker, setting, 2, { found, order: setting === two[0] ? 4 : 2 })
  expect(await report(Broker, found, all)).toBe('')
})

test.each([...twoResources, ...twoEach, ...aging])('$name: every rule holds', { timeout: 600_000 }, async (setting) => {
  await exhaust(Broker, setting, 1, { found })
  expect(await report(Broker, found, all)).toBe('')
})

test('in 100,000 schedules', () => {
  const { schedules, steps, detections } = found
  console.log(`two: ${schedules} schedules, ${steps} steps, ${detections} detected second uses in the declared window`)
  expect(schedules).toBeGreaterThanOrEqual(100_000)
})
