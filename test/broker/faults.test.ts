import { generateKeyPairSync, sign } from 'node:crypto'
import { expect, test } from 'vitest'
import type { Fault } from '../../examples/server/faults.ts'
import type { TokenBrokerOptions } from '../../src/broker/broker.ts'
import { isAuthkeepError } from '../../src/errors.ts'
import type { Provider } from '../../src/provider.ts'
import { type Stage, setStage } from './stage.ts'

/*
 * Every fault of a token endpoint, and what comes of it. Each row begins with a login whose access token has expired.
 *
 * first      what the call hears that meets the fault: the scope of its token, or an error
 * state      what the entry says of the refresh token then
 * asked      how often the token endpoint has been asked by then
 * refreshed  how many of those the server has carried out, so that a refresh token was spent
 * then       what the next call hears, from a server that is well again
 * asked …    as above, after that; `reuse`: refresh tokens that the server has seen twice
 *
 * Whatever successor has reached us is stored, in every row, after either call.
 */
const table = `
fault                   rotation | first              state    asked refreshed | then          asked refreshed reuse
none                    strict   | files:read         live     1     1         | files:read    2     2         0
lost answer             strict   | server_unavailable in_doubt 1     1         | grant_revoked 2     1         1
lost answer             grace    | server_unavailable in_doubt 1     1         | files:read    2     2         0
lost answer             none     | server_unavailable live     1     1         | files:read    2     2         0
no answer               strict   | server_unavailable in_doubt 1     0         | files:read    2     1         0
reset                   strict   | server_unavailable in_doubt 1     0         | files:read    2     1         0
slow answer             strict   | server_unavailable in_doubt 1     1         | grant_revoked 2     1         1
slow answer             grace    | server_unavailable in_doubt 1     1         | files:read    2     2         0
500                     strict   | server_unavailable in_doubt 1     0         | files:read    2     1         0
500                     grace    | server_unavailable in_doubt 1     0         | files:read    2     1         0
500                     none     | server_unavailable live     1     0         | files:read    2     1         0
429                     strict   | server_unavailable live     1     0         | files:read    2     1         0
HTML                    strict   | server_unavailable in_doubt 1     0         | files:read    2     1         0
empty 400               strict   | server_unavailable in_doubt 1     0         | files:read    2     1         0
invalid_grant           strict   | grant_revoked      dead     1     0         | grant_revoked 1     0         0
invalid_client          strict   | server_rejected    live     1     0         | files:read    2     1         0
invalid_grant as 200    strict   | grant_revoked      dead     1     0         | grant_revoked 1     0         0
server_error as 200     strict   | server_unavailable in_doubt 1     0         | files:read    2     1         0
scope: null             strict   | response_invalid   live     1     1         | files:read    2     2         0
no token_type           strict   | response_invalid   live     1     1         | files:read    2     2         0
no access_token         strict   | response_invalid   live     1     1         | files:read    2     2         0
no refresh_token        none     | files:read         live     1     1         | files:read    2     2         0
narrowed scope          strict   | scope_missing      live     1     1         | files:read    2     2         0
foreign scope           strict   | scope_missing      live     1     1         | files:read    2     2         0
ID token, wrong sub     strict   | response_invalid   live     1     1         | files:read    2     2         0
ID token, wrong iss     strict   | response_invalid   live     1     1         | files:read    2     2         0
ID token, wrong aud     strict   | response_invalid   live     1     1         | files:read    2     2         0
ID token, wrong nonce   strict   | response_invalid   live     1     1         | files:read    2     2         0
ID token, right         strict   | files:read         live     1     1         | files:read    2     2         0
`

const key = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const jwks = { keys: [{ ...key.publicKey.export({ format: 'jwk' }), kid: 'test', alg: 'ES256', use: 'sig' }] }

/** An ID token, signed as it should be: with a key of ours, which the test serves as the server's. */
function idToken(claims: Readonly<Record<string, unknown>>): string {
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const signed = `${encode({ alg: 'ES256', kid: 'test' })}.${encode(claims)}`
  const signature = sign('sha256', Buffer.from(signed), { key: key.privateKey, dsaEncoding: 'ieee-p1363' })
  return `${signed}.${signature.toString('base64url')}`
}

interface Wrong {
  /** In front of the server. */
  readonly fault?: Fault
  /** In its answer; undefined: left out. */
  readonly members?: Readonly<Record<string, unknown>>
  /** In the ID token of its answer. */
  readonly claims?: Readonly<Record<string, unknown>>
}

const faults: Readonly<Record<string, Wrong>> = {
  none: {},
  'lost answer': { fault: 'lost' },
  'no answer': { fault: 'nothing' },
  reset: { fault: 'reset' },
  'slow answer': { fault: { slowMs: 2_000 } },
  '500': { fault: { status: 500 } },
  '429': { fault: { status: 429, retryAfter: '1' } },
  HTML: { fault: 'html' },
  'empty 400': { fault: 'empty400' },
  invalid_grant: { fault: { status: 400, body: '{"error":"invalid_grant"}' } },
  invalid_client: { fault: { status: 401, body: '{"error":"invalid_client"}' } },
  'invalid_grant as 200': { fault: { status: 200, body: '{"error":"invalid_grant"}' } },
  'server_error as 200': { fault: { status: 200, body: '{"error":"server_error"}' } },
  'scope: null': { members: { scope: null } },
  'no token_type': { members: { token_type: undefined } },
  'no access_token': { members: { access_token: undefined } },
  'no refresh_token': { members: { refresh_token: undefined } },
  'narrowed scope': { members: { scope: 'openid' } },
  'foreign scope': { members: { scope: 'mail:send' } },
  'ID token, wrong sub': { claims: { sub: 'mallory' } },
  'ID token, wrong iss': { claims: { iss: 'https://evil.example' } },
  'ID token, wrong aud': { claims: { aud: 'another' } },
  'ID token, wrong nonce': { claims: { nonce: 'another' } },
  'ID token, right': { claims: {} },
}

/** Makes the server of a stage do this wrong from now on. */
function spoil({ server }: Stage, { fault, members, claims }: Wrong): void {
  if (fault !== undefined) {
    server.fault(fault)
    return
  }
  const now = Math.floor(Date.now() / 1000)
  const right = { iss: server.issuer, aud: server.clientId, sub: 'alice', iat: now, exp: now + 600 }
  server.mutateResponse((body) => ({
    ...body,
    ...members,
    ...(claims === undefined ? {} : { id_token: idToken({ ...right, ...claims }) }),
  }))
}

const rotations: Readonly<Record<string, NonNullable<NonNullable<Provider['refresh']>['rotation']>>> = {
  strict: 'strict',
  grace: { graceMs: 30_000 },
  none: 'none',
}

const rows = table
  .trim()
  .split('\n')
  .slice(1)
  .map((line) => {
    const [what = '', first = '', then = ''] = line.split(' | ').map((part) => part.trim())
    const at = what.lastIndexOf(' ')
    return {
      fault: what.slice(0, at).trim(),
      rotation: what.slice(at + 1),
      first,
      expected: `${first} ${then}`.split(/\s+/),
    }
  })

/** For an answer that is slow. */
const impatient = { leaseMs: 3_000, httpTimeoutMs: 1_000, commitAllowanceMs: 500 }

interface Scene {
  readonly stage: Stage
  /** Refresh tokens that have reached us. */
  readonly received: string[]
  /** The scopes of a token, or the code of an error. */
  readonly call: () => Promise<string>
}

async function sceneOf(rotation: string, fault: string): Promise<Scene> {
  const stage = await setStage({
    // A server that forgives a second use does, for this test, not mind it at all.
    rotate: rotation === 'strict',
    provider: { refresh: { rotation: rotations[rotation] ?? 'strict', narrowing: 'honoured' } },
  })
  await stage.login()
  const received: string[] = []
  const options: Partial<TokenBrokerOptions> = {
    async fetch(input, init) {
      const { url, method } = new Request(input, init)
      if (url.includes('jwks') && fault.startsWith('ID token')) return Response.json(jwks)
      const response = await fetch(input, init)
      if (method !== 'POST' || !url.endsWith('/token')) return response
      const text = await response.text()
      const token = /"refresh_token":"([^"]+)"/.exec(text)?.[1]
      if (token !== undefined) received.push(token)
      return new Response(text === '' ? null : text, { status: response.status, headers: response.headers })
    },
  }
  const patient = stage.newBroker(options)
  const brokers = fault === 'slow answer' ? [stage.newBroker({ ...options, timing: impatient }), patient] : [patient]
  const call = async (): Promise<string> => {
    const broker = (brokers.length > 1 ? brokers.shift() : undefined) ?? patient
    try {
      return (await broker.getToken(stage.urls.files)).scopes.join(' ')
    } catch (error) {
      if (!isAuthkeepError(error)) throw error
      return error.code
    }
  }
  return { stage, received, call }
}

async function expectNothingLost(stage: Stage, received: readonly string[]): Promise<void> {
  if (received.length > 0) expect((await stage.credential()).grant.refreshToken?.reveal()).toBe(received.at(-1))
}

test.concurrent.each(rows)('$fault, rotation $rotation: $first', async ({ fault, rotation, expected }) => {
  const { stage, received, call } = await sceneOf(rotation, fault)
  try {
    await stage.expire()
    stage.server.reset()
    spoil(stage, faults[fault] ?? {})
    const tally = (): readonly string[] => {
      const { arrived, token, reuse } = stage.server.counts()
      return [arrived, (token['refresh_token'] ?? 0) - reuse, reuse].map(String)
    }
    const first = await call()
    const { state } = (await stage.credential()).grant
    const [asked = '', refreshed = ''] = tally()
    await expectNothingLost(stage, received)
    await stage.expire()
    stage.server.mutateResponse(null)
    const then = await call()
    await expectNothingLost(stage, received)
    expect([first, state, asked, refreshed, then, ...tally()]).toEqual(expected)
  } finally {
    await stage.stop()
  }
})

test.concurrent.each(Object.keys(faults))(
  '%s, while a token lives: that one, or a new one, and no error',
  async (fault) => {
    const { stage, received } = await sceneOf('strict', fault)
    try {
      const living = await stage.broker.getToken(stage.urls.files)
      spoil(stage, faults[fault] ?? {})
      const token = await stage
        .newBroker({ timing: impatient })
        .getToken(stage.urls.files, { minTtlMs: 24 * 3_600_000 })
      expect(token.scopes).toEqual(living.scopes)
      await expectNothingLost(stage, received)
    } finally {
      await stage.stop()
    }
  },
)
