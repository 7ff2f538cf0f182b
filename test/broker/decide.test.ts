import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decide, type Moment } from '../../src/broker/decide.ts'
import { fingerprint, type OAuthCredential, Secret, stateOf } from '../../src/credential.ts'
import type { Requirement } from '../../src/endpoint.ts'
import type { Provider } from '../../src/provider.ts'
import { missingScopes } from '../../src/scope.ts'

const now = 1_800_000_000_000
const scopes = fc.subarray(['a', 'b', 'c', 'd'])
const resource = fc.constantFrom(null, 'https://r.example/1', 'https://r.example/2')
const time = fc.option(fc.integer({ min: now - 100_000, max: now + 4_000_000 }), { nil: null })

const provider = fc.record({
  id: fc.constant('acme'),
  issuer: fc.constant('https://as.example'),
  client: fc.constant({ id: 'cli' }),
  implies: fc.constantFrom({}, { a: ['b'] }),
  refresh: fc.record({
    rotation: fc.constantFrom('none' as const, 'strict' as const, { graceMs: 30_000 }),
    narrowing: fc.constantFrom('honoured' as const, 'ignored' as const, 'destructive' as const, 'silent' as const),
  }),
})

const credential: fc.Arbitrary<OAuthCredential> = fc.record({
  type: fc.constant('oauth' as const),
  provider: fc.constant('acme'),
  account: fc.constant('default'),
  issuer: fc.constantFrom('https://as.example', 'https://as.example', 'https://as.example', 'https://other.example'),
  clientId: fc.constant('cli'),
  subject: fc.constant('me'),
  lease: fc.constant(null),
  grant: fc.record(
    {
      scopes,
      evidence: fc.constant('response' as const),
      resources: fc.subarray(['https://r.example/1', 'https://r.example/2']),
      refreshToken: fc.constantFrom(null, new Secret('r-1'), new Secret('r-2')),
      refreshExpiresAt: time,
      generation: fc.nat(9),
      obtainedAt: fc.constant(now - 1_000),
      state: fc.constantFrom('live' as const, 'in_doubt' as const, 'dead' as const),
      stateFor: fc.constantFrom(fingerprint(new Secret('r-1')), fingerprint(new Secret('r-2'))),
      doubtSince: fc.integer({ min: now - 100_000, max: now }),
      replays: fc.nat(1),
    },
    {
      requiredKeys: [
        ...(['scopes', 'evidence', 'resources', 'refreshToken', 'refreshExpiresAt', 'generation'] as const),
        ...(['obtainedAt', 'state', 'replays'] as const),
      ],
    },
  ),
  tokens: fc.array(
    fc.record({
      accessToken: fc.integer({ min: 1, max: 9 }).map((n) => new Secret(`t-${n}`)),
      tokenType: fc.constant('Bearer'),
      scopes,
      resource,
      expiresAt: time,
      obtainedAt: fc.integer({ min: now - 50_000, max: now + 10 }),
      evidence: fc.constant('response' as const),
    }),
    { maxLength: 4 },
  ),
})

const requirement: fc.Arbitrary<Requirement> = fc.record({
  scopes,
  resource,
  accepts: fc.constant(['oauth'] as const),
})

const moment = (chosen: Provider): fc.Arbitrary<Moment> =>
  fc.record({
    now: fc.constant(now),
    provider: fc.constant(chosen),
    minTtlMs: fc.constantFrom(null, 0, 5_000, 600_000),
    startedAt: fc.constantFrom(now - 10, now - 60_000),
    rejected: fc.constantFrom(null, 't-1', 't-2'),
    leeway: fc.double({ min: 0, max: 0.999, noNaN: true }),
  })

const everything = provider.chain((chosen) => fc.tuple(credential, requirement, moment(chosen)))

describe('decide, for any credential, requirement and moment,', () => {
  test('uses only a stored token that lives, fits the resource, covers the scopes and was not refused', () => {
    fc.assert(
      fc.property(everything, ([held, wanted, at]) => {
        const decision = decide(held, wanted, at)
        if (decision.action !== 'use') return
        const { token } = decision
        expect(held.tokens.map(({ accessToken }) => accessToken)).toContain(token.secret)
        expect(token.resource).toBe(wanted.resource)
        expect(missingScopes(wanted.scopes, token.scopes, at.provider.implies)).toEqual([])
        expect(token.secret.reveal()).not.toBe(at.rejected)
        if (token.expiresAt !== null) expect(token.expiresAt).toBeGreaterThan(at.now)
        const isFresh = token.obtainedAt >= at.startedAt
        if (at.minTtlMs !== null && token.expiresAt !== null && !isFresh) {
          expect(token.expiresAt - at.now).toBeGreaterThan(at.minTtlMs)
        }
      }),
      { numRuns: 20_000 },
    )
  })

  test('refreshes only what it may: granted scopes and resources, a live token, or one replay', () => {
    fc.assert(
      fc.property(everything, ([held, wanted, at]) => {
        const decision = decide(held, wanted, at)
        if (decision.action !== 'refresh') return
        const { grant } = held
        expect(held.issuer).toBe(at.provider.issuer)
        expect(grant.refreshToken).not.toBeNull()
        expect(missingScopes(decision.scopes ?? wanted.scopes, grant.scopes, at.provider.implies)).toEqual([])
        if (decision.resource !== null) expect(grant.resources).toContain(decision.resource)
        if (decision.scopes !== null) expect(at.provider.refresh?.narrowing).toBe('honoured')
        if (grant.refreshExpiresAt !== null) expect(grant.refreshExpiresAt).toBeGreaterThan(at.now)
        expect(stateOf(grant)).not.toBe('dead')
        expect(decision.isReplay).toBe(stateOf(grant) === 'in_doubt')
        if (!decision.isReplay) return
        expect(grant.replays).toBe(0)
        const rotation = at.provider.refresh?.rotation
        const isForgiven = typeof rotation === 'object' && at.now < (grant.doubtSince ?? 0) + rotation.graceMs
        const isNothingLeft = held.tokens.every(({ expiresAt }) => expiresAt !== null && expiresAt <= at.now)
        expect(isForgiven || isNothingLeft).toBe(true)
      }),
      { numRuns: 20_000 },
    )
  })

  test('asks for a person only with an error that says why', () => {
    fc.assert(
      fc.property(everything, ([held, wanted, at]) => {
        const decision = decide(held, wanted, at)
        if (decision.action === 'authorize') expect(decision.error.remedy).toBe('authorize')
        else expect(['use', 'refresh']).toContain(decision.action)
      }),
      { numRuns: 5_000 },
    )
  })
})
