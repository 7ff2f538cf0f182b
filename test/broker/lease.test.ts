import { describe, expect, test } from 'vitest'
import { inDoubt, keeps, withSuccessor, withToken } from '../../src/broker/changes.ts'
import { systemClock } from '../../src/broker/clock.ts'
import { claimLease, judgeLease, LeaseClock, type LeaseView } from '../../src/broker/lease.ts'
import { fingerprint, type Grant, type Lease, type OAuthCredential, Secret } from '../../src/credential.ts'
import { thisOwner } from '../../src/owner.ts'
import type { Provider } from '../../src/provider.ts'

const spent = new Secret('r-1')
const successor = new Secret('r-2')

function credential(grant: Partial<Grant> = {}, lease: Lease | null = null): OAuthCredential {
  return {
    ...{ type: 'oauth', provider: 'acme', account: 'default', issuer: 'https://as.example', clientId: 'cli' },
    ...{ subject: 'me', tokens: [], lease },
    grant: {
      ...{ scopes: ['a'], evidence: 'response', resources: [], refreshToken: spent, refreshExpiresAt: null },
      ...{ generation: 3, obtainedAt: 100, state: 'live', replays: 0, ...grant },
    },
  }
}

const lease: Lease = claimLease(credential(), thisOwner(), 1_000, 30_000)
const sent: Lease = { ...lease, sentAt: 1_001 }
const view: LeaseView = { vitality: 'unknown', seenForMs: 0, inDoubtWaitMs: 60_000 }
const provider = (rotation: 'none' | 'strict' | { graceMs: number }): Provider => ({
  ...{ id: 'acme', issuer: 'https://as.example', client: { id: 'cli' } },
  refresh: { rotation },
})

describe('a lease', () => {
  test.each([
    ['of another refresh token means nothing', { ...sent, token: 'other' }, 'strict', view, 'free'],
    ['is respected while its holder may be at work', sent, 'strict', view, 'wait'],
    ['is respected while its holder is alive', lease, 'strict', { ...view, vitality: 'alive' }, 'wait'],
    ['of a dead holder, unsent, is free at once', lease, 'strict', { ...view, vitality: 'dead' }, 'free'],
    ['of a dead holder, sent, leaves a doubt', sent, 'strict', { ...view, vitality: 'dead' }, 'in_doubt'],
    ['of a dead holder, sent, is free where nothing is spent', sent, 'none', { ...view, vitality: 'dead' }, 'free'],
    [
      'that ran out unsent is free, whatever became of its holder',
      lease,
      'strict',
      { ...view, vitality: 'alive', seenForMs: 30_000 },
      'free',
    ],
    ['that ran out sent is respected for longer', sent, 'strict', { ...view, seenForMs: 89_999 }, 'wait'],
    ['that ran out sent, long ago, leaves a doubt', sent, 'strict', { ...view, seenForMs: 90_000 }, 'in_doubt'],
    [
      'that ran out sent leaves a doubt at once inside a grace window',
      sent,
      { graceMs: 60_000 },
      { ...view, seenForMs: 30_000 },
      'in_doubt',
    ],
    ['that ran out sent is free where nothing is spent', sent, 'none', { ...view, seenForMs: 30_000 }, 'free'],
  ] as const)('%s', (_, held, rotation, seen, kind) => {
    expect(judgeLease(credential({}, held), provider(rotation), seen).kind).toBe(kind)
  })

  test('a provider that declares nothing is strict', () => {
    const { refresh: _, ...silent } = provider('none')
    expect(judgeLease(credential({}, sent), silent, { ...view, vitality: 'dead' }).kind).toBe('in_doubt')
  })

  test('makes room for what will come', () => {
    const long = credential({ refreshToken: new Secret('x'.repeat(5_000)) })
    expect(claimLease(long, thisOwner(), 0, 1).padding?.length).toBeGreaterThanOrEqual(10_000)
  })
})

test.each([
  ['the machine slept: the monotonic clock stood still', 100, 31_000],
  ['the wall clock was set back', 31_000, -3_600_000],
])('how long a lease has been held is what the clock says that went further: %s', (_, monotonicMs, wallMs) => {
  let [monotonic, wall] = [5_000, 1_800_000_000_000]
  const clock = new LeaseClock({ ...systemClock(() => wall), monotonic: () => monotonic })
  expect(clock.elapsedMs()).toBe(0)
  monotonic += monotonicMs
  wall += wallMs
  expect(clock.elapsedMs()).toBe(31_000)
})

describe('a successor', () => {
  const made = { seen: credential(), lease: sent, spent, successor, at: 5_000 }

  test('takes the place of the token that was spent, whatever lease or mark stands there', () => {
    const other: Lease = { ...lease, id: 'another' }
    const next = withSuccessor(credential({ state: 'in_doubt', doubtSince: 1, replays: 1 }, other), made)
    expect(next?.grant).toMatchObject({ state: 'live', replays: 0, generation: 4, stateFor: fingerprint(successor) })
    expect(next?.grant.refreshToken?.reveal()).toBe('r-2')
    expect(next?.grant.doubtSince).toBeUndefined()
    expect(next?.lease?.id).toBe('another')
  })

  test('keeps our lease, on the new token and unsent', () => {
    const next = withSuccessor(credential({}, sent), made)
    expect(next?.lease).toMatchObject({ id: sent.id, token: fingerprint(successor), sentAt: null })
  })

  test('never overwrites another token: the later of two twins is primary, the other is kept', () => {
    const twin = { refreshToken: new Secret('r-3'), predecessor: fingerprint(spent) }
    const older = withSuccessor(credential({ ...twin, obtainedAt: 4_000 }), made)
    expect([older?.grant.refreshToken?.reveal(), older?.grant.spare?.refreshToken.reveal()]).toEqual(['r-2', 'r-3'])
    const newer = withSuccessor(credential({ ...twin, obtainedAt: 6_000 }), made)
    expect([newer?.grant.refreshToken?.reveal(), newer?.grant.spare?.refreshToken.reveal()]).toEqual(['r-3', 'r-2'])
  })

  test('does not push a login aside, however early that came', () => {
    const login = withSuccessor(credential({ refreshToken: new Secret('r-9'), obtainedAt: 1 }), made)
    expect([login?.grant.refreshToken?.reveal(), login?.grant.spare?.refreshToken.reveal()]).toEqual(['r-9', 'r-2'])
    expect(keeps(login ?? null, successor)).toBe(true)
  })

  test('has no place in the entry of somebody else, or in none', () => {
    const stranger = { ...credential({ refreshToken: new Secret('r-9') }), subject: 'other' }
    expect(withSuccessor(stranger, made)).toBeUndefined()
    expect(withSuccessor(null, made)).toBeUndefined()
    expect(keeps(stranger, successor)).toBe(false)
  })
})

test('a doubt speaks of the token that was sent, and forgets the lease', () => {
  expect(inDoubt(credential({}, sent), sent)).toMatchObject({
    lease: null,
    grant: { state: 'in_doubt', stateFor: fingerprint(spent), doubtSince: 1_000 },
  })
})

test('a new access token replaces the one for the same resource and scopes, and expired ones go', () => {
  const answer = {
    ...{ accessToken: new Secret('t-new'), tokenType: 'Bearer', scopes: ['b', 'a'], evidence: 'response' as const },
    ...{
      resource: null,
      expiresAt: 9_000,
      refreshToken: null,
      refreshExpiresAt: null,
      idToken: null,
      subject: null,
      obtainedAt: 5,
    },
  }
  const token = (value: string, more: object): OAuthCredential['tokens'][number] => ({
    ...{ accessToken: new Secret(value), tokenType: 'Bearer', scopes: ['a', 'b'], resource: null, expiresAt: 8_000 },
    ...{ obtainedAt: 1, evidence: 'response' as const, ...more },
  })
  const before = {
    ...credential(),
    tokens: [
      token('same', {}),
      token('expired', { scopes: ['x'], expiresAt: 10 }),
      token('other', { resource: 'https://r.example' }),
    ],
  }
  expect(withToken(before, answer, 100).tokens.map(({ accessToken }) => accessToken.reveal())).toEqual([
    'other',
    't-new',
  ])
})
