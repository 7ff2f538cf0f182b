import { readFile, stat } from 'node:fs/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { completeLogin, type RobotOptions } from '../../examples/server/robot.ts'
import type { Profile } from '../../src/broker/onboard.ts'
import { AuthkeepError } from '../../src/errors.ts'
import { apiKeyFlow } from '../../src/grant/api-key.ts'
import type { GrantFlow } from '../../src/grant/flow.ts'
import { loopbackFlow } from '../../src/grant/loopback.ts'
import { memoryBackend } from '../../src/store/backend.ts'
import { openStore } from '../../src/store/store.ts'
import { type Stage, setStage } from './stage.ts'

let stage: Stage
beforeEach(async () => {
  stage = await setStage()
  await stage.login()
})
afterEach(() => stage.stop())

const browser = (robot: RobotOptions = {}): GrantFlow =>
  loopbackFlow({ openBrowser: (url) => void completeLogin(url, robot).catch(() => undefined) })
const profile = (account: string, flow: GrantFlow): Profile => ({ target: { provider: 'demo', account }, flow })

async function everything(): Promise<unknown> {
  const { ino, mtimeNs } = await stat(stage.path, { bigint: true })
  return { ino, mtimeNs, text: await readFile(stage.path, 'utf8') }
}

it('stores every login in one commit', async () => {
  const events: string[][] = []
  stage.store.watch((event) => {
    if (event.type === 'changed') events.push([...event.keys])
  })
  const infos = await stage.broker.onboard([profile('a', browser()), profile('b', browser({ login: 'bob' }))])
  expect(infos.map(({ account, subject }) => [account, subject])).toEqual([
    ['a', 'alice'],
    ['b', 'bob'],
  ])
  expect(events).toEqual([['demo:a', 'demo:b']])
})

describe('the pages of logins that are stored together', () => {
  /** A browser, and what it showed in the end. */
  function shown(robot: RobotOptions = {}): { flow: GrantFlow; page: () => Promise<string> } {
    let page: Promise<string> | undefined
    const openBrowser = (url: URL): void => {
      page = completeLogin(url, robot).then(({ html }) => html)
      page.catch(() => undefined)
    }
    return { flow: loopbackFlow({ openBrowser }), page: () => page ?? Promise.reject(new Error('not opened')) }
  }

  it('before the last say that nothing is stored, truly; the last says so only after the commit', async () => {
    const seen: unknown[] = []
    const look: GrantFlow = {
      name: 'look',
      async run(request) {
        expect(request.part).toEqual({ number: 2, of: 3 })
        seen.push(await first.page(), await store.list())
        return apiKeyFlow({ key: 'sk' }).run(request)
      },
    }
    const [first, last] = [shown({ login: 'bob' }), shown({ login: 'carol' })]
    const memory = memoryBackend()
    const commit: typeof memory.commit = async (...request) => {
      let isShown = false
      void last.page().then(() => (isShown = true))
      await fetch(`${stage.server.origin}/.well-known/openid-configuration`)
      expect(isShown).toBe(false)
      return memory.commit(...request)
    }
    const store = await openStore({ backend: { ...memory, commit } })
    const broker = stage.newBroker({ store })
    await broker.onboard([profile('a', first.flow), profile('k', look), profile('b', last.flow)])
    expect(seen).toEqual([expect.stringContaining('Login 1 of 3 is done'), []])
    expect(seen[0]).toContain('Nothing is stored yet')
    expect(seen[0]).not.toContain('You are logged in')
    expect(await last.page()).toContain('You are logged in')
    expect(await last.page()).toContain('was the last of 3. All of them are complete.')
  })

  it('the last says it where the commit fails', async () => {
    const [first, last] = [shown({ login: 'bob' }), shown({ login: 'carol' })]
    const backend = { ...memoryBackend(), commit: () => Promise.reject(full) }
    const full = new AuthkeepError('store_failed', { path: '/a', operation: 'write', errno: 'ENOSPC', unspent: true })
    const broker = stage.newBroker({ store: await openStore({ backend }) })
    await expect(broker.onboard([profile('a', first.flow), profile('b', last.flow)])).rejects.toBe(full)
    expect(await first.page()).toContain('Nothing is stored yet')
    expect(await last.page()).toContain('The login failed')
    expect(await last.page()).toContain('ENOSPC')
    expect(await last.page()).toContain('The 2 logins are stored together or not at all.')
  })
})

it.each<[string, GrantFlow, string]>([
  ['a denial', browser({ deny: true }), 'authorization_required'],
  ['less than was asked for', browser({ scopesToReject: ['mail:read'] }), 'scope_missing'],
  ['a flow that breaks', { name: 'broken', run: () => Promise.reject(new Error('broken')) }, 'broken'],
])('%s leaves the file untouched, byte by byte, and revokes what nobody has', async (_, flow, what) => {
  const before = await everything()
  const work = stage.broker.onboard([profile('a', browser({ login: 'bob' })), profile('b', flow)])
  await expect(work).rejects.toEqual(
    what === 'broken' ? expect.objectContaining({ message: what }) : expect.objectContaining({ code: what }),
  )
  expect(await everything()).toEqual(before)
  expect(stage.server.counts().revoked).toBeGreaterThanOrEqual(1)
})

it('a cancelled one leaves the file untouched', async () => {
  const before = await everything()
  const cancel = new AbortController()
  const never = loopbackFlow({ openBrowser: () => cancel.abort(new Error('cancelled')) })
  const work = stage.broker.onboard([profile('a', browser()), profile('b', never)], { signal: cancel.signal })
  await expect(work).rejects.toThrow('cancelled')
  expect(await everything()).toEqual(before)
})

it('somebody else in one place is nobody new in the others', async () => {
  const work = stage.broker.onboard([profile('a', browser()), profile('default', browser({ login: 'bob' }))])
  await expect(work).rejects.toEqual(expect.objectContaining({ code: 'account_ambiguous' }))
  expect(await stage.store.list()).toHaveLength(1)
})

it('keeps the old credential until the new one is stored', async () => {
  let during: unknown
  const flow = loopbackFlow({
    openBrowser: async (url) => {
      during = await stage.broker.getToken(stage.urls.files)
      await completeLogin(url).catch(() => undefined)
    },
  })
  await stage.broker.onboard([profile('default', flow), profile('k', apiKeyFlow({ key: 'sk' }))])
  expect(during).toBeDefined()
  expect((await stage.credential()).grant.generation).toBe(2)
})

it('two profiles of one entry are a mistake', async () => {
  const work = stage.broker.onboard([profile('a', browser()), profile('a', browser())])
  await expect(work).rejects.toThrow(TypeError)
})

describe('a login that brings less than was asked for', () => {
  const narrow = { scopesToReject: ['mail:read'] }
  const missing = ['mail:read']

  it('in the place of a wider one, or of none, changes nothing and says what is missing', async () => {
    const before = await everything()
    const asked = ['files:read', 'mail:read', 'offline_access', 'openid']
    for (const account of ['default', 'new']) {
      const work = stage.broker.authorize({ provider: 'demo', account }, browser(narrow))
      await expect(work).rejects.toMatchObject({ code: 'scope_missing', detail: { account, missing, asked } })
    }
    expect(await everything()).toEqual(before)
    expect((await stage.broker.getToken(stage.urls.mail)).scopes).toEqual(missing)
  })

  it('is stored as what it is where the caller is content with less', async () => {
    const info = await stage.broker.authorize({ provider: 'demo' }, browser(narrow), { narrower: 'keep' })
    expect(info.scopes).not.toContain('mail:read')
    await expect(stage.broker.getToken(stage.urls.mail)).rejects.toMatchObject({ code: 'scope_missing' })
    const both = [profile('a', browser({ login: 'bob', ...narrow })), profile('b', browser({ login: 'carol' }))]
    expect(await stage.broker.onboard(both, { narrower: 'keep' })).toHaveLength(2)
  })

  it('is taken for what it is: implied scopes count, and an answer without scope grants what was asked for', async () => {
    const implies = { 'files:read': ['mail:read'] }
    const knowing = stage.newBroker({ providers: [{ ...stage.provider, implies }] })
    expect((await knowing.authorize({ provider: 'demo' }, browser(narrow))).scopes).not.toContain('mail:read')
    stage.server.mutateResponse((body) => ({ ...body, scope: undefined }))
    const target = { provider: 'demo', account: 'b' }
    const info = await stage.broker.authorize(target, browser({ login: 'bob', ...narrow }))
    expect(info.scopes).toContain('mail:read')
  })

  it('may come without a scope that the provider calls optional, but not where the caller names it', async () => {
    const providers = [{ ...stage.provider, optionalScopes: missing }]
    const content = stage.newBroker({ providers })
    const target = { provider: 'demo', account: 'b' }
    const named = content.authorize({ ...target, scopes: stage.provider.scopes ?? [] }, browser(narrow))
    await expect(named).rejects.toMatchObject({ code: 'scope_missing', detail: { missing } })
    expect((await content.authorize(target, browser(narrow))).scopes).toContain('files:read')
  })
})
