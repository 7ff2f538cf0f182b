import { afterEach, describe, expect, it } from 'vitest'
import { demoProvider } from '../../examples/server/demo-provider.ts'
import { deviceFlow } from '../../src/grant/device-code.ts'
import type { Provider } from '../../src/provider.ts'
import { parseProvider } from '../../src/provider-files.ts'
import {
  type DeviceFault,
  type DeviceServer,
  type Dialect,
  formDialect,
  jsonDialect,
  startDeviceServer,
} from './device-server.ts'
import { expectNoSecret, grantRequest, oauth, rejection, stub } from './setup.ts'

let server: DeviceServer
afterEach(() => server.stop())

interface Attempt {
  readonly outcome: Promise<unknown>
  readonly codes: { userCode: string; verificationUri: string; verificationUriComplete?: string; expiresAt: number }[]
  readonly waits: number[]
}

/** A login in which time passes only while the flow sleeps; the polls meet `faults`, and the person does `visit` in the sleep of that number. */
async function attempt(
  dialect: Dialect,
  { visit = 1, changes = {}, faults = [] }: { visit?: number; changes?: object; faults?: readonly DeviceFault[] } = {},
): Promise<Attempt> {
  const provider: Provider = demoProvider(server, { deviceLogin: { ...dialect.provider(server.origin), ...changes } })
  const codes: Attempt['codes'] = []
  const waits: number[] = []
  let time = Date.now()
  const flow = deviceFlow({
    show: (code) => {
      codes.push(code)
      server.deviceFault(...faults)
    },
    sleep: async (ms) => {
      waits.push(ms)
      time += ms
      if (waits.length === visit) await server.approve(codes[0]?.userCode ?? '')
    },
  })
  const request = { now: () => time, resources: Object.keys(server.resources) }
  return { outcome: flow.run(grantRequest(await parseProvider(provider), request)), codes, waits }
}

describe.each([
  ['in JSON, with two statuses that mean "not yet"', jsonDialect, '/codex/device', 1000],
  ['in forms, under other names, with a page that comes with the code', formDialect, '/tv', 5000],
] as const)('a device login of its own: %s', (_, dialect, page, waitMs) => {
  it('shows a code, waits, and brings home the tokens of the code that it is given', async () => {
    server = await startDeviceServer(dialect)
    const { outcome, codes, waits } = await attempt(dialect, { visit: 3 })
    const answer = oauth((await outcome) as never)
    expect(codes).toMatchObject([{ verificationUri: `${server.origin}${page}` }])
    expect(codes[0]?.userCode).toMatch(/-WXYZ$/)
    expect(waits).toEqual([waitMs, waitMs, waitMs, 0])
    expect(answer.token).toMatchObject({ subject: 'alice', scopes: ['files:read'] })
    expect(answer.scopes).toEqual(['files:read', 'mail:read', 'offline_access', 'openid'])
    expect(answer.token.refreshToken).not.toBeNull()
    expectNoSecret(answer, [answer.token.accessToken.reveal()])
    expect(server.counts().token).toEqual({ authorization_code: 1 })
  })

  it('outlives a network that is gone and a server in trouble, at the polls and at the exchange', async () => {
    server = await startDeviceServer(dialect)
    const faults = ['cut', { status: 503 }, { status: 429, headers: { 'retry-after': '90' } }] as const
    server.fault('nothing', { status: 503 })
    const { outcome, waits } = await attempt(dialect, { visit: 4, faults })
    expect(oauth((await outcome) as never).token).toMatchObject({ subject: 'alice' })
    expect(waits).toEqual([waitMs, ...[2, 4].map((times) => waitMs * times), 90_000, 0, 2000, 4000])
  })

  it('says that its answer was lost where the code was exchanged and the tokens did not arrive', async () => {
    server = await startDeviceServer(dialect)
    server.fault('lost')
    const { outcome } = await attempt(dialect)
    expect(await rejection(outcome)).toMatchObject({
      code: 'authorization_required',
      detail: { reason: 'answer_lost' },
    })
  })

  it('ends when the code expires, by our clock', async () => {
    server = await startDeviceServer(dialect)
    const { outcome, waits } = await attempt(dialect, { visit: -1, changes: { lifetimeMs: 300_000 } })
    expect(await rejection(outcome)).toMatchObject({ code: 'authorization_required', detail: { reason: 'timed_out' } })
    expect(waits.reduce((sum, ms) => sum + ms, 0)).toBe(300_000 - waitMs)
  })

  it.each([
    ['access_denied', 'denied'],
    ['expired_token', 'timed_out'],
  ])('knows the %s of RFC 8628 behind a status that means "not yet", too', async (error, reason) => {
    server = await startDeviceServer(dialect)
    const faults = [{ status: 403, body: JSON.stringify({ error }) }]
    const { outcome } = await attempt(dialect, { visit: -1, faults })
    expect(await rejection(outcome)).toMatchObject({ code: 'authorization_required', detail: { reason } })
  })

  it('that is not enabled names the other ways', async () => {
    server = await startDeviceServer(dialect)
    const [status = 0] = dialect.provider('').disabledStatuses ?? []
    server.deviceFault({ status })
    const { outcome, codes } = await attempt(dialect)
    const detail = { provider: 'demo', account: 'default', unavailable: 'device', alternatives: ['paste', 'browser'] }
    expect(await rejection(outcome)).toMatchObject({ code: 'flow_unavailable', remedy: 'authorize', detail })
    expect(codes).toEqual([])
  })
})

describe('a device login of its own', () => {
  it.each([
    [{ status: 500 }, 'server_unavailable', { cause: 'http_500', sent: true }],
    [{ status: 400, body: '{"error":"invalid_client"}' }, 'server_rejected', { error: 'invalid_client' }],
    [{ status: 404, headers: { 'cf-mitigated': 'challenge' } }, 'edge_challenge', { host: /^127/ }],
    [{ status: 302, headers: { location: 'http://127.0.0.1:1/' } }, 'response_invalid', {}],
    [{ status: 200, body: '{"device_auth_id":"x"}' }, 'response_invalid', { what: /brings no code/ }],
    [{ status: 200, body: '{"device_auth_id":"x","user_code":"\\u001b[2J"}' }, 'response_invalid', { what: /shown/ }],
    ['cut', 'server_unavailable', { sent: true }],
  ] as const)('whose server begins with %j shows no code', async (fault, code, detail) => {
    server = await startDeviceServer(jsonDialect)
    server.deviceFault(fault)
    const { outcome, codes } = await attempt(jsonDialect)
    const failed = await rejection(outcome)
    expect(failed).toMatchObject({ code })
    for (const [name, value] of Object.entries(detail)) {
      const shown = (failed as { detail: Record<string, unknown> }).detail[name]
      if (value instanceof RegExp) expect(shown).toMatch(value)
      else expect(shown).toBe(value)
    }
    expect(codes).toEqual([])
  })

  it.each([
    [{ status: 403, headers: { 'cf-mitigated': 'challenge' } }, 'edge_challenge'],
    [{ status: 200, body: '{"authorization_code":"c0de"}' }, 'response_invalid'],
    [{ status: 410, body: '{"error":"gone"}' }, 'server_rejected'],
  ] as const)('ends at a poll where asking again cannot help: %j', async (fault, code) => {
    server = await startDeviceServer(jsonDialect)
    const { outcome, waits } = await attempt(jsonDialect, { visit: -1, faults: [fault] })
    const failed = await rejection(outcome)
    expect(failed).toMatchObject({ code })
    expectNoSecret(failed, ['c0de'])
    expect(waits).toHaveLength(1)
  })

  it('slows down when it is told to', async () => {
    server = await startDeviceServer(jsonDialect)
    const faults = [{ status: 403, body: '{"error":"slow_down"}' }]
    const { outcome, waits } = await attempt(jsonDialect, { visit: 2, faults })
    await outcome
    expect(waits).toEqual([1000, 6000, 0])
  })

  it('follows nobody to another place, and asks nobody but whom the provider names', async () => {
    const elsewhere = await stub((_, response) => void response.end('{}'))
    server = await startDeviceServer(jsonDialect)
    const faults = [{ status: 307, headers: { location: `${elsewhere.origin}/token` } }]
    const { outcome } = await attempt(jsonDialect, { visit: -1, faults })
    expect(await rejection(outcome)).toMatchObject({ code: 'response_invalid' })
    expect(elsewhere.requests).toEqual([])
    await elsewhere.stop()
  })

  it('ends with the reason of its signal', async () => {
    server = await startDeviceServer(jsonDialect)
    const abort = new AbortController()
    const reason = new Error('never mind')
    const provider = demoProvider(server, { deviceLogin: server.deviceLogin })
    const flow = deviceFlow({ show: () => void setImmediate(() => abort.abort(reason)) })
    expect(await rejection(flow.run(grantRequest(provider, { signal: abort.signal })))).toBe(reason)
    expect(server.asked).toEqual([jsonDialect.codePath])
  })
})
