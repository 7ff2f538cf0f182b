import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type AuthorizationServer, startAuthorizationServer } from '../../examples/server/authorization-server.ts'
import { demoProvider } from '../../examples/server/demo-provider.ts'
import { completeLogin, type RobotOptions } from '../../examples/server/robot.ts'
import { type DeviceCode, type DeviceOptions, deviceFlow } from '../../src/grant/device-code.ts'
import { nextPoll } from '../../src/grant/polling.ts'
import type { Provider } from '../../src/provider.ts'
import { withDeviceCodes } from './device-server.ts'
import { expectNoSecret, grantRequest, json, nobody, oauth, rejection, stub } from './setup.ts'

let server: AuthorizationServer
let provider: Provider
beforeAll(async () => {
  server = await startAuthorizationServer({ configure: withDeviceCodes })
  provider = demoProvider(server)
})
afterEach(() => server.reset())
afterAll(() => server.stop())

interface Person {
  readonly options: DeviceOptions
  readonly codes: DeviceCode[]
  /** What each poll waited. */
  readonly waits: number[]
  readonly now: () => number
}

/** Somebody who does `visit` after so many polls; time passes only while the flow sleeps. */
function person({
  after = 0,
  visit = visiting(),
}: {
  after?: number
  visit?: (code: DeviceCode) => Promise<unknown>
} = {}): Person {
  const start = Date.now()
  const codes: DeviceCode[] = []
  const waits: number[] = []
  let time = start
  return {
    codes,
    waits,
    now: () => time,
    options: {
      show: (code) => void codes.push(code),
      sleep: async (ms) => {
        waits.push(ms)
        time += ms
        const [code] = codes
        if (waits.length === after + 1 && code !== undefined) await visit(code)
      },
    },
  }
}

const visiting =
  (options: RobotOptions = {}) =>
  (code: DeviceCode): Promise<unknown> =>
    completeLogin(new URL(code.verificationUriComplete ?? ''), options)
const nobodyComes = (): Promise<void> => Promise.resolve()

const run = ({ options, now }: Person, more = {}) => deviceFlow(options).run(grantRequest(provider, { now, ...more }))
const error = (name: string) => ({ status: 400, body: JSON.stringify({ error: name }) })

describe('a login on another device', () => {
  it('shows a code, asks at the pace of the server, and brings home the grant', async () => {
    const alice = person({ after: 2, visit: visiting({ login: 'alice' }) })
    const resources = Object.keys(server.resources)
    const answer = oauth(await run(alice, { resources }))
    expect(alice.waits).toEqual([5000, 5000, 5000])
    expect(answer.token).toMatchObject({ subject: 'alice', resource: resources[0], scopes: ['files:read'] })
    expect(answer.scopes).toEqual(['files:read', 'mail:read', 'offline_access', 'openid'])
    expect(answer.token.refreshToken).not.toBeNull()
    const [code] = alice.codes
    expect(code?.userCode).toMatch(/^[A-Z]{4}-[A-Z]{4}$/)
    expect(code?.verificationUri).toBe(`${server.origin}/device`)
    expect(code?.verificationUriComplete).toContain(code?.userCode)
    expectNoSecret(answer, [answer.token.accessToken.reveal()])
  })

  it('slows down when it is told to, and stays slow', async () => {
    const alice = person({ after: 3 })
    server.fault(error('slow_down'), error('authorization_pending'), error('slow_down'))
    await run(alice)
    expect(alice.waits).toEqual([5000, 10_000, 10_000, 15_000])
  })

  it('outlives a network that is gone, and asks less often meanwhile', async () => {
    const alice = person({ after: 4 })
    let polls = 0
    const broken: typeof fetch = async (input, init) => {
      if (typeof input === 'string' && input.endsWith('/token') && ++polls === 1)
        throw Object.assign(new TypeError('fetch failed'), { cause: { code: 'ENOTFOUND' } })
      return fetch(input, init)
    }
    server.fault('nothing', { status: 503 }, { status: 429, retryAfter: '90' })
    await run(alice, { fetch: broken })
    expect(alice.waits).toEqual([5000, 10_000, 20_000, 40_000, 90_000])
    expect(server.counts().arrived).toBe(4)
  })

  it('whose answer is lost says so', async () => {
    const alice = person()
    server.fault('lost')
    const failed = await rejection(run(alice))
    expect(failed).toMatchObject({ code: 'authorization_required', detail: { reason: 'answer_lost' } })
    expect(alice.waits).toEqual([5000, 10_000])
  })

  it('whose poll was lost before the person was done goes on', async () => {
    server.fault('lost', error('authorization_pending'), error('invalid_grant'))
    const failed = await rejection(run(person({ visit: nobodyComes })))
    expect(failed).toMatchObject({ code: 'server_rejected', detail: { error: 'invalid_grant' } })
    server.fault('lost', error('slow_down'), { status: 429 })
    const lost = await rejection(run(person()))
    expect(lost).toMatchObject({ code: 'authorization_required', detail: { reason: 'answer_lost' } })
  })

  it('ends when the person says no', async () => {
    const failed = await rejection(run(person({ visit: visiting({ deny: true }) })))
    expect(failed).toMatchObject({ code: 'authorization_required', detail: { account: 'default', reason: 'denied' } })
  })

  it('ends when the code expires, by our clock and by the word of the server', async () => {
    const alice = person({ visit: nobodyComes })
    const timedOut = { code: 'authorization_required', detail: { reason: 'timed_out' } }
    expect(await rejection(run(alice))).toMatchObject(timedOut)
    expect(alice.now()).toBeLessThan(alice.codes[0]?.expiresAt ?? 0)
    expect(alice.now()).toBeGreaterThan((alice.codes[0]?.expiresAt ?? 0) - 5001)
    server.fault(error('expired_token'))
    expect(await rejection(run(person()))).toMatchObject(timedOut)
  })

  it.each([
    [error('invalid_grant'), 'server_rejected', { error: 'invalid_grant' }],
    [error('unauthorized_client'), 'server_rejected', { error: 'unauthorized_client' }],
    ['html', 'response_invalid', { status: 200 }],
    [{ status: 403, headers: { 'cf-mitigated': 'challenge' } }, 'edge_challenge', {}],
  ] as const)('ends where asking again cannot help: %j', async (fault, code, detail) => {
    const alice = person({ visit: nobodyComes })
    server.fault(fault)
    expect(await rejection(run(alice))).toMatchObject({ code, detail })
    expect(alice.waits).toHaveLength(1)
  })

  it('ends with the reason of its signal, and with what showing the code throws', async () => {
    const reason = new Error('never mind')
    const abort = new AbortController()
    const flow = deviceFlow({ show: () => void setImmediate(() => abort.abort(reason)) })
    expect(await rejection(flow.run(grantRequest(provider, { signal: abort.signal })))).toBe(reason)
    const speechless = deviceFlow({ show: () => Promise.reject(reason) })
    expect(await rejection(speechless.run(grantRequest(provider)))).toBe(reason)
  })

  it('is refused where the server has none, or nobody is there', async () => {
    const metadata = { token_endpoint: `${server.origin}/token` }
    const none = await rejection(deviceFlow(person().options).run(grantRequest({ ...provider, metadata })))
    expect(none).toMatchObject({ code: 'flow_unavailable', detail: { unavailable: 'device', alternatives: [] } })
    const gone = { ...metadata, device_authorization_endpoint: `${await nobody()}/device` }
    const away = await rejection(deviceFlow(person().options).run(grantRequest({ ...provider, metadata: gone })))
    expect(away).toMatchObject({ code: 'server_unavailable', detail: { sent: false, cause: 'ECONNREFUSED' } })
  })

  it.each([
    [{ user_code: 'A\u001B[2J' }, 'its user code cannot be shown'],
    [
      { verification_uri: 'javascript:alert(1)' },
      'its verification address is neither an https URL nor on this machine',
    ],
    [
      { verification_uri_complete: 'http://evil.example' },
      'its verification address is neither an https URL nor on this machine',
    ],
  ])('shows nothing that a terminal or a browser should not get: %j', async (members, what) => {
    const body = {
      device_code: 'D',
      user_code: 'U',
      verification_uri: 'https://as.example',
      expires_in: 60,
      ...members,
    }
    const as = await stub((_request, response) => json(response, 200, body))
    const metadata = { token_endpoint: `${as.origin}/token`, device_authorization_endpoint: `${as.origin}/device` }
    const alice = person()
    const failed = await rejection(deviceFlow(alice.options).run(grantRequest({ ...provider, metadata })))
    expect(failed).toMatchObject({ code: 'response_invalid', detail: { what } })
    expect(alice.codes).toEqual([])
    await as.stop()
  })
})

it('backs off up to a minute, and never below what the server has asked for', () => {
  const lost = { kind: 'not_sent', cause: 'ENOTFOUND' } as const
  expect(nextPoll(lost, 0)).toEqual({ kind: 'wait', ms: 2000 })
  expect(nextPoll(lost, 40_000)).toEqual({ kind: 'wait', ms: 60_000 })
  expect(nextPoll(lost, 90_000)).toEqual({ kind: 'wait', ms: 90_000 })
})
