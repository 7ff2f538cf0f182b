import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { ended, json, type Run, start } from './built.ts'
import { type Desk, openDesk } from './desk.ts'

let desk: Desk
beforeAll(async () => {
  desk = await openDesk()
  await desk.addProvider('demo', { environment: { DEMO_TOKEN: 'token' } })
  await desk.login()
})
afterAll(() => desk.clear())

const run = (...args: readonly string[]): Promise<Run> =>
  ended(start(desk.home, args, { env: { DEMO_TOKEN: 'at-environment' } }))

it('a credential of the environment is what token prints, and is stored nowhere', async () => {
  await expect(run('token', `${desk.api.origin}/files`)).resolves.toMatchObject({ stdout: 'at-environment\n' })
  await expect(readFile(join(desk.home, 'auth.json'), 'utf8')).resolves.not.toContain('at-environment')
})

it('status says what it goes before', async () => {
  const text = await run('status')
  expect(text.stdout).toContain('demo is served by DEMO_TOKEN of the environment, before demo:default.\n')
  const shown = await run('status', '--json')
  expect(json(shown)).toMatchObject({
    environment: [{ provider: 'demo', variable: 'DEMO_TOKEN', type: 'token', shadows: ['demo:default'] }],
  })
  expect(text.stdout + shown.stdout).not.toContain('at-environment')
  const without = await desk.authkeep('status', '--json')
  expect(json(without)).toMatchObject({ environment: [] })
})

it('explain and route call it by its variable', async () => {
  const explained = await run('explain', `${desk.api.origin}/files`)
  expect(explained.stdout).toContain('demo "$DEMO_TOKEN" (token)')
  const route = await run('route', 'files', '--json')
  expect(json(route)).toMatchObject({ provider: 'demo', account: '$DEMO_TOKEN', kind: 'token' })
})
