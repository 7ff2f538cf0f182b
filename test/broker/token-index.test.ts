import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { tokensFor } from '../../src/broker/token-index.ts'
import { type OAuthCredential, Secret } from '../../src/credential.ts'
import { missingScopes } from '../../src/scope.ts'

const resource = fc.constantFrom(null, 'https://r.example/1', 'https://r.example/2')
const scopes = fc.subarray(['a', 'b', 'c', 'constructor', '__proto__'])
const implies = fc.constantFrom({}, { a: ['b'] }, { a: ['b'], b: ['c'], c: ['a'] }, { c: ['constructor'] })

function holding(wanted: readonly { scopes: readonly string[]; resource: string | null }[]): OAuthCredential {
  return {
    ...{ type: 'oauth', provider: 'acme', account: 'default', issuer: 'https://as.example', clientId: 'cli' },
    ...{ subject: null, lease: null },
    grant: {
      ...{ scopes: [], evidence: 'response', resources: [], refreshExpiresAt: null, generation: 1, obtainedAt: 0 },
      ...{ refreshToken: null, state: 'live', replays: 0 },
    },
    tokens: wanted.map((token, n) => ({
      ...{ accessToken: new Secret(`token-${n}`), tokenType: 'Bearer', expiresAt: null, obtainedAt: 0 },
      ...{ evidence: 'response', ...token },
    })),
  }
}

describe('the index of tokens', () => {
  test('finds every token that a look at all of them finds', () => {
    const tokens = fc.array(fc.record({ scopes, resource }), { maxLength: 12 })
    fc.assert(
      fc.property(tokens, scopes, resource, implies, (stored, needed, at, brings) => {
        const credential = holding(stored)
        const serves = (token: { scopes: readonly string[]; resource: string | null }): boolean =>
          token.resource === at && missingScopes(needed, token.scopes, brings).length === 0
        const requirement = { scopes: needed, resource: at, accepts: ['oauth'] as const }
        const found = tokensFor(credential, requirement, brings).filter(serves)
        const all = credential.tokens.filter(serves)
        expect(found.map(({ secret }) => secret.reveal()).sort()).toEqual(
          all.map(({ accessToken }) => accessToken.reveal()).sort(),
        )
      }),
    )
  })

  test('looks at few of ten thousand', () => {
    const many = Array.from({ length: 10_000 }, (_, n) => ({ scopes: ['common', `only-${n}`], resource: null }))
    const credential = holding(many)
    const requirement = { scopes: ['common', 'only-7'], resource: null, accepts: ['oauth'] as const }
    expect(tokensFor(credential, requirement)).toHaveLength(1)
    expect(tokensFor(credential, { ...requirement, scopes: ['nobody has this'] })).toEqual([])
    expect(tokensFor(credential, { ...requirement, resource: 'https://r.example/1' })).toEqual([])
  })
})
