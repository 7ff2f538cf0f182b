import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { inspect } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { listen } from '../../examples/server/authorization-server.ts'
import {
  type PiChange,
  type PiCredential,
  type PiCredentialStore,
  type PiCredentialStoreOptions,
  type PiOAuthCredential,
  type PiProvider,
  piCredentialStore,
} from '../../src/adapters/pi.ts'
import { Secret } from '../../src/credential.ts'
import { thisOwner } from '../../src/owner.ts'
import { type CredentialStore, openStore } from '../../src/store/store.ts'
import { key, type Stage, setStage } from '../broker/stage.ts'

let stage: Stage
let closing: (() => Promise<void>)[]

beforeEach(async () => {
  stage = await setStage()
  closing = []
  await stage.login()
  stage.server.reset()
})
afterEach(async () => {
  for (const close of closing) await close()
  await stage.stop()
})

/** As another process would have it: with a store and a broker of its own on the same file. */
async function open(options: Partial<PiCredentialStoreOptions> = {}): Promise<PiCredentialStore> {
  const store = await openStore({ path: stage.path })
  const broker = stage.newBroker({ store })
  const credentials = piCredentialStore({ store, broker, ...options })
  closing.push(async () => {
    await credentials.close()
    await broker.close()
    await store.close()
  })
  return credentials
}

const refreshes = (): number => stage.server.counts().token['refresh_token'] ?? 0
const expiresSoon = (credential: PiOAuthCredential): boolean => Date.now() + 300_000 >= credential.expires

/** What pi's own refresh does, at the server that the login is from. */
async function refreshAtServer({ refresh }: PiOAuthCredential): Promise<PiOAuthCredential> {
  const body = new URLSearchParams({
    ...{ grant_type: 'refresh_token', refresh_token: refresh, client_id: stage.server.clientId },
  })
  const response = await fetch(`${stage.server.origin}/token`, { method: 'POST', body })
  const answer = (await response.json()) as { access_token: string; refresh_token: string; expires_in: number }
  if (!response.ok) throw new Error(`HTTP ${response.status}`)
  const expires = Date.now() + answer.expires_in * 2_000
  return { type: 'oauth', access: answer.access_token, refresh: answer.refresh_token, expires, team: 'blue' }
}

/** The callback with which pi makes sure of a token. */
function refreshing(refresh: (current: PiOAuthCredential) => Promise<PiOAuthCredential> = refreshAtServer): PiChange {
  return async (current) => {
    if (current?.type !== 'oauth' || !expiresSoon(current)) return undefined
    return refresh(current)
  }
}

const neverRefreshing = refreshing(async () => Promise.reject(new Error('pi has sent the refresh token')))

describe('a provider that the broker serves', () => {
  const providers = (): Readonly<Record<string, PiProvider>> => ({
    'pi-demo': { provider: 'demo', url: stage.urls.files },
  })
  const answers = async (credential: PiCredential | undefined): Promise<number> => {
    const authorization = `Bearer ${credential?.type === 'oauth' ? credential.access : ''}`
    return (await fetch(stage.urls.files, { headers: { authorization } })).status
  }

  it('shows a token that is good, no refresh token, and nothing that pi would refresh', async () => {
    const credentials = await open({ providers: providers() })
    await stage.broker.getToken(stage.urls.files)
    const credential = (await credentials.read('pi-demo')) as PiOAuthCredential
    expect(await answers(credential)).toBe(200)
    expect(expiresSoon(credential)).toBe(false)
    const { grant } = await stage.credential()
    expect(JSON.stringify(credential)).not.toContain(grant.refreshToken?.reveal())
    expect(await credentials.modify('pi-demo', neverRefreshing)).toMatchObject({ access: credential.access })
  })

  it('sends nothing at read, and refreshes once for all who come to modify', async () => {
    await stage.broker.getToken(stage.urls.files)
    await stage.expire()
    const before = refreshes()
    const stores = await Promise.all([open({ providers: providers() }), open({ providers: providers() })])
    for (const credentials of stores)
      expect(await credentials.read('pi-demo')).toMatchObject({ access: '', expires: 0 })
    expect(refreshes()).toBe(before)
    const modified = await Promise.all(
      [...stores, ...stores].map(async (credentials) => credentials.modify('pi-demo', neverRefreshing)),
    )
    expect(new Set(modified.map((each) => (each as PiOAuthCredential).access)).size).toBe(1)
    expect(await answers(modified[0])).toBe(200)
    expect(refreshes() - before).toBe(1)
    expect(stage.server.counts()).toMatchObject({ reuse: 0, revoked: 0 })
  })

  it('shows the callback a token that is good, whatever pi has read before', async () => {
    const credentials = await open({ providers: providers() })
    let seen: PiCredential | undefined
    await credentials.modify('pi-demo', async (current) => {
      seen = current
      return undefined
    })
    expect(await answers(seen)).toBe(200)
    expect((seen as PiOAuthCredential).expires - Date.now()).toBeGreaterThan(86_400_000)
  })

  it('takes no login from pi, and no late write either', async () => {
    const credentials = await open({ providers: providers() })
    const before = await readFile(stage.path, 'utf8')
    const { grant } = await stage.credential()
    const late = { type: 'oauth' as const, access: 'old', refresh: grant.refreshToken?.reveal() ?? '', expires: 1 }
    await expect(credentials.modify('pi-demo', async () => late)).rejects.toMatchObject({ code: 'not_supported' })
    const apiKey = { type: 'api_key' as const, key: 'sk' }
    await expect(credentials.modify('pi-demo', async () => apiKey)).rejects.toMatchObject({ code: 'not_supported' })
    const stored = (await stage.credential()).grant.refreshToken?.reveal()
    expect(before).toContain(stored)
    // What it was shown, it may give back.
    expect(await credentials.modify('pi-demo', async (current) => current)).toMatchObject({ type: 'oauth' })
  })

  it('says at modify why there is no token, and shows a login all the same', async () => {
    const credentials = await open({ providers: providers() })
    await stage.store.update(key, (current) =>
      current?.type === 'oauth' ? { ...current, tokens: [], grant: { ...current.grant, state: 'dead' } } : undefined,
    )
    expect(await credentials.read('pi-demo')).toMatchObject({ type: 'oauth', access: '', expires: 0 })
    await expect(credentials.modify('pi-demo', neverRefreshing)).rejects.toMatchObject({ code: 'grant_revoked' })
    expect(refreshes()).toBe(0)
  })

  it('is gone after delete', async () => {
    const credentials = await open({ providers: providers() })
    expect(await credentials.list()).toEqual([{ providerId: 'pi-demo', type: 'oauth' }])
    await credentials.delete('pi-demo')
    expect(await credentials.list()).toEqual([])
    expect(await credentials.read('pi-demo')).toBeUndefined()
    expect(await credentials.modify('pi-demo', neverRefreshing)).toBeUndefined()
    expect(await stage.store.read(key)).toBeNull()
  })

  it('shows API keys as what they are', async () => {
    const credentials = await open({ providers: { keys: { provider: 'demo', url: stage.urls.files } }, account: 'ci' })
    await stage.store.update({ provider: 'demo', account: 'ci' }, () => ({
      ...{ type: 'token', provider: 'demo', account: 'ci', token: new Secret('static'), expiresAt: null },
    }))
    expect(await credentials.read('keys')).toEqual({ type: 'api_key', key: 'static' })
    expect(await credentials.list()).toEqual([{ providerId: 'keys', type: 'api_key' }])
  })
})

describe('a provider that only pi knows', () => {
  const own = { provider: 'pi.acme', account: 'default' }
  let login: PiOAuthCredential

  /** The login of the stage becomes one of pi's: its access token has expired. */
  beforeEach(async () => {
    const { grant } = await stage.credential()
    await stage.store.update(key, () => null)
    login = { type: 'oauth', access: 'expired', refresh: grant.refreshToken?.reveal() ?? '', expires: 1, team: 'blue' }
  })

  async function openLoggedIn(): Promise<PiCredentialStore> {
    const credentials = await open()
    await credentials.modify('acme', async () => login)
    return credentials
  }

  async function entry(store: CredentialStore = stage.store) {
    const credential = await store.read(own)
    if (credential?.type !== 'oauth') throw new Error('no login')
    return credential
  }
  const stored = async (): Promise<string> => (await entry()).grant.refreshToken?.reveal() ?? ''

  it('keeps a login as it is, members that nobody knows too, and shows no refresh token but to be spent', async () => {
    const credentials = await open()
    expect(await credentials.modify('acme', refreshing())).toBeUndefined()
    const secret = { ...login, extra: { deviceToken: 'also-secret' } }
    await credentials.modify('acme', async () => secret)
    const read = await credentials.read('acme')
    expect(read).toEqual({ ...secret, refresh: 'kept-by-authkeep' })
    expect(inspect(await entry(), { depth: 9, showHidden: true })).not.toMatch(/also-secret|expired/)
    let shown: PiCredential | undefined
    await credentials.modify('acme', async (current) => {
      shown = { ...(current as PiOAuthCredential) }
      return undefined
    })
    expect(shown).toEqual(secret)
    // What was read cannot be given back in the place of what is there.
    await credentials.modify('acme', async () => read)
    await credentials.modify('acme', async (current) => ({ ...current, ...(read as PiOAuthCredential) }))
    expect(await stored()).toBe(login.refresh)
  })

  it('stores the successor before anybody sees it, and what pi adds', async () => {
    const credentials = await openLoggedIn()
    let successor = ''
    const modified = await credentials.modify(
      'acme',
      refreshing(async (current) => {
        expect((await entry()).lease?.sentAt).toBeTypeOf('number')
        const next = await refreshAtServer(current)
        successor = next.refresh
        return next
      }),
    )
    expect(modified).toMatchObject({ team: 'blue', refresh: 'kept-by-authkeep' })
    expect(await stored()).toBe(successor)
    expect(await entry()).toMatchObject({ lease: null, grant: { state: 'live', generation: 2 } })
    expect((await credentials.read('acme')) as PiOAuthCredential).toMatchObject({
      access: (modified as PiOAuthCredential).access,
    })
  })

  it('spends a refresh token once, however many callers and processes there are', async () => {
    const first = await openLoggedIn()
    const second = await open()
    stage.server.setTokenDelay(200)
    const stores = [first, second, first, second]
    const modified = await Promise.all(stores.map(async (each) => each.modify('acme', refreshing())))
    expect(new Set(modified.map((each) => (each as PiOAuthCredential).access)).size).toBe(1)
    expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0, revoked: 0 })
  })

  it('is in doubt after a callback that has failed with the refresh token, is tried once more, then wants a login', async () => {
    const credentials = await openLoggedIn()
    const failing = refreshing(async ({ refresh }) => Promise.reject(new Error(`no answer for ${refresh.length}`)))
    await expect(credentials.modify('acme', failing)).rejects.toThrow('no answer for')
    expect(await entry()).toMatchObject({ lease: null, grant: { state: 'in_doubt', replays: 0 } })
    await expect(credentials.modify('acme', failing)).rejects.toThrow('no answer for')
    await expect(credentials.modify('acme', refreshing())).rejects.toMatchObject({
      code: 'refresh_interrupted',
      detail: { provider: 'pi.acme', stage: 'replayed' },
    })
    expect(refreshes()).toBe(0)
    expect(await stored()).toBe(login.refresh)
    await credentials.modify('acme', async () => ({ ...login, refresh: 'of another login' }))
    expect(await entry()).toMatchObject({ grant: { state: 'live', generation: 1 } })
  })

  it('is served by the second try where the first was never carried out', async () => {
    const credentials = await openLoggedIn()
    stage.server.fault('reset')
    await expect(credentials.modify('acme', refreshing())).rejects.toThrow()
    expect((await entry()).grant.state).toBe('in_doubt')
    const other = await open()
    expect(await other.modify('acme', refreshing())).toMatchObject({ team: 'blue' })
    expect(await entry()).toMatchObject({ grant: { state: 'live', replays: 0 } })
    expect(stage.server.counts()).toMatchObject({ reuse: 0 })
  })

  it('is not in doubt where nothing can have been sent', async () => {
    const credentials = await openLoggedIn()
    // The server is not asked: the callback has not looked at the refresh token.
    const early = refreshing(async () => Promise.reject(new Error('not configured')))
    await expect(credentials.modify('acme', early)).rejects.toThrow('not configured')
    expect(await entry()).toMatchObject({ lease: null, grant: { state: 'live' } })
    const closed = createServer()
    const nobodyThere = await listen(closed, 0)
    await new Promise((resolve) => closed.close(resolve))
    const nobody = refreshing(async ({ refresh }) => {
      await fetch(`${nobodyThere}/${refresh.length}`)
      throw new Error('somebody listens there')
    })
    await expect(credentials.modify('acme', nobody)).rejects.toThrow('fetch failed')
    expect(await entry()).toMatchObject({ lease: null, grant: { state: 'live' } })
  })

  it('leaves a login in doubt alone while its access token lives, and still hands that out', async () => {
    const credentials = await openLoggedIn()
    await credentials.modify('acme', async () => ({ ...login, refresh: 'another', expires: Date.now() + 200_000 }))
    const failing = refreshing(async ({ refresh }) => Promise.reject(new Error(`no answer for ${refresh.length}`)))
    await expect(credentials.modify('acme', failing)).rejects.toThrow('no answer for')
    expect(await credentials.modify('acme', neverRefreshing)).toMatchObject({ access: 'expired' })
    expect((await entry()).grant).toMatchObject({ state: 'in_doubt', replays: 0 })
  })

  it('takes over from a process that was killed in its callback, as in doubt', async () => {
    const credentials = await openLoggedIn()
    const { grant } = await entry()
    const gone = { ...thisOwner(), pid: 2 ** 22 + 1, instance: 'gone' }
    const lease = { id: 'theirs', owner: gone, ms: 30_000, claimedAt: 7, sentAt: 8, token: grant.stateFor ?? '' }
    await stage.store.update(own, (current) => (current?.type === 'oauth' ? { ...current, lease } : undefined))
    let seen = ''
    const next = await credentials.modify(
      'acme',
      refreshing(async (current) => {
        const now = await entry()
        seen = `${now.grant.state} since ${now.grant.doubtSince ?? 0}, try ${now.grant.replays}`
        return refreshAtServer(current)
      }),
    )
    expect(seen).toBe('in_doubt since 7, try 1')
    expect(next).toMatchObject({ team: 'blue' })
    expect((await entry()).grant).toMatchObject({ state: 'live', replays: 0 })
  })

  it('never puts an older login in the place of a newer one', async () => {
    const credentials = await openLoggedIn()
    const other = await open()
    // Somebody is at work on what it has read while another login comes from elsewhere.
    const late = credentials.modify('acme', async () => {
      await stage.store.update(own, (current) =>
        current?.type !== 'oauth'
          ? undefined
          : { ...current, subject: 'new', grant: { ...current.grant, refreshToken: new Secret('newer') } },
      )
      return { ...login, refresh: 'late' }
    })
    await late
    expect(await stored()).toBe('newer')
    // And a login that was replaced does not come back.
    await other.modify('acme', async () => ({ ...login, refresh: 'newest' }))
    await expect(credentials.modify('acme', async () => ({ ...login, refresh: 'newer' }))).rejects.toMatchObject({
      code: 'refresh_interrupted',
      detail: { stage: 'rolled_back' },
    })
    expect(await stored()).toBe('newest')
  })

  it('drops what comes of a refresh after a logout, or after another login', async () => {
    const credentials = await openLoggedIn()
    const other = await open()
    const during = (act: () => Promise<unknown>): PiChange =>
      refreshing(async (current) => {
        const next = await refreshAtServer(current)
        await act()
        return next
      })
    expect(
      await credentials.modify(
        'acme',
        during(async () => other.delete('acme')),
      ),
    ).toBeUndefined()
    expect(await stage.store.read(own)).toBeNull()
    const theirs = { ...login, access: 'theirs', refresh: 'theirs', expires: Date.now() + 900_000 }
    await credentials.modify('acme', async () => ({ ...login, refresh: 'mine' }))
    // Another login comes in by the store, whoever holds the lease.
    const next = credentials.modify(
      'acme',
      refreshing(async (current) => {
        await stage.store.update(own, () => null)
        await other.modify('acme', async () => theirs)
        return { ...current, access: 'late', refresh: `${current.refresh} late`, expires: Date.now() + 900_000 }
      }),
    )
    expect(await next).toMatchObject({ access: 'theirs' })
    expect(await entry()).toMatchObject({ lease: null })
    expect(await stored()).toBe('theirs')
    expect((await entry()).grant.spare).toBeUndefined()
  })

  it('keeps the refresh token of an answer that is wrong otherwise', async () => {
    const credentials = await openLoggedIn()
    const half = refreshing(async ({ refresh }) => ({ refresh: `${refresh}2` }) as unknown as PiOAuthCredential)
    const typed: PiChange = async (current) => {
      const next = await half(current)
      return next === undefined ? undefined : ({ ...next, type: 'oauth' } as PiOAuthCredential)
    }
    await expect(credentials.modify('acme', typed)).rejects.toMatchObject({ code: 'response_invalid' })
    expect(await stored()).toBe(`${login.refresh}2`)
    await expect(
      credentials.modify('acme', async () => ({ type: 'oauth' }) as unknown as PiOAuthCredential),
    ).rejects.toThrow(TypeError)
    expect(await stored()).toBe(`${login.refresh}2`)
  })

  it('takes a credential that the callback has changed in place', async () => {
    const credentials = await openLoggedIn()
    await credentials.modify('acme', async (current) => Object.assign(current ?? login, await refreshAtServer(login)))
    expect(await stored()).not.toBe(login.refresh)
    expect(await credentials.read('acme')).not.toMatchObject({ access: 'expired' })
  })

  it('stops waiting at the signal, and stores what has begun', async () => {
    const credentials = await openLoggedIn()
    const controller = new AbortController()
    const late = credentials.modify(
      'acme',
      refreshing(async (current) => {
        controller.abort(new Error('no longer wanted'))
        return refreshAtServer(current)
      }),
      { signal: controller.signal },
    )
    await expect(late).rejects.toThrow('no longer wanted')
    let hasRun = false
    const never = credentials.modify('acme', async () => void (hasRun = true), { signal: controller.signal })
    await expect(never).rejects.toThrow('no longer wanted')
    await credentials.close()
    expect(hasRun).toBe(false)
    expect(await stored()).not.toBe(login.refresh)
    expect(refreshes()).toBe(1)
  })

  it('keeps API keys with their environment, and lists what there is', async () => {
    const credentials = await open()
    const apiKey = { type: 'api_key' as const, key: 'sk-1', env: { ACME_ACCOUNT: 'a' } }
    await credentials.modify('a:b%3Ac', async () => apiKey)
    await credentials.modify('acme', async () => login)
    expect(await credentials.read('a:b%3Ac')).toEqual(apiKey)
    expect([...(await credentials.list())].sort((a, b) => (a.providerId < b.providerId ? -1 : 1))).toEqual([
      { providerId: 'a:b%3Ac', type: 'api_key' },
      { providerId: 'acme', type: 'oauth' },
    ])
    await credentials.modify('acme', async () => apiKey)
    expect(await credentials.read('acme')).toEqual(apiKey)
    await credentials.modify('acme', async () => ({ ...apiKey, key: 'sk-2' }))
    await credentials.modify('acme', async () => apiKey)
    expect(await credentials.read('acme')).toEqual(apiKey)
    expect(inspect(await stage.store.read(own), { depth: 9 })).not.toContain('sk-1')
  })

  it('says of an entry that is none of pi that it cannot be read, and changes nothing', async () => {
    const credentials = await open()
    await stage.store.update(own, () => ({ type: 'api_key', ...own, key: new Secret('sk-by-hand') }))
    await expect(credentials.read('acme')).rejects.toMatchObject({ code: 'store_corrupt' })
    await expect(credentials.modify('acme', async () => login)).rejects.toMatchObject({ code: 'store_corrupt' })
    expect(await stage.store.read(own)).toMatchObject({ type: 'api_key' })
  })
})
