import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Attempts } from '../../src/broker/attempts.ts'
import { systemClock } from '../../src/broker/clock.ts'
import { decide } from '../../src/broker/decide.ts'
import { hardMargin, softMargin } from '../../src/broker/margin.ts'
import { measureSkew, offsetFor, skewOf } from '../../src/broker/skew.ts'
import type { Usable } from '../../src/broker/token-index.ts'
import { Secret } from '../../src/credential.ts'
import { thisOwner, thisProcess } from '../../src/owner.ts'
import { Worker } from '../e2e/process.ts'
import { key, type Stage, setStage } from './stage.ts'

const minute = 60_000

describe('a token that nears its end', () => {
  let stage: Stage
  beforeEach(async () => {
    stage = await setStage()
    await stage.login()
    stage.server.reset()
  })
  afterEach(() => stage.stop())

  /** Gives every stored token an hour's life, of which this much is left. */
  async function age(leftMs: number): Promise<void> {
    const expiresAt = Date.now() + leftMs
    await stage.store.update(key, (current) =>
      current?.type === 'oauth'
        ? { ...current, tokens: current.tokens.map((t) => ({ ...t, obtainedAt: expiresAt - 60 * minute, expiresAt })) }
        : undefined,
    )
  }

  test('is handed out at once, while its successor is fetched behind it', async () => {
    const old = await stage.broker.getToken(stage.urls.files)
    await age(2 * minute)
    stage.server.setTokenDelay(200)
    const before = await stage.credential()
    const tokens = await Promise.all(Array.from({ length: 50 }, () => stage.broker.getToken(stage.urls.files)))
    expect(new Set(tokens.map((token) => token.reveal()))).toEqual(new Set([old.reveal()]))
    expect(await stage.credential()).toEqual(before)
    await stage.store.waitForChange(key, before, { timeoutMs: 20_000 })
    await stage.broker.close()
    const next = await stage.newBroker().getToken(stage.urls.files)
    expect(next.reveal()).not.toBe(old.reveal())
    expect(stage.server.counts()).toMatchObject({ arrived: 1, token: { refresh_token: 1 }, reuse: 0 })
  })

  test('within the last half minute is not: whoever asks waits for the next one', async () => {
    const old = await stage.broker.getToken(stage.urls.files)
    await age(20_000)
    expect((await stage.broker.getToken(stage.urls.files)).reveal()).not.toBe(old.reveal())
    expect(stage.server.counts().token['refresh_token']).toBe(1)
  })

  test('is handed out for as long as it lives when the server fails, which is not asked again and again', async () => {
    const old = await stage.broker.getToken(stage.urls.files)
    await age(2 * minute)
    stage.server.fault({ status: 429 }, { status: 503 })
    const before = await stage.credential()
    await stage.broker.getToken(stage.urls.files)
    await stage.store.waitForChange(key, before, { timeoutMs: 20_000 })
    for (let call = 0; call < 20; call++) {
      expect((await stage.broker.getToken(stage.urls.files, { minTtlMs: minute })).reveal()).toBe(old.reveal())
      // Time for what should not happen.
      await delay(10)
    }
    await stage.broker.close()
    expect(stage.server.counts().arrived).toBe(1)
    await age(20_000)
    expect((await stage.newBroker().getToken(stage.urls.files)).reveal()).toBe(old.reveal())
  })

  test('does not hang on to its process: that ends when the successor is stored, and not before', async () => {
    await stage.broker.getToken(stage.urls.files)
    await age(2 * minute)
    stage.server.setTokenDelay(200)
    const { path, provider, urls } = stage
    const { generation } = (await stage.credential()).grant
    const worker = new Worker('../e2e/worker.mjs', { path, provider, url: urls.files, isCareless: true })
    const ended = once(worker.child, 'exit')
    await worker.next()
    worker.go()
    expect(await worker.next()).toHaveProperty('token')
    expect(await ended).toEqual([0, null])
    expect((await stage.credential()).grant).toMatchObject({
      generation: generation + 1,
      refreshed: { pid: worker.child.pid },
    })
  })
})

describe('margins', () => {
  const token = (lifetimeMs: number): Usable => ({
    ...{ secret: new Secret('t'), tokenType: 'Bearer', scopes: [], resource: null },
    ...{ obtainedAt: 1_000, expiresAt: 1_000 + lifetimeMs },
  })
  const at = { minTtlMs: null, startedAt: 2_000 }

  test.each([
    [10_000, 1_000, 2_000],
    [300_000, 30_000, 60_000],
    [3_600_000, 30_000, 300_000],
  ])('of a token that lives for %d ms: %d ms and %d ms', (lifetimeMs, hardMs, softMs) => {
    expect(hardMargin(token(lifetimeMs), at)).toBe(hardMs)
    expect(softMargin(token(lifetimeMs), { ...at, leeway: 0 })).toBe(softMs)
  })

  test('spread by up to a half, so that instances do not refresh together', () => {
    const leeways = [0, 0.5, 0.75].map((leeway) => softMargin(token(3_600_000), { ...at, leeway }))
    expect(leeways).toEqual([300_000, 225_000, 187_500])
  })

  test('are nothing for a token that came during the call, or short-lived ones would be refreshed for ever', () => {
    const fresh = { minTtlMs: 9_999, startedAt: 1_000, leeway: 0 }
    expect([hardMargin(token(1), fresh), softMargin(token(1), fresh)]).toEqual([0, 0])
  })

  test('a token that ages is used and renewed; where nothing can renew it, it is just used', async () => {
    const stage = await setStage()
    try {
      await stage.login()
      const credential = await stage.credential()
      const [first] = credential.tokens
      if (first === undefined || first.expiresAt === null) throw new Error('no token')
      const requirement = { scopes: [], resource: first.resource, accepts: ['oauth'] } as const
      const moment = {
        ...{ provider: stage.provider, minTtlMs: null, rejected: null, leeway: 0 },
        ...{ now: first.expiresAt - 59_000, startedAt: first.expiresAt },
      }
      expect(decide(credential, requirement, moment)).toMatchObject({ action: 'use', renew: { isReplay: false } })
      const ended = { ...credential, grant: { ...credential.grant, refreshToken: null } }
      expect(decide(ended, requirement, moment)).toMatchObject({ action: 'use', renew: null })
      const doubtful = { ...credential, grant: { ...credential.grant, state: 'in_doubt' as const } }
      expect(decide(doubtful, requirement, moment)).toMatchObject({ action: 'use', renew: null })
    } finally {
      await stage.stop()
    }
  })
})

test('attempts that fail keep their distance: a short one from those who need a token, a long one from the others', () => {
  let now = 0
  const attempts = new Attempts({ ...systemClock(), monotonic: () => now })
  expect([attempts.pauseMs('r'), attempts.isDue('r')]).toEqual([0, true])
  const pauses = Array.from({ length: 6 }, () => {
    attempts.failed('r')
    return attempts.pauseMs('r')
  })
  expect(pauses).toEqual([250, 500, 1_000, 2_000, 2_000, 2_000])
  attempts.succeeded('r')
  attempts.failed('r', 90_000)
  now = 10_000
  expect([attempts.pauseMs('r'), attempts.isDue('r'), attempts.isDue('its successor')]).toEqual([0, false, true])
  now = 90_000
  expect(attempts.isDue('r')).toBe(true)
})

describe('the clock of a server', () => {
  const issuer = 'https://skewed.example'

  test('is measured to more than the seconds of a Date and the way of an answer', () => {
    measureSkew(issuer, 1_000_000, 1_002_000)
    expect(skewOf(issuer)).toBe(0)
    measureSkew(issuer, 1_000_000, 400_000)
    expect(skewOf(issuer)).toBe(600_500)
    expect(skewOf('https://other.example')).toBe(0)
  })

  test('counts for entries that another machine wrote; those of this one are of our own clock', async () => {
    const stage = await setStage()
    try {
      await stage.login()
      const { grant, ...rest } = await stage.credential()
      const { host, bootId, pid } = thisOwner()
      const by = (refreshed: object): number =>
        offsetFor(
          { ...rest, issuer, grant: { ...grant, refreshed: { at: 0, host, bootId, pid, ...refreshed } } },
          thisProcess,
        )
      measureSkew(issuer, 1_000_000, 400_000)
      expect(by({ host: 'another', bootId: 'another' })).toBe(600_500)
      expect(by({})).toBe(0)
      // Theirs was as wrong as ours, or more, or ours has never been measured.
      expect(by({ bootId: 'another', clockSkewMs: 600_500 })).toBe(0)
      expect(by({ bootId: 'another', clockSkewMs: -1_000 })).toBe(601_500)
      expect(by({ clockSkewMs: -1_000 })).toBe(0)
      const unmeasured = { ...rest, issuer: 'https://unmeasured.example' }
      const refreshed = { at: 0, host, bootId: 'another', pid, clockSkewMs: -600_000 }
      expect(offsetFor({ ...unmeasured, grant: { ...grant, refreshed } }, thisProcess)).toBe(600_000)
    } finally {
      await stage.stop()
    }
  })

  test('is read from the Date of a token answer', async () => {
    const stage = await setStage()
    try {
      await stage.login()
      await stage.store.update(key, (current) => (current?.type === 'oauth' ? { ...current, tokens: [] } : undefined))
      // Our own clock is an hour slow; nothing but the server says so.
      const now = (): number => Date.now() - 60 * minute
      const token = await stage.newBroker({ now }).getToken(stage.urls.files)
      expect(token.scopes).toEqual(['files:read'])
      expect(Math.abs(skewOf(stage.provider.issuer) - 60 * minute)).toBeLessThan(5_000)
    } finally {
      await stage.stop()
    }
  })
})
