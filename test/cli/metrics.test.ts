import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { ended, start } from './built.ts'
import { type Desk, openDesk } from './desk.ts'

let desk: Desk
beforeAll(async () => {
  desk = await openDesk()
  await desk.login()
  const key = ['login', 'demo', '--api-key-stdin', '--account', 'a "strange"\\one']
  await ended(start(desk.home, key), 'sk-secret')
})
afterAll(() => desk.clear())

/** The text format, version 0.0.4, read strictly: every sample belongs to the metric that was announced last. */
function parse(text: string): Map<string, Map<string, number>> {
  expect(text.endsWith('\n')).toBe(true)
  const metrics = new Map<string, Map<string, number>>()
  let announced = ''
  for (const line of text.slice(0, -1).split('\n')) {
    const [, kind, name = '', rest = ''] = /^# (HELP|TYPE) ([a-z_]+) (.+)$/.exec(line) ?? []
    if (kind === 'HELP') expect(metrics.has(name)).toBe(false)
    if (kind === 'TYPE') {
      expect(['gauge', 'counter']).toContain(rest)
      if (rest === 'counter') expect(name).toMatch(/_total$/)
      announced = name
      metrics.set(name, new Map())
    }
    if (kind !== undefined) continue
    const [, sample, labels = '', value] =
      /^([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\[\\n"])*",?)+)\})? (\d+(?:\.\d+)?)$/.exec(line) ?? []
    expect(sample, line).toBe(announced)
    metrics.get(announced)?.set(labels, Number(value))
  }
  return metrics
}

it('tells a machine how every login is, and no secret', async () => {
  const run = await desk.authkeep('status', '--metrics')
  expect(run).toMatchObject({ code: 0, stderr: '' })
  const metrics = parse(run.stdout)
  const demo = 'provider="demo",account="default"'
  const key = 'provider="demo",account="a \\"strange\\"\\\\one"'
  expect([...(metrics.get('authkeep_login_serves') ?? [])]).toEqual([
    [demo, 1],
    [key, 1],
  ])
  expect(metrics.get('authkeep_store_readable')?.get('')).toBe(1)
  expect(metrics.get('authkeep_logins')?.get('')).toBe(2)
  expect(metrics.get('authkeep_refreshes_total')?.get(demo)).toBe(1)
  const expiry = metrics.get('authkeep_access_token_expiry_timestamp_seconds')?.get(demo) ?? 0
  expect(Math.abs(expiry - Date.now() / 1_000 - 300)).toBeLessThan(120)
  for (const secret of [...(await desk.refreshTokens()), 'sk-secret']) expect(run.stdout).not.toContain(secret)
})

it('of a store that cannot be read says so, and ends with 1', async () => {
  const home = join(desk.home, 'other')
  await desk.authkeep('status', '--home', home)
  const { mkdir } = await import('node:fs/promises')
  await mkdir(home)
  await writeFile(join(home, 'auth.json'), '')
  const run = await desk.authkeep('status', '--metrics', '--home', home)
  expect(run.code).toBe(1)
  expect(parse(run.stdout).get('authkeep_store_readable')?.get('')).toBe(0)
  expect(await desk.authkeep('status', '--metrics', '--json')).toMatchObject({ code: 1 })
})
