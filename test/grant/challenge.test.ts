import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Challenge, parseChallenges, readChallenges } from '../../src/grant/challenge.ts'

const refusal = (header: string, body?: string) => {
  const { challenges: _, ...said } = readChallenges(new Headers({ 'www-authenticate': header }), body)
  return said
}
const refusedBy = (body: unknown) => readChallenges(new Headers(), JSON.stringify(body))

describe('a WWW-Authenticate header', () => {
  it.each<[string, readonly Challenge[]]>([
    ['', []],
    ['Bearer', [{ scheme: 'bearer', params: {} }]],
    [
      'Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="simple"',
      [
        { scheme: 'newauth', params: { realm: 'apps', type: '1', title: 'Login to "apps"' } },
        { scheme: 'basic', params: { realm: 'simple' } },
      ],
    ],
    [
      'Negotiate dG9rZW4=, Bearer error="invalid_token"',
      [
        { scheme: 'negotiate', params: {}, token68: 'dG9rZW4=' },
        { scheme: 'bearer', params: { error: 'invalid_token' } },
      ],
    ],
    [
      'Negotiate, DPoP algs="ES256 PS256"',
      [
        { scheme: 'negotiate', params: {} },
        { scheme: 'dpop', params: { algs: 'ES256 PS256' } },
      ],
    ],
    // What RFC 9110 does not allow and servers send.
    ['Bearer Scope = a', [{ scheme: 'bearer', params: { scope: 'a' } }]],
    ['Bearer error="x" scope="a b"', [{ scheme: 'bearer', params: { error: 'x', scope: 'a b' } }]],
    ['Bearer url=https://a.example/b?c=d', [{ scheme: 'bearer', params: { url: 'https://a.example/b?c=d' } }]],
    [',, Bearer error="x",', [{ scheme: 'bearer', params: { error: 'x' } }]],
    ['Bearer scope="open', [{ scheme: 'bearer', params: { scope: 'open' } }]],
    ['Bearer scope=a, scope=b', [{ scheme: 'bearer', params: { scope: 'a' } }]],
    ['@ = "', []],
  ])('is read into its challenges: %s', (header, challenges) => {
    expect(parseChallenges(header)).toEqual(challenges)
  })

  it('is read back as it was written', () => {
    const token = fc.stringMatching(/^[a-z][a-z0-9_.-]{0,8}$/)
    const param = fc.tuple(token, fc.string({ unit: 'binary-ascii' }))
    const challenge = fc.record({ scheme: token, params: fc.uniqueArray(param, { selector: ([name]) => name }) })
    const quote = (value: string): string => `"${value.replace(/["\\]/g, '\\$&')}"`
    fc.assert(
      fc.property(fc.array(challenge), (challenges) => {
        const header = challenges
          .map(
            ({ scheme, params }) => `${scheme} ${params.map(([name, value]) => `${name}=${quote(value)}`).join(', ')}`,
          )
          .join(', ')
        const written = challenges.map(({ scheme, params }) => ({ scheme, params: Object.fromEntries(params) }))
        expect(parseChallenges(header)).toEqual(written)
      }),
    )
  })

  it('may be anything at all, and as long as it likes', () => {
    fc.assert(fc.property(fc.string(), (text) => void parseChallenges(text)))
    fc.assert(fc.property(fc.string(), (text) => void readChallenges(new Headers(), text)))
    for (const piece of [' ', ',', '=', '"', '\\', 'a', 'a ', 'a=', 'a="', 'a=b ', 'Missing scopes: a, '])
      readChallenges(new Headers({ 'www-authenticate': `Bearer ${piece.repeat(50_000)}x` }), piece.repeat(50_000))
    expect(parseChallenges('Bearer __proto__=x')[0]?.params).toEqual(Object.fromEntries([['__proto__', 'x']]))
  })
})

describe('a refusal', () => {
  it('names the scopes that are needed and where to learn more (RFC 6750 §3, RFC 9728 §5.1)', () => {
    const header =
      'Bearer error="insufficient_scope", scope="mail:send files:read files:read", ' +
      'resource_metadata="https://api.example/.well-known/oauth-protected-resource"'
    expect(refusal(header)).toEqual({
      error: 'insufficient_scope',
      scopes: ['files:read', 'mail:send'],
      resourceMetadata: 'https://api.example/.well-known/oauth-protected-resource',
    })
  })

  it('asks for a fresher or stronger login (RFC 9470 §3)', () => {
    const header = 'Bearer error="insufficient_user_authentication", acr_values="urn:b urn:a", max_age="300"'
    expect(refusal(header)).toEqual({
      error: 'insufficient_user_authentication',
      acrValues: ['urn:b', 'urn:a'],
      maxAge: 300,
    })
    expect(refusal('Bearer max_age="soon"')).toEqual({})
    expect(refusal('Bearer max_age="0"')).toEqual({ maxAge: 0 })
  })

  it('is the challenge with the error, filled in by the others', () => {
    const header = 'Bearer scope="a", Basic error="no", DPoP error="use_dpop_nonce"'
    expect(refusal(header)).toEqual({ error: 'use_dpop_nonce', scopes: ['a'] })
    expect(refusal('Bearer error="first", DPoP error="second"')).toEqual({ error: 'first' })
  })

  it.each<[unknown, object]>([
    [
      { error: 'insufficient_scope', scope: 'b a' },
      { error: 'insufficient_scope', scopes: ['a', 'b'] },
    ],
    [
      { error: { code: 'missing', message: 'Not allowed. Missing scopes: api.model.read, api.files. Ask an owner.' } },
      { error: 'missing', scopes: ['api.files', 'api.model.read'] },
    ],
    [{ message: 'Missing scope: `mail:send`' }, { scopes: ['mail:send'] }],
    [{ error_description: 'missing scopes: a, b and more' }, { scopes: ['a', 'b'] }],
    [{ detail: 'Missing scopes: [a, and b]' }, { scopes: ['a', 'b'] }],
    [{ error: 'Missing scopes: a' }, { error: 'Missing scopes: a', scopes: ['a'] }],
    [{ message: 'Missing scopes:' }, {}],
    [{ message: ['Missing scopes: a'], error: 7, scope: {} }, {}],
    ['Missing scopes: a', {}],
    [null, {}],
  ])('may say so in its body: %j', (body, said) => {
    expect(refusedBy(body)).toEqual({ challenges: [], ...said })
  })

  it('believes the header more than the body', () => {
    const body = JSON.stringify({ error: 'other', scope: 'x' })
    expect(refusal('Bearer error="insufficient_scope", scope="a"', body)).toEqual({
      error: 'insufficient_scope',
      scopes: ['a'],
    })
  })
})
