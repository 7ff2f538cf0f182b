import { exportJWK, generateKeyPair, type JWK, type JWTHeaderParameters, SignJWT } from 'jose'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { completeLogin } from '../../examples/server/robot.ts'
import { jwtEvidence } from '../../src/claims.ts'
import { type JsonObject, Secret } from '../../src/credential.ts'
import { loopbackFlow } from '../../src/grant/loopback.ts'
import { type TokenValidation, type ValidationRequest, validateToken } from '../../src/grant/validate.ts'
import type { AuthorizationServerMetadata, Provider } from '../../src/provider.ts'
import { type FullServer, startFullServer } from './full-server.ts'
import { expectNoSecret, grantRequest, json, nobody, oauth, type Stub, stub } from './setup.ts'

const now = 1_790_000_000_000
const seconds = now / 1000
const issuer = 'https://as.example'
const provider: Provider = { id: 'acme', issuer, client: { id: 'cli' }, accessTokens: 'jwt' }

interface Key {
  readonly jwk: JWK
  readonly sign: (claims: JsonObject, header?: Partial<JWTHeaderParameters>) => Promise<Secret>
}

async function newKey(kid?: string): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair('ES256')
  const named = kid === undefined ? {} : { kid }
  return {
    jwk: { ...(await exportJWK(publicKey)), ...named },
    sign: async (claims, header = {}) =>
      new Secret(await new SignJWT(claims).setProtectedHeader({ alg: 'ES256', ...named, ...header }).sign(privateKey)),
  }
}

let mine: Key
let foreign: Key
let keys: JWK[]
let jwks: Stub
let metadata: AuthorizationServerMetadata
beforeAll(async () => {
  mine = await newKey('mine')
  foreign = await newKey('mine')
  keys = [mine.jwk]
  jwks = await stub((_, response) => json(response, 200, { keys }))
})
afterEach(() => jwks.requests.splice(0))
afterAll(() => jwks.stop())

async function validated(token: Secret, more: Partial<ValidationRequest> = {}): Promise<TokenValidation> {
  metadata = { issuer, jwks_uri: `${jwks.origin}/keys` }
  const request = { provider, metadata, token, fetch, now: () => now, timeoutMs: 5000 }
  const outcome = await validateToken({ ...request, kind: 'access_token', audience: 'api', ...more })
  expectNoSecret(outcome, [token.reveal()])
  return outcome
}

/** Claims with some changed; null takes one away. */
function changed(claims: JsonObject, change: JsonObject): JsonObject {
  const all: JsonObject = { ...claims, ...change }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== null))
}

const access = { iss: issuer, aud: 'api', sub: 'alice', exp: seconds + 60, scope: 'files:read files:write' }

describe('a JWT access token (RFC 9068)', () => {
  it('is checked, and shows what it is', async () => {
    const evidence = {
      scopes: ['files:read', 'files:write'],
      audience: ['api'],
      issuer,
      subject: 'alice',
      expiresAt: now + 60_000,
      issuedAt: null,
      notBefore: null,
    }
    const token = await mine.sign(access, { typ: 'at+jwt' })
    expect(await validated(token, { scopes: ['files:read'] })).toEqual({ kind: 'valid', evidence })
    expect(jwtEvidence(token)).toEqual(evidence)
  })

  it.each<[string, JsonObject, JsonObject]>([
    ['issuer', { iss: 'https://other.example' }, {}],
    ['issuer', { iss: null }, {}],
    ['audience', { aud: ['other'] }, {}],
    ['audience', { aud: null }, {}],
    ['expired', { exp: seconds - 60 }, {}],
    ['claims', { exp: 'soon' }, {}],
    ['claims', { exp: null }, {}],
    ['not_yet_valid', { nbf: seconds + 60 }, {}],
    ['claims', { nbf: 'soon' }, {}],
    ['scope', { scope: 'files:write' }, {}],
    ['scope', { scope: null, scp: ['mail'] }, {}],
    ['scope', { scope: null }, {}],
    ['type', {}, { typ: 'dpop+jwt' }],
    ['signature', {}, { kid: 'unknown' }],
  ])('is not taken for good: %s of %j %j', async (fault, claims, header) => {
    const token = await mine.sign(changed(access, claims), header)
    expect(await validated(token, { scopes: ['files:read'] })).toMatchObject({ kind: 'invalid', fault })
  })

  it.each([{}, { typ: 'JWT' }, { typ: 'application/AT+jwt' }])('may have a type: %j', async (header) => {
    expect(await validated(await mine.sign(access, header))).toMatchObject({ kind: 'valid' })
  })

  it('must be signed by a key of the issuer, and by a key at all', async () => {
    expect(await validated(await foreign.sign(access))).toMatchObject({ kind: 'invalid', fault: 'signature' })
    const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
    const unsigned = new Secret(`${encode({ alg: 'none' })}.${encode(access)}.`)
    expect(await validated(unsigned)).toMatchObject({ kind: 'invalid', fault: 'signature' })
    const secret = new TextEncoder().encode(JSON.stringify(mine.jwk).padEnd(64))
    const confused = new Secret(await new SignJWT(access).setProtectedHeader({ alg: 'HS256' }).sign(secret))
    expect(await validated(confused)).toMatchObject({ kind: 'invalid', fault: 'signature' })
  })

  it('that names no key of several is tried with each', async () => {
    const [one, two, other] = await Promise.all([newKey(), newKey(), newKey()])
    keys = [one.jwk, two.jwk]
    expect(await validated(await two.sign(access))).toMatchObject({ kind: 'valid' })
    expect(await validated(await other.sign(access))).toMatchObject({ kind: 'invalid', fault: 'signature' })
    expect(await validated(await two.sign({ ...access, aud: 'x' }))).toMatchObject({ fault: 'audience' })
    keys = [mine.jwk]
  })

  it('counts implied scopes', async () => {
    const implies = { 'files:write': ['files:read'] }
    const token = await mine.sign({ ...access, scope: 'files:write' })
    const outcome = await validated(token, { provider: { ...provider, implies }, scopes: ['files:read'] })
    expect(outcome).toMatchObject({ kind: 'valid' })
  })

  it('is malformed if it is none, and opaque where the provider does not declare what it is', async () => {
    for (const text of ['an-opaque-token', 'a.b.c'])
      expect(await validated(new Secret(text))).toEqual({ kind: 'invalid', fault: 'malformed', evidence: null })
    const { accessTokens: _, ...undeclared } = provider
    for (const as of [undeclared, { ...provider, accessTokens: 'opaque' } as const])
      expect(await validated(await foreign.sign(access), { provider: as })).toEqual({ kind: 'opaque' })
    expect(jwks.requests).toEqual([])
  })

  it('is neither good nor bad while the keys cannot be had', async () => {
    const token = await mine.sign(access)
    const at = (uri: string | undefined): Promise<TokenValidation> =>
      validated(token, { metadata: { issuer, ...(uri === undefined ? {} : { jwks_uri: uri }) } })
    expect(await at(await nobody())).toEqual({ kind: 'unavailable', cause: 'ECONNREFUSED' })
    const broken = await stub((request, response) => json(response, request.url === '/500' ? 500 : 200, 'no keys'))
    for (const uri of [undefined, 'http://as.example/keys', `${broken.origin}/500`, `${broken.origin}/text`])
      expect(await at(uri)).toEqual({ kind: 'unavailable', cause: 'no_keys' })
    await broken.stop()
  })

  it('costs one look at the keys for one metadata object', async () => {
    const token = await mine.sign(access)
    const one = { issuer, jwks_uri: `${jwks.origin}/keys` }
    await validated(token, { metadata: one })
    await validated(token, { metadata: one })
    expect(jwks.requests).toHaveLength(1)
  })
})

describe('an ID token (OpenID Connect Core §3.1.3.7)', () => {
  const id = { iss: issuer, aud: 'cli', sub: 'alice', exp: seconds + 60, iat: seconds }

  it.each<[string, JsonObject]>([
    ['valid', {}],
    ['valid', { aud: ['cli'] }],
    ['valid', { aud: ['cli', 'other'], azp: 'cli' }],
    ['audience', { aud: ['cli', 'other'] }],
    ['audience', { aud: ['cli', 'other'], azp: 'other' }],
    ['audience', { azp: 'other' }],
    ['audience', { aud: 'api' }],
    ['claims', { sub: null }],
    ['claims', { iat: null }],
    ['expired', { exp: seconds - 60 }],
  ])('is for this client: %s with %j', async (judgement, claims) => {
    const { accessTokens: _, ...as } = provider
    const outcome = await validated(await mine.sign(changed(id, claims)), { provider: as, kind: 'id_token' })
    expect('fault' in outcome ? outcome.fault : outcome.kind).toBe(judgement)
  })
})

describe('what a token shows (unverified)', () => {
  it.each<[JsonObject, object]>([
    [{}, { scopes: null, audience: [], issuer: null, subject: null, expiresAt: null, notBefore: null }],
    [{ scp: 'b a' }, { scopes: ['a', 'b'] }],
    [{ scp: ['b', 'a', 7] }, { scopes: ['a', 'b'] }],
    [{ scope: '', scp: ['b'] }, { scopes: [] }],
    [{ scope: 7, scp: ['b'] }, { scopes: ['b'] }],
    [
      { aud: ['x', 7, 'y'], exp: 'soon', nbf: 7 },
      { audience: ['x', 'y'], expiresAt: null, notBefore: 7000 },
    ],
  ])('is read as far as it can be: %j', async (claims, evidence) => {
    expect(jwtEvidence(await mine.sign(claims))).toMatchObject(evidence)
  })

  it('is nothing where it is opaque', () => {
    for (const text of ['', 'abc', 'a.b.c', `a.${Buffer.from('[]').toString('base64url')}.c`])
      expect(jwtEvidence(new Secret(text))).toBeNull()
  })
})

describe('tokens of a real server', () => {
  let server: FullServer
  beforeAll(async () => {
    server = await startFullServer({ accessTokenFormat: 'jwt' })
  })
  afterAll(() => server.stop())

  it('are good for what they were issued for', async () => {
    const [files = '', mail = ''] = server.resourceList
    const as: Provider = { ...server.person, accessTokens: 'jwt' }
    const flow = loopbackFlow({ openBrowser: (url) => void completeLogin(url) })
    const { token } = oauth(await flow.run(grantRequest(as, { resources: [files, mail] })))
    const request = { provider: as, metadata: server.metadata, fetch, now: Date.now, timeoutMs: 5000 }
    const accessToken = { ...request, token: token.accessToken, kind: 'access_token' } as const
    const valid = { kind: 'valid', evidence: { subject: 'alice' } }
    expect(await validateToken({ ...accessToken, audience: files, scopes: ['files:read'] })).toMatchObject(valid)
    expect(await validateToken({ ...accessToken, audience: mail })).toMatchObject({ fault: 'audience' })
    const idToken = { ...request, token: token.idToken ?? new Secret(''), kind: 'id_token' } as const
    expect(await validateToken(idToken)).toMatchObject(valid)
    expect(await validateToken({ ...accessToken, token: idToken.token, audience: files })).toMatchObject({
      fault: 'audience',
    })
  })
})
