import { subscribe } from 'node:diagnostics_channel'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { TokenBroker, type TokenBrokerOptions } from '../../src/broker/broker.ts'
import { withSuccessor } from '../../src/broker/changes.ts'
import type { RefreshEvent } from '../../src/broker/events.ts'
import { claimLease } from '../../src/broker/lease.ts'
import { Secret } from '../../src/credential.ts'
import { isAuthkeepError } from '../../src/errors.ts'
import { piAuthJsonFormat } from '../../src/formats/pi-auth-json.ts'
import { thisOwner } from '../../src/owner.ts'
import { type CredentialStore, openStore } from '../../src/store/store.ts'
import { key, type Stage, setStage } from './stage.ts'

type Entry = Record<string, unknown> & { authkeep?: Record<string, unknown> }

describe("a broker on the file of another program, pi's", () => {
  let stage: Stage
  let store: CredentialStore
  let path: string
  const brokers: TokenBroker[] = []
  const target = { provider: 'demo', scopes: ['openid'] }

  beforeEach(async () => {
    stage = await setStage()
    await stage.login()
    const { grant, tokens } = await stage.credential()
    path = join(stage.directory, 'pi.json')
    const [token] = tokens
    await write({
      ...{ type: 'oauth', access: token?.accessToken.reveal(), refresh: grant.refreshToken?.reveal() },
      expires: token?.expiresAt,
    })
    store = await openStore({ path, format: piAuthJsonFormat })
    stage.server.reset()
  })
  afterEach(async () => {
    await Promise.all(brokers.splice(0).map((broker) => broker.close()))
    await store.close()
    await stage.stop()
  })

  function newBroker(more: Partial<TokenBrokerOptions> = {}): TokenBroker {
    const broker = new TokenBroker({ store, providers: [stage.provider], ...more })
    brokers.push(broker)
    return broker
  }
  const write = (demo: Entry): Promise<void> => writeFile(path, JSON.stringify({ demo }, null, 2))
  const entry = async (): Promise<Entry> => (JSON.parse(await readFile(path, 'utf8')) as { demo: Entry }).demo
  const expire = async (): Promise<void> => write({ ...(await entry()), expires: 1 })

  it('uses a token that lives, as one of the scopes that its provider asks for, and writes nothing', async () => {
    const before = await readFile(path, 'utf8')
    const token = await newBroker().getToken({ provider: 'demo', scopes: ['files:read', 'mail:read'] })
    expect(token.reveal()).toBe((await entry())['access'])
    expect(await readFile(path, 'utf8')).toBe(before)
  })

  it('renews nothing ahead of time, and nothing that an API refuses', async () => {
    // Near its end, so that a login of ours would be renewed in the background.
    await write({ ...(await entry()), expires: Date.now() + 40_000 })
    const broker = newBroker()
    const { length } = (await broker.getToken(target)).reveal()
    expect(length).toBeGreaterThan(0)
    const rejected = String((await entry())['access'])
    await expect(broker.getToken(target, { rejected })).rejects.toMatchObject({ detail: { reason: 'borrowed' } })
    await broker.close()
    expect(stage.server.counts().token).not.toHaveProperty('refresh_token')
  })

  it('says whose an expired login is and how to take it over, asks nobody to log in, and explains the same', async () => {
    await expire()
    const asked: unknown[] = []
    const broker = newBroker({
      onAuthorize: async (request) => {
        asked.push(request)
      },
    })
    const error: unknown = await broker.getToken(target).catch((thrown: unknown) => thrown)
    if (!isAuthkeepError(error, 'authorization_required')) throw error
    expect(error.detail).toEqual({ provider: 'demo', account: 'default', reason: 'borrowed', owner: 'pi' })
    expect(error.message).toBe('The demo login "default" has expired, and is pi\'s to renew: run pi, or take it over.')
    expect(error.loginCommand).toBeUndefined()
    expect(asked).toEqual([])
    expect(JSON.stringify(await broker.explain(target))).toContain("pi's to renew")
    expect(stage.server.counts().token).not.toHaveProperty('refresh_token')
  })

  it('refreshes a login that was taken over, of all its scopes, and leaves what pi reads', async () => {
    await expire()
    const broker = newBroker()
    await broker.takeOver(key)
    const token = await broker.getToken(target)
    const written = await entry()
    expect(written).toMatchObject({ type: 'oauth', access: token.reveal(), expires: token.expiresAt })
    expect(token.scopes).toContain('offline_access')
    expect(written.authkeep).toMatchObject({ issuer: stage.provider.issuer, clientId: stage.provider.client.id })
    expect(Object.keys(JSON.parse(await readFile(path, 'utf8')) as object)).toEqual(['demo'])
    expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
  })

  it('is still the one to refresh after pi has written its entry anew, and for other brokers', async () => {
    const broker = newBroker()
    await broker.takeOver(key)
    const { authkeep: _, ...bare } = await entry()
    await write({ ...bare, expires: 1 })
    expect((await newBroker().getToken(target)).reveal()).toBe((await entry())['access'])
    expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
  })

  it('sends nothing once the lock is lost', async () => {
    await expire()
    const withoutOwner = store.withoutOwner.bind(store)
    let isLost = true
    store.withoutOwner = (run) => withoutOwner((isHeld) => run(() => isHeld() && !isLost))
    const broker = newBroker()
    await broker.takeOver(key)
    const givenUp = new Promise((resolve) => {
      subscribe('authkeep', (event) => {
        if ((event as RefreshEvent).type === 'unspent') resolve(event)
      })
    })
    const waiting = broker.getToken(target)
    await givenUp
    expect(stage.server.counts().token).not.toHaveProperty('refresh_token')
    isLost = false
    expect((await waiting).reveal()).toBe((await entry())['access'])
    expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
  })

  it('keeps a successor that came after the owner has spent the same token, for one try', async () => {
    const seen = await stage.credential()
    const spent = seen.grant.refreshToken ?? new Secret('')
    const lease = claimLease(seen, thisOwner(), 1, 1)
    const current = await store.update(key, (now) => {
      if (now?.type !== 'oauth') return undefined
      return { ...now, grant: { ...now.grant, refreshToken: new Secret("the owner's") } }
    })
    const next = withSuccessor(current, { seen, lease, spent, successor: new Secret('ours'), at: 2 })
    expect(next?.grant.refreshToken?.reveal()).toBe("the owner's")
    expect(next?.grant.spare?.refreshToken.reveal()).toBe('ours')
  })

  it('has nothing to take over in a store of our own', async () => {
    expect(await stage.broker.takeOver(key)).toMatchObject(key)
    expect(await stage.store.readState(':taken-over:demo:default')).toBeNull()
    await expect(newBroker().takeOver({ provider: 'demo', account: 'other' })).rejects.toMatchObject({
      code: 'authorization_required',
    })
  })
})
