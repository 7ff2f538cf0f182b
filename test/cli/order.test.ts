import { afterAll, beforeAll, expect, it } from 'vitest'
import { ended, json, type Run, start } from './built.ts'
import { type Desk, openDesk } from './desk.ts'

let desk: Desk
beforeAll(async () => {
  desk = await openDesk()
  for (const account of ['home', 'work']) {
    await ended(start(desk.home, ['login', 'demo', '--api-key-stdin', '--account', account]), 'sk-one')
  }
})
afterAll(() => desk.clear())

const order = (...args: readonly string[]): Promise<Run> => desk.authkeep('order', 'demo', ...args)

it('says which accounts stand in for each other, and keeps it', async () => {
  await expect(order()).resolves.toMatchObject({
    code: 0,
    stdout: expect.stringContaining('has to name one') as string,
  })
  await order('--try', 'work', '--try', 'home')
  expect(json(await order('--json'))).toEqual({ provider: 'demo', order: ['work', 'home'], resting: [] })
  await order('--round-robin')
  expect(json(await order('--json'))).toMatchObject({ order: 'round_robin' })
  await order('--none')
  expect(json(await order('--json'))).toMatchObject({ order: null })
})

it('takes one order, of accounts that there are', async () => {
  await expect(order('--try', 'office')).resolves.toMatchObject({
    ...{ code: 1, stderr: expect.stringContaining('There is no login of demo called "office".') as string },
  })
  await expect(order('--round-robin', '--last-good')).resolves.toMatchObject({ code: 1 })
  expect(json(await order('--json'))).toMatchObject({ order: null })
})
