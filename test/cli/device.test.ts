import type { ChildProcess } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { completeLogin, type RobotOptions } from '../../examples/server/robot.ts'
import { type DeviceServer, jsonDialect, startDeviceServer, withDeviceCodes } from '../grant/device-server.ts'
import { ended, json, type Run, start } from './built.ts'
import { type Desk, openDesk } from './desk.ts'

/** How often a server that we set up asks to be asked; a real one says 5. */
const interval = 0.05

type Visit = (shown: { readonly uri: string; readonly code: string }, child: ChildProcess) => unknown

/** A login in which somebody reads from stderr what to do on another device, and does `visit`. */
async function login(desk: Desk, visit: Visit, args: readonly string[] = []): Promise<Run> {
  const child = start(desk.home, ['login', 'demo', '--flow', 'device', ...args])
  let text = ''
  let visiting: Promise<unknown> | undefined
  child.stderr.on('data', (chunk: Buffer) => {
    text += chunk.toString()
    const [, uri = '', code = ''] = /open (\S+) and enter the code (\S+)\n.*account\.\n/.exec(text) ?? []
    if (code !== '') visiting ??= Promise.resolve(visit({ uri, code }, child))
  })
  const run = await ended(child)
  await visiting
  return run
}

const stored = (desk: Desk): Promise<string> => readFile(join(desk.home, 'auth.json'), 'utf8')
const untouched = 'Nothing was stored; the logins are as they were.'

describe('authkeep login --flow device, at a server with RFC 8628', () => {
  let desk: Desk
  let answers: object
  let losesTokens: boolean
  beforeAll(async () => {
    desk = await openDesk({
      configure: withDeviceCodes,
      extend: (server) => {
        server.use(async (context, next) => {
          await next()
          if (context.path === '/device/auth' && context.status === 200)
            context.body = { ...(context.body as object), ...answers }
          if (!losesTokens || context.path !== '/token' || context.status !== 200) return
          context.respond = false
          context.req.socket.destroy()
        })
      },
    })
  })
  beforeEach(() => {
    answers = { interval }
    losesTokens = false
    desk.server.reset()
  })
  afterAll(() => desk.clear())

  const approve =
    (robot: RobotOptions = {}): Visit =>
    ({ uri, code }) =>
      completeLogin(new URL(`${uri}?user_code=${code}`), robot)
  const error = (name: string) => ({ status: 400, body: JSON.stringify({ error: name }) })

  it('says where to go and whom to trust, shows no picture to a pipe, and stores the login', async () => {
    const run = await login(desk, approve())
    expect(run.code).toBe(0)
    expect(run.stdout).toMatch(/^Logged in to demo as "default" with .*files:read.*mail:read/)
    expect(run.stderr.replaceAll(/http:\S+/g, '<address>').replace(/[A-Z]{4}-[A-Z]{4}/, '<code>')).toBe(
      'To log in to demo, open <address> and enter the code <code>\n' +
        'Enter it only if you began this login yourself: whoever sent you a code is after your account.\n',
    )
    const told = await login(desk, approve(), ['--json'])
    expect(json(told)).toMatchObject({ provider: 'demo', account: 'default', notGranted: [] })
    for (const token of await desk.refreshTokens())
      for (const text of [run.stdout, run.stderr, told.stdout, told.stderr]) expect(text).not.toContain(token)
  })

  it('outlives a connection that is cut', async () => {
    desk.server.fault('nothing')
    expect((await login(desk, approve())).code).toBe(0)
  })

  it('slows down when it is told to', async () => {
    desk.server.fault(error('slow_down'))
    const began = performance.now()
    expect((await login(desk, approve())).code).toBe(0)
    expect(performance.now() - began).toBeGreaterThan(5000)
    expect(desk.server.counts().arrived).toBe(2)
  })

  it.each<[string, Visit, object, boolean, number, string]>([
    ['is denied', approve({ deny: true }), {}, false, 4, 'the request was denied'],
    ['is not finished in time', () => undefined, { expires_in: 1 }, false, 4, 'nobody finished the login in time'],
    ['is finished and its answer lost', approve(), {}, true, 4, 'was finished, and the answer to it was lost'],
    ['is cancelled', (_, child) => child.kill('SIGINT'), {}, false, 2, 'Cancelled.'],
  ])('that %s stores nothing, and says so', async (_, visit, answer, loses, exitCode, sentence) => {
    await login(desk, approve())
    const before = await stored(desk)
    answers = { interval, ...answer }
    losesTokens = loses
    const run = await login(desk, visit)
    expect(run).toMatchObject({ code: exitCode, stdout: '' })
    expect(run.stderr).toContain(sentence)
    expect(run.stderr).toContain(untouched)
    expect(await stored(desk)).toBe(before)
  })
})

describe('authkeep login --flow device, at a server with a way of its own', () => {
  let desk: Desk
  let server: DeviceServer
  beforeAll(async () => {
    desk = await openDesk({}, async (options) => {
      server = await startDeviceServer(jsonDialect, options)
      return server
    })
    await desk.addProvider('demo', { deviceLogin: server.deviceLogin })
  })
  afterAll(() => desk.clear())

  it('does as the provider declares', async () => {
    const run = await login(desk, ({ uri, code }) => {
      expect(uri).toBe(`${server.origin}/codex/device`)
      return server.approve(code)
    })
    expect(run.code).toBe(0)
    expect(run.stdout).toMatch(/^Logged in to demo as "default" with .*files:read.*mail:read/)
    expect(run.stderr).toContain('whoever sent you a code is after your account')
    const token = await desk.authkeep('token', `${desk.api.origin}/files`)
    const answer = await fetch(`${desk.api.origin}/files`, {
      headers: { authorization: `Bearer ${token.stdout.trim()}` },
    })
    expect(answer.status).toBe(200)
  })

  it('that is not enabled there is 4 and names another way', async () => {
    const before = await stored(desk)
    server.deviceFault({ status: 404 })
    const run = await desk.authkeep('login', 'demo', '--flow', 'device', '--account', 'work')
    expect(run).toMatchObject({ code: 4, stdout: '' })
    expect(run.stderr).toContain('has no device login, or not for this client; there are: paste, browser')
    expect(run.stderr).toContain(untouched)
    expect(run.stderr).toContain('authkeep login demo --account work --flow paste')
    server.deviceFault({ status: 404 })
    const told = await desk.authkeep('login', 'demo', '--flow', 'device', '--json')
    expect(json(told)).toMatchObject({ error: { code: 'flow_unavailable', remedy: 'authorize' } })
    expect(await stored(desk)).toBe(before)
  })

  it('is cancelled by Ctrl-C', async () => {
    const before = await stored(desk)
    const run = await login(desk, (_, child) => child.kill('SIGINT'))
    expect(run).toMatchObject({ code: 2, stdout: '' })
    expect(run.stderr).toContain(untouched)
    expect(await stored(desk)).toBe(before)
  })
})
