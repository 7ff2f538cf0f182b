import { describe, expect, test } from 'vitest'
import { decide, type Moment } from '../../src/broker/decide.ts'
import { type JsonObject, type OAuthCredential, Secret } from '../../src/credential.ts'
import type { Requirement } from '../../src/endpoint.ts'
import type { Provider } from '../../src/provider.ts'
import { setStage } from './stage.ts'

const now = 1_800_000_000_000
const seconds = now / 1000
const issuer = 'https://as.example'
const provider: Provider = { id: 'acme', issuer, client: { id: 'cli' } }
const declared: Provider = { ...provider, accessTokens: 'jwt' }

const jwt = (claims: JsonObject): Secret =>
  new Secret(`e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2ln`)

interface Case {
  readonly provider?: Provider
  readonly audience?: string
  /** What the answer said; default what is needed. */
  readonly said?: readonly string[]
  readonly needed?: readonly string[]
  readonly obtainedAt?: number
}

/** What is done about a call, with one stored token that shows these claims. */
function decided(claims: JsonObject, { said, needed = ['files:read'], ...more }: Case = {}): string {
  const scopes = said ?? needed
  const held: OAuthCredential = {
    ...{ type: 'oauth', provider: 'acme', account: 'default', issuer, clientId: 'cli', subject: 'me', lease: null },
    grant: {
      ...{ scopes, evidence: 'response', resources: [], refreshToken: new Secret('r-1'), refreshExpiresAt: null },
      ...{ generation: 1, obtainedAt: now - 10_000, state: 'live', replays: 0 },
    },
    tokens: [
      {
        ...{ accessToken: jwt(claims), tokenType: 'Bearer', scopes, resource: null, evidence: 'response' },
        ...{ expiresAt: now + 3_600_000, obtainedAt: more.obtainedAt ?? now - 10_000 },
      },
    ],
  }
  const { audience } = more
  const wanted: Requirement = {
    ...{ scopes: needed, resource: null, accepts: ['oauth'] },
    ...(audience === undefined ? {} : { audience }),
  }
  const moment: Moment = {
    ...{ now, provider: more.provider ?? provider, minTtlMs: null, startedAt: now, rejected: null, leeway: 0 },
  }
  return decide(held, wanted, moment).action
}

describe('a stored JWT access token', () => {
  test.each<[string, string, JsonObject, Case]>([
    ['that is not valid yet is not sent', 'refresh', { nbf: seconds + 600 }, {}],
    ['that was made for later is not sent', 'refresh', { iat: seconds - 10, nbf: seconds + 600 }, {}],
    ['that is valid since a moment ago is sent', 'use', { nbf: seconds - 1 }, {}],
    ['from a clock that is a little ahead is sent', 'use', { nbf: seconds + 30 }, {}],
    [
      'from a clock that is far ahead is sent, if it was valid when it was issued',
      'use',
      { iat: seconds + 900, nbf: seconds + 900 },
      { obtainedAt: now },
    ],
    ['of another issuer is not sent', 'refresh', { iss: 'https://other.example' }, { provider: declared }],
    ['of its issuer is sent', 'use', { iss: issuer }, { provider: declared }],
    ['that nobody declared to be one may name an issuer of its own', 'use', { iss: 'https://sts.example/1/' }, {}],
    [
      'for another audience is not sent',
      'refresh',
      { aud: 'https://mail.example' },
      { audience: 'https://api.example' },
    ],
    ['for other audiences is not sent', 'refresh', { aud: ['a', 'b'] }, { audience: 'https://api.example' }],
    [
      'for one audience of several is sent',
      'use',
      { aud: ['a', 'https://api.example'] },
      { audience: 'https://api.example' },
    ],
    ['for an audience that nobody asks about is sent', 'use', { aud: 'https://mail.example' }, {}],
    ['with the scopes in a list is sent', 'use', { scp: ['files:list', 'files:read'] }, {}],
    ['with less in the list than was said is not sent', 'refresh', { scp: ['files:list'] }, {}],
    [
      'with the last part of a scope that is a URL is sent',
      'use',
      { scp: 'Mail.Read User.Read' },
      { needed: ['https://graph.example/Mail.Read'] },
    ],
    [
      'with the last part of another scope only is not sent',
      'refresh',
      { scp: 'User.Read' },
      { needed: ['https://graph.example/Mail.Read'] },
    ],
  ])('%s', (_, action, claims, more) => expect(decided(claims, more)).toBe(action))
})

test('a server whose new token is not valid yet is asked once, and its refresh token is kept', async () => {
  const stage = await setStage()
  try {
    await stage.login()
    await stage.expire()
    stage.server.reset()
    const iat = Math.floor(Date.now() / 1000)
    stage.server.mutateResponse((body) => ({ ...body, access_token: jwt({ iat, nbf: iat + 3600 }).reveal() }))
    const before = await stage.credential()
    await expect(stage.broker.getToken(stage.urls.files)).rejects.toMatchObject({ code: 'response_invalid' })
    expect(stage.server.counts().token['refresh_token']).toBe(1)
    expect((await stage.credential()).grant.generation).toBe(before.grant.generation + 1)
  } finally {
    await stage.stop()
  }
})
