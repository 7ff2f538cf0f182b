import { describe, expect, it } from 'vitest'
import { credentialFrom, planLogin } from '../../src/broker/authorize.ts'
import { type Credential, Secret } from '../../src/credential.ts'
import type { GrantAnswer, TokenAnswer } from '../../src/grant/flow.ts'
import type { Provider } from '../../src/provider.ts'

const key = { provider: 'acme', account: 'default' }
const provider: Provider = { id: 'acme', issuer: 'https://as.example', client: { id: 'cli' } }
const requirement = { scopes: [], resource: null, accepts: ['oauth'] } as const

/** A login without a refresh token, as after a consent that was given before. */
function answer(refreshToken: Secret | null = null): GrantAnswer {
  const token: TokenAnswer = {
    ...{ accessToken: new Secret('access'), tokenType: 'Bearer', scopes: ['a'], resource: null, expiresAt: null },
    ...{ refreshToken, refreshExpiresAt: null, idToken: null, subject: 'alice', obtainedAt: 0 },
    evidence: 'response',
  }
  return { type: 'oauth', scopes: ['a'], evidence: 'response', resources: [], token }
}
const stored = (made: Provider): Credential => credentialFrom(answer(new Secret('first')), key, made, null, 0)
const refreshTokenAfter = (before: Provider): string | undefined => {
  const credential = credentialFrom(answer(), key, provider, stored(before), 1)
  return credential.type === 'oauth' ? credential.grant.refreshToken?.reveal() : undefined
}

describe('a login that brings no refresh token', () => {
  it('leaves the person the one that is there', () => expect(refreshTokenAfter(provider)).toBe('first'))

  it('does not take over that of another issuer, where somebody may have the same subject', () =>
    expect(refreshTokenAfter({ ...provider, issuer: 'https://old.example' })).toBeUndefined())

  it('does not take over that of another client', () =>
    expect(refreshTokenAfter({ ...provider, client: { id: 'old' } })).toBeUndefined())
})

describe('what a login asks for', () => {
  it('has in it what was granted before, by this issuer', () =>
    expect(planLogin(provider, requirement, stored(provider)).scopes).toEqual(['a']))

  it('has nothing in it that another issuer granted', () =>
    expect(planLogin(provider, requirement, stored({ ...provider, issuer: 'https://old.example' })).scopes).toEqual([]))

  const required = (scopes: readonly string[], before: Credential | null = null): readonly string[] => {
    const made = { ...provider, scopes: ['b', 'c', 'email', 'offline_access', 'openid'], optionalScopes: ['a', 'c'] }
    return planLogin(made, { ...requirement, scopes }, before).requiredScopes
  }

  it('has to be granted, but for what the provider calls optional and what servers do not list', () => {
    expect(required([])).toEqual(['b'])
    expect(required(['openid', 'profile', 'address', 'phone', 'd'])).toEqual(['d'])
  })

  it('has to be granted wherever the caller names it or it was granted before', () => {
    expect(required(['c'])).toEqual(['c'])
    expect(required([], stored(provider))).toEqual(['a', 'b'])
  })
})
