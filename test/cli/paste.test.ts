import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { redirectAway } from '../../examples/server/robot.ts'
import { ended, type Run, start } from './built.ts'
import { type Desk, openDesk } from './desk.ts'

let desk: Desk
beforeAll(async () => {
  desk = await openDesk()
  expect((await desk.login()).code).toBe(0)
})
afterAll(() => desk.clear())

const stored = (): Promise<string> => readFile(join(desk.home, 'auth.json'), 'utf8')
const ways = ['login', 'demo', '--flow', 'paste']

it.each([
  ['empty', ''],
  ['at its end after something else', 'nonsense and more\n'],
  ['something else without a line break', 'nonsense and more'],
])('a stdin that is %s is 4 at once, and nothing is changed', async (_, input) => {
  const before = await stored()
  const run = await ended(start(desk.home, ways), input)
  expect(run).toMatchObject({ code: 4, stdout: '' })
  expect(run.stderr).toContain('A person has to log in, and stdin has ended. Nothing was stored')
  expect(run.stderr).toContain(
    'In a terminal: authkeep login demo --flow paste; without a person: authkeep login demo --api-key-stdin or authkeep login demo --flow client-credentials\n',
  )
  expect(await stored()).toBe(before)
})

it('what is not an address three times is 1, and nothing is changed', async () => {
  const before = await stored()
  const run = await ended(start(desk.home, ways), 'not a code\n'.repeat(3))
  expect(run).toMatchObject({ code: 1, stdout: '' })
  expect(await stored()).toBe(before)
})

/** Somebody, or a program, that pastes where the browser ends; `text` makes stdin's text of it. */
async function pasted(text: (address: string) => string, staysOpen: boolean): Promise<Run> {
  const child = start(desk.home, ways)
  let [shown, stderr] = ['', '']
  let pasting: Promise<void> | undefined
  child.stderr.on('data', (chunk: Buffer) => {
    shown += chunk.toString()
    stderr = shown
    const address = /^(http\S+)\n/m.exec(shown)?.[1]
    if (address === undefined) return
    pasting ??= redirectAway(new URL(address)).then(({ href }) => {
      child.stdin.write(text(href))
      if (!staysOpen) child.stdin.end()
    })
  })
  let stdout = ''
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  await pasting
  return { code, stdout, stderr }
}

it.each([
  ['as a line', (address: string) => `${address}\n`, false],
  ['without a line break', (address: string) => address, false],
  ['after something else', (address: string) => `oops, no\n${address}\n`, false],
  ['by what then keeps the pipe open', (address: string) => `${address}\n`, true],
])('an address is piped in, %s', async (_, text, staysOpen) => {
  const run = await pasted(text, staysOpen)
  expect(run).toMatchObject({ code: 0, stdout: expect.stringMatching(/^Logged in to demo as "default"/) as string })
})
