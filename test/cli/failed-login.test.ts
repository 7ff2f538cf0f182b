import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { completeLogin, type RobotOptions } from '../../examples/server/robot.ts'
import { ended, type Run, start } from './built.ts'
import { type Desk, openDesk } from './desk.ts'

let desk: Desk
beforeAll(async () => {
  desk = await openDesk()
  expect((await desk.login()).code).toBe(0)
})
afterEach(() => desk.server.reset())
afterAll(() => desk.clear())

type Child = ReturnType<typeof start>
type Visit = (address: URL, child: Child) => unknown
const file = (): Promise<string> => readFile(join(desk.home, 'auth.json'), 'utf8')

/** A login, and what somebody does once its address is shown. */
async function login(visit: Visit, more: readonly string[]): Promise<Run> {
  const child = start(desk.home, ['login', 'demo', '--no-browser', ...more])
  let shown = ''
  let visited: Promise<unknown> | undefined
  child.stderr.on('data', (chunk: Buffer) => {
    shown += chunk.toString()
    const address = /^(http\S+)\n/m.exec(shown)?.[1]
    if (address !== undefined) visited ??= Promise.resolve(visit(new URL(address), child))
  })
  const run = await ended(child)
  await visited
  return run
}

const person =
  (robot: RobotOptions = {}): Visit =>
  (address) =>
    completeLogin(address, robot)

/** A server that sends the browser back with an error. */
const sentBack =
  (error: string, description: string): Visit =>
  (address) => {
    const redirect = new URL(address.searchParams.get('redirect_uri') ?? '')
    const state = address.searchParams.get('state') ?? ''
    const answer = { error, error_description: description, state, iss: desk.server.issuer }
    for (const [name, value] of Object.entries(answer)) redirect.searchParams.set(name, value)
    return fetch(redirect)
  }

const refused = { status: 400, body: '{"error":"unauthorized_client","error_description":"no licence"}' }
const again = 'authkeep login demo --no-browser'

describe('a login that fails says what happened, that nothing was changed, and what to do next', () => {
  let before: string
  beforeEach(async () => {
    before = await file()
  })

  interface Case {
    readonly visit: Visit
    readonly code: number
    readonly happened: string
    readonly next: string
    readonly fault?: Parameters<Desk['server']['fault']>[0]
    readonly more?: readonly string[]
  }
  const denied = 'The login to demo failed: the request was denied, by the person or by the server'

  it.each<[string, Case]>([
    [
      'Ctrl-C',
      {
        visit: (_, child) => child.kill('SIGINT'),
        code: 2,
        happened: 'Cancelled.',
        next: `to begin again: ${again}`,
      },
    ],
    [
      'loss of the network',
      {
        visit: person(),
        fault: 'nothing',
        code: 75,
        happened: 'did not answer: UND_ERR_SOCKET.',
        next: `Try again: ${again}`,
      },
    ],
    [
      'denial',
      {
        visit: person({ deny: true }),
        code: 4,
        happened: `${denied} (the person said no).`,
        next: `then: ${again}`,
      },
    ],
    [
      'a missing entitlement',
      {
        visit: sentBack('access_denied', 'Not assigned to this application'),
        code: 4,
        happened: `${denied} (Not assigned to this application).`,
        next: 'ask whoever runs the server for access',
      },
    ],
    [
      'a missing entitlement that only we are told of',
      {
        visit: person(),
        fault: refused,
        code: 1,
        happened: 'refused: unauthorized_client (no licence).',
        next: `or ask whoever runs it for access; then: ${again}`,
      },
    ],
    [
      'another person',
      {
        visit: person({ login: 'bob' }),
        code: 1,
        happened: 'The demo login "default" is another person\'s',
        next: `Log in as that person: ${again}; or give this login a name`,
      },
    ],
    [
      'less than was asked for',
      {
        visit: person({ scopesToReject: ['mail:read'] }),
        code: 4,
        happened: 'brought less than was asked for: not mail:read.',
        next: `to be content with less: ${again} --accept-narrower`,
      },
    ],
    [
      'nobody who comes',
      {
        visit: () => undefined,
        more: ['--timeout', '0.3'],
        code: 4,
        happened: 'The login to demo failed: nobody finished the login in time.',
        next: `To begin again: ${again} --timeout 0.3`,
      },
    ],
  ])('%s', async (_, { visit, code, happened, next, fault, more = [] }) => {
    if (fault !== undefined) desk.server.fault(fault)
    const run = await login(visit, more)
    expect(run).toMatchObject({ code, stdout: '' })
    expect(run.stderr).toContain(happened)
    expect(run.stderr).toContain('Nothing was stored; the logins are as they were.')
    expect(run.stderr.trimEnd().split('\n').at(-1)).toContain(next)
    expect(await file()).toBe(before)
  })
})
