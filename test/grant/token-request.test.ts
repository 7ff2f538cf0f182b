import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type AuthorizationServer, startAuthorizationServer } from '../../examples/server/authorization-server.ts'
import { demoProvider } from '../../examples/server/demo-provider.ts'
import type { Fault } from '../../examples/server/faults.ts'
import { completeLogin } from '../../examples/server/robot.ts'
import { type JsonObject, Secret } from '../../src/credential.ts'
import { discover } from '../../src/grant/discovery.ts'
import { loopbackFlow } from '../../src/grant/loopback.ts'
import { type RefreshOutcome, type RefreshRequest, refresh } from '../../src/grant/token-request.ts'
import type { AuthorizationServerMetadata, Provider } from '../../src/provider.ts'
import { expectNoSecret, grantRequest, json, nobody, oauth, rejection, type Stub, stub } from './setup.ts'

let server: AuthorizationServer
let provider: Provider
let metadata: AuthorizationServerMetadata
let files: string
let mail: string
let held: Secret

beforeAll(async () => {
  server = await startAuthorizationServer()
  provider = demoProvider(server)
  metadata = await discover(provider, { fetch })
  ;[files = '', mail = ''] = Object.keys(server.resources)
})
beforeEach(async () => {
  const flow = loopbackFlow({ openBrowser: (url) => void completeLogin(url) })
  const { token } = oauth(await flow.run(grantRequest(provider, { resources: [files, mail] })))
  held = token.refreshToken ?? new Secret('none')
  server.reset()
})
afterEach(() => server.reset())
afterAll(() => server.stop())

interface Refreshed {
  readonly outcome: RefreshOutcome
  /** What happened, in order. */
  readonly events: readonly string[]
  readonly bodies: readonly JsonObject[]
}

/** Refreshes with the token held, and holds the successor afterwards, as a careful caller would. */
async function refreshed(more: Partial<RefreshRequest> = {}): Promise<Refreshed> {
  const events: string[] = []
  const bodies: JsonObject[] = []
  const spent = held.reveal()
  const outcome = await refresh({
    provider,
    metadata,
    refreshToken: held,
    requestedScopes: ['files:read'],
    resource: files,
    expectedSubject: 'alice',
    fetch: (input, init) => {
      events.push(init?.method === 'POST' ? 'post' : 'get')
      return fetch(input, init)
    },
    now: Date.now,
    timeoutMs: 5000,
    beforeSend: () => void events.push('beforeSend'),
    onAnswer: async (body) => {
      events.push('onAnswer')
      await new Promise((resolve) => setImmediate(resolve))
      events.push('kept')
      bodies.push(body)
      if (typeof body['refresh_token'] === 'string' && body['refresh_token'] !== '')
        held = new Secret(body['refresh_token'])
    },
    ...more,
  })
  expectNoSecret(outcome, [spent, held.reveal()])
  return { outcome, events, bodies }
}

const sent = ['beforeSend', 'post']
const kept = [...sent, 'onAnswer', 'kept']

describe('a refresh that is served', () => {
  it('brings an access token and the successor, which was handed over before', async () => {
    const before = Date.now()
    const { outcome, events } = await refreshed({ scopes: ['files:read'] })
    expect(outcome).toMatchObject({
      kind: 'served',
      answer: { scopes: ['files:read'], evidence: 'response', resource: files, tokenType: 'Bearer', idToken: null },
    })
    expect(events).toEqual(kept)
    if (outcome.kind !== 'served') throw new Error('unreachable')
    expect(outcome.answer.refreshToken?.reveal()).toBe(held.reveal())
    expect(outcome.answer.expiresAt).toBeGreaterThanOrEqual(before + 300_000)
    expect(server.counts()).toMatchObject({ arrived: 1, token: { refresh_token: 1 }, reuse: 0 })
  })

  it('narrows the token and leaves the grant as wide as it was (RFC 6749 §6)', async () => {
    const narrow = await refreshed({ scopes: ['mail:read'], resource: mail })
    expect(narrow.outcome).toMatchObject({ kind: 'served', answer: { scopes: ['mail:read'], resource: mail } })
    const nothing = await refreshed({ scopes: ['openid'], resource: files })
    expect(nothing.outcome).toMatchObject({ kind: 'served', answer: { scopes: [], subject: 'alice' } })
    const wide = await refreshed()
    expect(wide.outcome).toMatchObject({ kind: 'served', answer: { scopes: ['files:read'], subject: 'alice' } })
  })

  it('fetches signing keys once for one metadata object', async () => {
    const fresh = { ...metadata }
    expect((await refreshed({ metadata: fresh })).events).toEqual([...kept, 'get'])
    expect((await refreshed({ metadata: fresh })).events).toEqual(kept)
  })

  it('assumes the requested scopes when the answer leaves scope out', async () => {
    server.mutateResponse(({ scope: _, ...body }) => body)
    const { outcome } = await refreshed({ requestedScopes: ['files:write', 'files:read'] })
    expect(outcome).toMatchObject({ answer: { scopes: ['files:read', 'files:write'], evidence: 'assumed' } })
  })

  it('counts lifetimes from when the answer came, in numbers or numeric strings', async () => {
    server.mutateResponse((body) => ({ ...body, expires_in: '60', refresh_token_expires_in: 120 }))
    const { outcome } = await refreshed({ now: () => 1000 })
    expect(outcome).toMatchObject({ answer: { obtainedAt: 1000, expiresAt: 61_000, refreshExpiresAt: 121_000 } })
  })

  it("tells what the server's clock said, where it said so", async () => {
    const dated = (date: string | null): typeof fetch => {
      return async (input, init) => {
        const response = await fetch(input, init)
        const headers = new Headers(response.headers)
        headers.delete('date')
        if (date !== null) headers.set('date', date)
        return new Response(await response.text(), { status: response.status, headers })
      }
    }
    const said = async (date: string | null): Promise<unknown> => {
      const { outcome } = await refreshed({ fetch: dated(date) })
      return outcome.kind === 'served' ? outcome.answer.serverTime : outcome
    }
    expect(await said('Sun, 06 Nov 1994 08:49:37 GMT')).toBe(784_111_777_000)
    expect(await said(null)).toBeUndefined()
    expect(await said('yesterday')).toBeUndefined()
  })
})

describe('a refresh that is not served', () => {
  const spentBy = async (fault: Fault, more: Partial<RefreshRequest> = {}): Promise<Refreshed> => {
    server.fault(fault)
    return refreshed(more)
  }

  it('was not sent when nobody listens', async () => {
    const gone = { ...metadata, token_endpoint: `${await nobody()}/token` }
    const { outcome, events } = await refreshed({ metadata: gone })
    expect(outcome).toEqual({ kind: 'not_sent', cause: 'ECONNREFUSED' })
    expect(events).toEqual(sent)
  })

  it('was not sent when beforeSend threw, which is passed on', async () => {
    const late = new Error('the lease is gone')
    const beforeSend = (): never => {
      throw late
    }
    expect(await rejection(refreshed({ beforeSend }))).toBe(late)
    expect(server.counts().arrived).toBe(0)
  })

  it('was not sent when the endpoint must not be used', async () => {
    const unsafe = { ...metadata, token_endpoint: 'http://as.example/token' }
    expect(await rejection(refreshed({ metadata: unsafe }))).toMatchObject({ code: 'response_invalid' })
  })

  it.each<[Fault, object]>([
    [
      { status: 429, retryAfter: '3' },
      { kind: 'limited', status: 429, cause: 'rate_limited', retryAfterMs: 3000 },
    ],
    [
      { status: 403, headers: { 'cf-mitigated': 'challenge' } },
      { kind: 'limited', status: 403, cause: 'edge_challenge', edge: { vendor: 'Cloudflare' } },
    ],
    ['nothing', { kind: 'ambiguous', cause: 'UND_ERR_SOCKET' }],
    ['lost', { kind: 'ambiguous', cause: 'UND_ERR_SOCKET' }],
    ['html', { kind: 'ambiguous', status: 200, cause: 'html' }],
    ['empty400', { kind: 'ambiguous', status: 400, cause: 'empty' }],
    [
      { status: 400, body: '<html>' },
      { kind: 'ambiguous', status: 400, cause: 'html' },
    ],
    [
      { status: 400, body: '{"error":"invalid_request"}' },
      { kind: 'ambiguous', status: 400, cause: 'invalid_request' },
    ],
    [{ status: 500 }, { kind: 'ambiguous', status: 500, cause: 'http_500' }],
    [{ status: 503 }, { kind: 'ambiguous', status: 503, cause: 'http_503' }],
    [
      { status: 307, headers: { location: '/elsewhere' } },
      { kind: 'ambiguous', status: 307, cause: 'empty' },
    ],
    [
      { status: 401, body: '{"error":{"code":"token_eaten"}}' },
      { kind: 'ambiguous', error: 'token_eaten' },
    ],
    [
      { status: 401, body: '{"error":"invalid_client"}' },
      { kind: 'refused', status: 401, error: 'invalid_client' },
    ],
  ])('tells what %j means for the refresh token, and sends it once', async (fault, expected) => {
    const { outcome, events } = await spentBy(fault)
    expect(outcome).toMatchObject(expected)
    expect(events).toEqual(sent)
    expect(server.counts().arrived).toBe(1)
  })

  it('is rejected by what the provider says means that, and only there', async () => {
    const fault = { status: 401, body: '{"error":{"code":"token_eaten"}}' }
    server.fault(fault)
    const declared: Provider = { ...provider, refresh: { deadErrors: ['token_eaten'] } }
    expect((await refreshed({ provider: declared })).outcome).toMatchObject({ kind: 'rejected', error: 'token_eaten' })
  })

  it('may have been spent when its time is up', async () => {
    const { outcome } = await spentBy({ slowMs: 200 }, { timeoutMs: 30 })
    expect(outcome).toEqual({ kind: 'ambiguous', cause: 'timeout' })
    expect((await refreshed()).outcome).toMatchObject({ kind: 'rejected' })
  })

  it('is rejected when the token was spent before, which ends the grant', async () => {
    const first = held
    await refreshed()
    const successor = held
    const again = await refreshed({ refreshToken: first })
    expect(again.outcome).toMatchObject({ kind: 'rejected', status: 400, error: 'invalid_grant' })
    expect(again.events).toEqual(sent)
    expect((await refreshed({ refreshToken: successor })).outcome).toMatchObject({ kind: 'rejected' })
    expect(server.counts()).toMatchObject({ reuse: 1, revoked: 1 })
  })

  it('is refused unspent for a scope that was not granted', async () => {
    expect((await refreshed({ scopes: ['files:write'] })).outcome).toMatchObject({
      kind: 'refused',
      error: 'invalid_scope',
    })
    expect((await refreshed()).outcome).toMatchObject({ kind: 'served' })
  })

  it('is ambiguous for a resource that was not granted: this server has spent the token', async () => {
    const { outcome } = await refreshed({ resource: 'https://other.example/' })
    expect(outcome).toMatchObject({ kind: 'ambiguous', status: 400, cause: 'invalid_target', error: 'invalid_target' })
    expect((await refreshed()).outcome).toMatchObject({ kind: 'rejected', error: 'invalid_grant' })
  })
})

describe('an answer that cannot be trusted', () => {
  const idToken = (change: (claims: Record<string, unknown>) => object) => (body: Record<string, unknown>) => {
    const [header = '', payload = '', signature = ''] = String(body['id_token']).split('.')
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<string, unknown>
    const changed = Buffer.from(JSON.stringify(change(claims))).toString('base64url')
    return { ...body, id_token: [header, changed, signature].join('.') }
  }
  const somebodyElse = 'its ID token is for somebody else, by somebody else, or not for this login'

  it.each([
    ['a null scope', (body: object) => ({ ...body, scope: null }), 'its scope is missing or malformed'],
    ['no token type', (body: object) => ({ ...body, token_type: undefined }), 'its token_type is missing or malformed'],
    [
      'no access token',
      (body: object) => ({ ...body, access_token: undefined }),
      'its access_token is missing or malformed',
    ],
    ['a negative lifetime', (body: object) => ({ ...body, expires_in: -1 }), 'its expires_in is missing or malformed'],
    ['an ID token by somebody else', idToken((claims) => ({ ...claims, iss: 'https://evil.example' })), somebodyElse],
    ['an ID token for somebody else', idToken((claims) => ({ ...claims, aud: 'another' })), somebodyElse],
    ['an expired ID token', idToken((claims) => ({ ...claims, exp: 1 })), 'its ID token is not valid at this time'],
    [
      'an ID token changed after signing',
      idToken((claims) => ({ ...claims, sub: 'mallory' })),
      'its ID token has a wrong signature',
    ],
    ['no JSON Web Token at all', (body: object) => ({ ...body, id_token: 'x' }), 'it does not follow the protocol'],
  ])('is invalid with %s, after its successor was kept', async (_, mutation, what) => {
    server.mutateResponse(mutation)
    const { outcome, events } = await refreshed()
    expect(outcome).toEqual({ kind: 'invalid', status: 200, what })
    expect(events.slice(0, 4)).toEqual(kept)
    server.mutateResponse(null)
    expect((await refreshed()).outcome).toMatchObject({ kind: 'served' })
  })

  it.each([
    ['cannot be reached', async () => Promise.reject(new TypeError('fetch failed'))],
    ['are a page of an edge', async () => new Response('<html>', { status: 503 })],
  ])('is none because the signing keys %s: TLS vouches for the ID token, the rest is checked', async (_, keys) => {
    let posts = 0
    const watched: typeof fetch = async (input, init) => {
      if (init?.method === 'POST') posts++
      return new Request(input).url.includes('jwks') ? keys() : fetch(input, init)
    }
    const unknown = (): object => ({ fetch: watched, metadata: { ...metadata } })
    expect((await refreshed(unknown())).outcome).toMatchObject({ kind: 'served' })
    server.mutateResponse(idToken((claims) => ({ ...claims, aud: 'another' })))
    expect((await refreshed(unknown())).outcome).toEqual({ kind: 'invalid', status: 200, what: somebodyElse })
    expect(posts).toBe(2)
  })

  it('is invalid when its ID token is about another subject (OpenID Connect Core §12.2)', async () => {
    const { outcome, events } = await refreshed({ expectedSubject: 'bob' })
    expect(outcome).toEqual({ kind: 'invalid', status: 200, what: 'its ID token is about another subject' })
    expect(events).toEqual(expect.arrayContaining(kept))
  })

  it('is invalid with an empty successor', async () => {
    server.mutateResponse((body) => ({ ...body, refresh_token: '' }))
    expect((await refreshed()).outcome).toMatchObject({
      kind: 'invalid',
      what: 'its refresh_token is missing or malformed',
    })
  })

  it('is not judged when it could not be kept: that is passed on', async () => {
    const full = new Error('no space left')
    expect(await rejection(refreshed({ onAnswer: () => Promise.reject(full) }))).toBe(full)
  })

  it('is judged only after it was kept', async () => {
    server.mutateResponse((body) => ({ ...body, scope: null }))
    let done: () => void = () => undefined
    let asked: () => void = () => undefined
    const keeping = new Promise<void>((resolve) => {
      done = resolve
    })
    const answered = new Promise<void>((resolve) => {
      asked = resolve
    })
    const onAnswer = (): Promise<void> => {
      asked()
      return keeping
    }
    let settled = false
    const refreshing = refreshed({ onAnswer }).finally(() => {
      settled = true
    })
    await answered
    await new Promise((resolve) => setImmediate(resolve))
    expect(settled).toBe(false)
    done()
    expect((await refreshing).outcome).toMatchObject({ kind: 'invalid' })
  })
})

describe('the request itself', () => {
  let token: Stub
  afterEach(() => token.stop())

  const at = (origin: string, more: Partial<Provider> = {}): Partial<RefreshRequest> => ({
    provider: { id: 'acme', issuer: origin, client: { id: 'cli' }, ...more },
    metadata: { issuer: origin, token_endpoint: `${origin}/token` },
    resource: null,
  })
  const good = { access_token: 'ACCESS', token_type: 'bearer', refresh_token: 'NEXT' }

  it('is a form, with scope and resource only when given', async () => {
    token = await stub((_, response) => json(response, 200, good))
    const spent = held.reveal()
    expect((await refreshed(at(token.origin))).outcome).toMatchObject({ kind: 'served', answer: { expiresAt: null } })
    await refreshed({ ...at(token.origin), scopes: ['a', 'b'], resource: 'https://api.example/' })
    const [first, second] = token.requests.map(({ body }) => Object.fromEntries(new URLSearchParams(body)))
    expect(token.requests[0]?.type).toMatch(/^application\/x-www-form-urlencoded/)
    expect(first).toEqual({ grant_type: 'refresh_token', refresh_token: spent, client_id: 'cli' })
    expect(second).toMatchObject({ scope: 'a b', resource: 'https://api.example/', refresh_token: 'NEXT' })
  })

  it('is JSON where the provider says so', async () => {
    token = await stub((_, response) => json(response, 200, good))
    const spent = held.reveal()
    const { outcome } = await refreshed(at(token.origin, { refresh: { encoding: 'json' } }))
    expect(outcome).toMatchObject({ kind: 'served', answer: { evidence: 'assumed' } })
    expect(token.requests[0]?.type).toBe('application/json')
    expect(JSON.parse(token.requests[0]?.body ?? '')).toEqual({
      grant_type: 'refresh_token',
      refresh_token: spent,
      client_id: 'cli',
    })
  })

  it('authenticates in the body when there is a secret', async () => {
    token = await stub((_, response) => json(response, 200, good))
    await refreshed(at(token.origin, { client: { id: 'cli', secret: 'CLIENT-SECRET' } }))
    expect(new URLSearchParams(token.requests[0]?.body).get('client_secret')).toBe('CLIENT-SECRET')
  })

  it('never repeats what a server says about it when that contains a secret', async () => {
    token = await stub((_, response, body) => {
      const description = `unknown token ${new URLSearchParams(body).get('refresh_token') ?? ''}`
      json(response, 400, { error: 'invalid_grant', error_description: description })
    })
    expect((await refreshed(at(token.origin))).outcome).toEqual({
      kind: 'rejected',
      status: 400,
      error: 'invalid_grant',
    })
  })

  it('is ambiguous when its answer is cut off', async () => {
    token = await stub((_, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': '500' })
      response.write('{"access_token":"ACC', () => response.destroy())
    })
    const { outcome, events } = await refreshed(at(token.origin))
    expect(outcome).toMatchObject({ kind: 'ambiguous', status: 200 })
    expect(events).toEqual(sent)
  })

  it('hands over a form-encoded answer too', async () => {
    token = await stub((_, response) => {
      const body = new URLSearchParams({ ...good, expires_in: '60' }).toString()
      response.writeHead(200, { 'content-type': 'application/x-www-form-urlencoded' }).end(body)
    })
    const { outcome, bodies } = await refreshed(at(token.origin))
    expect(outcome).toMatchObject({ kind: 'served' })
    expect(bodies).toMatchObject([{ refresh_token: 'NEXT' }])
  })
})
