import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { chooseFlow, type Surroundings } from '../../src/cli/choose-flow.ts'
import { ended, json, start } from './built.ts'
import { type Desk, openDesk } from './desk.ts'

const terminal: Surroundings = {
  ...{ env: {}, platform: 'linux', isTerminal: true, isContainer: false },
  hasDeviceCodes: async () => true,
}

describe('the way to log in', () => {
  it.each<[string, Partial<Surroundings>, string | null, string]>([
    ['a Linux desktop', { env: { DISPLAY: ':0' } }, 'browser', 'there is a display'],
    ['Wayland', { env: { WAYLAND_DISPLAY: 'wayland-0' } }, 'browser', 'there is a display'],
    ['WSL', { env: { WSL_DISTRO_NAME: 'Debian' } }, 'browser', 'there is a display'],
    ['a Mac', { platform: 'darwin' }, 'browser', 'there is a display'],
    ['Windows', { platform: 'win32' }, 'browser', 'there is a display'],
    ['no display', {}, 'device', 'there is no display'],
    [
      'SSH with a display',
      { env: { SSH_CONNECTION: 'x', DISPLAY: 'localhost:10' } },
      'device',
      'this is an SSH session',
    ],
    ['SSH to a Mac', { env: { SSH_TTY: '/dev/pts/1' }, platform: 'darwin' }, 'device', 'this is an SSH session'],
    ['CI with a terminal', { env: { CI: 'true', DISPLAY: ':99' } }, 'device', 'this is a CI job'],
    ['a container', { isContainer: true, env: { DISPLAY: ':0' } }, 'device', 'this is a container'],
    [
      'a server without device codes',
      { isContainer: true, hasDeviceCodes: async () => false },
      'paste',
      'this is a container',
    ],
    ['no terminal', { isTerminal: false, env: { DISPLAY: ':0' } }, null, 'there is no terminal'],
  ])('%s', async (_, changes, flow, why) => {
    expect(await chooseFlow({ ...terminal, ...changes })).toEqual({ flow, why })
  })

  it('does not ask the server where a browser will do', async () => {
    const hasDeviceCodes = (): never => expect.unreachable()
    await chooseFlow({ ...terminal, env: { DISPLAY: ':0' }, hasDeviceCodes })
  })
})

describe('authkeep login', () => {
  let desk: Desk
  beforeAll(async () => {
    desk = await openDesk()
  })
  afterAll(() => desk.clear())

  it.each([[[]], [['--non-interactive']]])('%j without a terminal is 4, and says exactly what to do', async (more) => {
    const run = await desk.authkeep('login', 'demo', ...more)
    expect(run).toMatchObject({ code: 4, stdout: '' })
    const typed = ['authkeep login demo', ...more].join(' ')
    expect(run.stderr).toContain('Nothing was stored; the logins are as they were.')
    expect(run.stderr).toContain('In a terminal: authkeep login demo; without a person: ')
    expect(run.stderr).toContain(`${typed} --api-key-stdin or ${typed} --flow client-credentials`)
    expect(desk.server.counts().arrived).toBe(0)
    const told = await desk.authkeep('login', 'demo', '--json', ...more)
    expect(json(told)).toMatchObject({ error: { code: 'person_needed', remedy: 'authorize' } })
  })

  it('can be told which way, and knows no other', async () => {
    expect((await desk.login(['--flow', 'browser'])).code).toBe(0)
    const run = await desk.authkeep('login', 'demo', '--flow', 'magic')
    expect(run).toMatchObject({ code: 1, stdout: '' })
    expect(run.stderr).toContain('--flow takes browser, device, paste, client-credentials, api-key')
  })

  it('takes an API key from stdin', async () => {
    const run = await ended(start(desk.home, ['login', 'demo', '--flow', 'api-key', '--account', 'k']), 'sk-secret\n')
    expect(run).toMatchObject({ code: 0, stdout: 'Stored the API key of demo as "k".\n', stderr: '' })
  })

  it('takes a client secret from the environment, or from the file that it names', async () => {
    await desk.addProvider('my-service')
    const args = ['login', 'my-service', '--flow', 'client-credentials']
    const missing = { AUTHKEEP_CLIENT_SECRET_MY_SERVICE_FILE: '/nonexistent' }
    const unreadable = await ended(start(desk.home, args, { env: missing }))
    expect(unreadable.code).toBe(1)
    expect(unreadable.stderr).toContain(
      'AUTHKEEP_CLIENT_SECRET_MY_SERVICE_FILE names a file that cannot be read (ENOENT)',
    )
    const env = { AUTHKEEP_CLIENT_SECRET_MY_SERVICE: 'wrong-secret' }
    const refused = await ended(start(desk.home, args, { env }))
    expect(refused.code).toBe(1)
    expect(refused.stderr).toContain('refused')
    expect(refused.stderr).not.toContain('wrong-secret')
  })
})

describe('authkeep login of several', () => {
  let desk: Desk
  beforeAll(async () => {
    desk = await openDesk()
    await desk.addProvider('second')
  })
  afterAll(() => desk.clear())
  const accounts = async (): Promise<unknown> => json(await desk.authkeep('accounts', '--json'))

  it('stores all in one commit', async () => {
    const run = await desk.loginTo(['demo', 'second', 'demo:work'])
    expect(run.code).toBe(0)
    expect(run.stdout.match(/^Logged in to /gm)).toHaveLength(3)
    expect(await accounts()).toMatchObject({ accounts: [{}, {}, {}] })
    expect(json(await desk.loginTo(['demo:default', 'second', 'demo:work', '--json']))).toMatchObject({
      logins: [{}, {}, {}],
    })
  })

  it.each([
    ['denied', { deny: true }, 4],
    ['narrower than asked', { scopesToReject: ['mail:read'] }, 4],
    ['by somebody else than before', { login: 'bob' }, 1],
  ])('%s: leaves everything as it was, and says so', async (_, robot, code) => {
    const before = await accounts()
    const run = await desk.loginTo(['demo:default', 'second', 'demo:new'], robot)
    expect(run).toMatchObject({ code, stdout: '' })
    expect(run.stderr).toContain('Nothing was stored; the logins are as they were.')
    expect(await accounts()).toEqual(before)
    expect((await desk.authkeep('token', `${desk.api.origin}/files`, '--account', 'work')).code).toBe(0)
  })

  it('knows no one account, scope or resource for all', async () => {
    expect(await desk.authkeep('login', 'demo', 'second', '--account', 'x')).toMatchObject({ code: 1, stdout: '' })
  })
})
