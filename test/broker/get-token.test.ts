import { readFile, writeFile } from 'node:fs/promises'
import { inspect } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { TokenBroker } from '../../src/broker/broker.ts'
import { systemClock } from '../../src/broker/clock.ts'
import { Secret } from '../../src/credential.ts'
import { AuthkeepError } from '../../src/errors.ts'
import { memoryBackend } from '../../src/store/backend.ts'
import { CredentialStore, openStore } from '../../src/store/store.ts'
import { key, type Stage, setStage } from './stage.ts'

describe('a broker after one login', () => {
  let stage: Stage
  beforeEach(async () => {
    stage = await setStage()
    await stage.login()
    stage.server.reset()
  })
  afterEach(() => stage.stop())

  test('hands out a token for each endpoint, narrow and for its own resource', async () => {
    const files = await stage.broker.getToken(stage.urls.files)
    const mail = await stage.broker.getToken(stage.urls.mail)
    expect(files.scopes).toEqual(['files:read'])
    expect(mail.scopes).toEqual(['mail:read'])
    expect(files.resource).not.toBe(mail.resource)
    for (const [url, token] of [
      [stage.urls.files, files],
      [stage.urls.mail, mail],
    ] as const) {
      const response = await fetch(url, { headers: await token.headers({ method: 'GET', url }) })
      expect(response.status).toBe(200)
    }
    const wrong = await fetch(stage.urls.mail, { headers: await files.headers() })
    expect(wrong.status).toBe(401)
  })

  test('serves a living token without asking the server', async () => {
    const first = await stage.broker.getToken(stage.urls.files)
    const before = stage.server.counts().arrived
    const again = await Promise.all(Array.from({ length: 100 }, () => stage.broker.getToken(stage.urls.files)))
    expect(new Set(again.map((token) => token.reveal()))).toEqual(new Set([first.reveal()]))
    expect(stage.server.counts().arrived).toBe(before)
  })

  test('refuses an endpoint whose scope was not granted, before anything is sent', async () => {
    await expect(stage.broker.getToken(stage.urls.sendMail)).rejects.toMatchObject({
      code: 'scope_missing',
      remedy: 'authorize',
      detail: { missing: ['mail:send'], endpoint: stage.urls.sendMail },
    })
    expect(stage.server.counts().arrived).toBe(0)
    expect(Object.values(stage.api.counts())).toEqual([])
  })

  test('refuses a URL that no provider declares, and names the nearest', async () => {
    await expect(stage.broker.getToken(`${stage.api.origin}/file`)).rejects.toMatchObject({
      code: 'endpoint_unknown',
      detail: { nearest: stage.urls.files },
    })
    await expect(stage.broker.getToken({ provider: 'demos' })).rejects.toMatchObject({
      code: 'provider_unknown',
      detail: { nearest: 'demo' },
    })
  })

  test('1000 callers of an expired token cause one refresh', async () => {
    await stage.expire()
    const tokens = await Promise.all(Array.from({ length: 1_000 }, () => stage.broker.getToken(stage.urls.files)))
    expect(new Set(tokens.map((token) => token.reveal())).size).toBe(1)
    expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
  })

  test('callers of several endpoints share one spender', async () => {
    await stage.expire()
    const urls = [stage.urls.files, stage.urls.mail]
    await Promise.all(Array.from({ length: 200 }, (_, n) => stage.broker.getToken(urls[n % 2] ?? '')))
    expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 2 }, reuse: 0, inFlightMax: 1 })
  })

  test('two brokers in one process do not spend a refresh token twice', async () => {
    await stage.expire()
    const brokers = [stage.broker, stage.newBroker(), stage.newBroker()]
    const tokens = await Promise.all(brokers.map((broker) => broker.getToken(stage.urls.files)))
    expect(new Set(tokens.map((token) => token.reveal())).size).toBe(1)
    expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
  })

  test('N callers with the same refused token cause one refresh', async () => {
    const refused = await stage.broker.getToken(stage.urls.files)
    stage.server.reset()
    const options = { rejected: refused.reveal() }
    const tokens = await Promise.all(Array.from({ length: 50 }, () => stage.broker.getToken(stage.urls.files, options)))
    expect(tokens.every((token) => token.reveal() !== refused.reveal())).toBe(true)
    expect(stage.server.counts().token['refresh_token']).toBe(1)
  })

  test('a caller elsewhere with the same refused token waits for that refresh', async () => {
    const rejected = (await stage.broker.getToken(stage.urls.files)).reveal()
    stage.server.reset()
    stage.server.setTokenDelay(300)
    const first = stage.broker.getToken(stage.urls.files, { rejected })
    for (let seen = await stage.credential(); seen.lease?.sentAt == null; seen = await stage.credential()) {
      await stage.store.waitForChange(key, seen, { timeoutMs: 5_000 })
    }
    const second = await stage.newBroker().getToken(stage.urls.files, { rejected })
    expect(second.reveal()).toBe((await first).reveal())
    expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
  })

  test('a token that was refused is not handed out again, also where it was another process that replaced it', async () => {
    const other = await openStore({ path: stage.path })
    // To this one no time passes, so it has no reason of its own to look at the file again.
    const broker = stage.newBroker({ store: other, clock: { ...systemClock(), monotonic: () => 0 } })
    const rejected = (await broker.getToken(stage.urls.files)).reveal()
    const next = await stage.broker.getToken(stage.urls.files, { rejected })
    expect((await broker.getToken(stage.urls.files)).reveal()).toBe(rejected)
    expect((await broker.getToken(stage.urls.files, { rejected })).reveal()).toBe(next.reveal())
    expect((await broker.getToken(stage.urls.files)).reveal()).toBe(next.reveal())
    await other.close()
  })

  test('a token that is refused although it is new is not replaced again within the minute, by nobody', async () => {
    const refuse = async (url: string, now = Date.now): Promise<string> => {
      const broker = stage.newBroker({ now })
      const rejected = (await broker.getToken(url)).reveal()
      return (await broker.getToken(url, { rejected })).reveal()
    }
    const first = await refuse(stage.urls.files)
    await expect(refuse(stage.urls.files)).rejects.toMatchObject({
      code: 'server_rejected',
      detail: { error: 'invalid_token', description: expect.stringContaining(stage.urls.files) as string },
    })
    expect(stage.server.counts().token['refresh_token']).toBe(1)
    expect((await stage.broker.getToken(stage.urls.files)).reveal()).toBe(first)
    // The others are not to blame.
    await stage.broker.getToken(stage.urls.mail)
    await refuse(stage.urls.mail)
    expect(await refuse(stage.urls.files, () => Date.now() + 61_000)).not.toBe(first)
    expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 4 }, reuse: 0 })
  })

  test('a token that was obtained during the call satisfies any minTtlMs', async () => {
    await stage.broker.getToken(stage.urls.files, { minTtlMs: 365 * 24 * 3_600_000 })
    expect(stage.server.counts().token['refresh_token']).toBe(1)
  })

  test('an aborted wait does not interrupt the refresh', async () => {
    await stage.expire()
    stage.server.setTokenDelay(100)
    const controller = new AbortController()
    const waiting = stage.broker.getToken(stage.urls.files, { signal: controller.signal })
    const other = stage.broker.getToken(stage.urls.files)
    controller.abort(new Error('the caller has had enough'))
    await expect(waiting).rejects.toThrow('had enough')
    expect((await other).scopes).toEqual(['files:read'])
    expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
  })

  test('the refresh token is never the same twice, and the file holds the newest', async () => {
    const seen = new Set<string>()
    for (let round = 0; round < 5; round++) {
      await stage.expire()
      await stage.broker.getToken(stage.urls.files)
      const { grant, lease } = await stage.credential()
      seen.add(grant.refreshToken?.reveal() ?? '')
      expect(lease).toBeNull()
    }
    expect(seen.size).toBe(5)
    expect(stage.server.counts().reuse).toBe(0)
  })

  test('several accounts are a question', async () => {
    await stage.store.update({ provider: 'demo', account: 'other' }, () => ({
      ...({ type: 'oauth', provider: 'demo', account: 'other', issuer: stage.provider.issuer } as const),
      ...{ clientId: 'x', subject: null, tokens: [], lease: null },
      grant: {
        ...({ scopes: [], evidence: 'assumed', resources: [], refreshToken: null, refreshExpiresAt: null } as const),
        ...({ generation: 0, obtainedAt: 0, state: 'live', replays: 0 } as const),
      },
    }))
    await expect(stage.broker.getToken(stage.urls.files)).rejects.toMatchObject({
      code: 'account_ambiguous',
      detail: { accounts: ['default', 'other'] },
    })
    const token = await stage.broker.getToken({
      provider: 'demo',
      account: 'default',
      scopes: ['files:read'],
      resource: filesOf(stage),
    })
    expect(token.account).toBe('default')
  })

  test('an account that is named is found without a look at the others', async () => {
    const backend = memoryBackend()
    const store = new CredentialStore(backend)
    const accounts = Array.from({ length: 500 }, (_, n) => ({ provider: 'demo', account: `a-${n}` }))
    const names = accounts.map(({ account }) => `demo:${account}`)
    await store.updateAll(
      accounts,
      () =>
        new Map(
          accounts.map((one, n) => [
            names[n] ?? '',
            { type: 'token', ...one, token: new Secret(`t-${n}`), expiresAt: null } as const,
          ]),
        ),
    )
    let reads = 0
    const counting = { ...backend, read: (name: string) => (reads++, backend.read(name)) }
    const broker = new TokenBroker({ store: new CredentialStore(counting), providers: [stage.provider] })
    expect((await broker.getToken(stage.urls.files, { account: 'a-499' })).reveal()).toBe('t-499')
    expect(reads).toBeLessThan(5)
    await broker.close()
  })

  test('an entry that cannot be read does not stand in the way of one that can', async () => {
    const document = JSON.parse(await readFile(stage.path, 'utf8')) as { credentials: Record<string, unknown> }
    document.credentials['demo:broken'] = { type: 'oauth' }
    await writeFile(stage.path, JSON.stringify(document))
    expect((await stage.broker.getToken(stage.urls.files)).account).toBe('default')
    await expect(stage.broker.getToken(stage.urls.files, { account: 'broken' })).rejects.toMatchObject({
      code: 'store_corrupt',
      detail: { key: 'demo:broken' },
    })
  })

  test('a second entry with the same refresh token is refused', async () => {
    const credential = await stage.credential()
    const copy = { provider: 'demo', account: 'copy' }
    await expect(stage.store.update(copy, () => ({ ...credential, ...copy }))).rejects.toMatchObject({
      code: 'account_ambiguous',
    })
    expect(await stage.store.read(copy)).toBeNull()
  })

  test('fetch attaches the token to declared URLs only', async () => {
    expect((await stage.broker.fetch(stage.urls.files)).status).toBe(200)
    await expect(stage.broker.fetch(`${stage.server.origin}/somewhere`)).rejects.toMatchObject({
      code: 'endpoint_unknown',
    })
    const token = await stage.broker.getToken(stage.urls.files)
    await expect(token.headers({ method: 'GET', url: 'https://elsewhere.example/files' })).rejects.toMatchObject({
      code: 'host_not_bound',
      detail: { host: 'elsewhere.example' },
    })
  })

  test('explain says what would be done, and why not', async () => {
    expect(await stage.broker.explain(stage.urls.files)).toMatchObject({ candidates: [{ account: 'default' }] })
    const refused = await stage.broker.explain(stage.urls.sendMail)
    expect(refused).toMatchObject({ verdict: 'authorize', error: { code: 'scope_missing' } })
    expect(await stage.broker.explain('https://elsewhere.example/')).toMatchObject({ verdict: 'unknown' })
    expect(stage.server.counts().arrived).toBe(0)
  })

  test('nothing that can be printed holds a secret', async () => {
    const token = await stage.broker.getToken(stage.urls.files)
    const credential = await stage.credential()
    const error = await stage.broker.getToken(stage.urls.sendMail).catch((caught: unknown) => caught)
    expect(error).toBeInstanceOf(AuthkeepError)
    const explanation = await stage.broker.explain(stage.urls.files)
    const printed = [token, credential, error, explanation, await stage.store.list(), stage.store, stage.broker]
      .flatMap((value) => [inspect(value, { depth: 20, showHidden: true }), JSON.stringify(value), String(value)])
      .join('\n')
    const secrets = [
      ...credential.tokens.map(({ accessToken }) => accessToken),
      credential.grant.refreshToken,
      credential.idToken,
    ]
    for (const secret of secrets) {
      if (secret == null) continue
      expect(printed).not.toContain(secret.reveal())
    }
    // The file, on the other hand, has them: the search above looks for the right strings.
    expect(await readFile(stage.path, 'utf8')).toContain(credential.grant.refreshToken?.reveal())
  })

  test('a credential of another issuer or client is not refreshed', async () => {
    await stage.store.update(key, (current) =>
      current?.type === 'oauth' ? { ...current, clientId: 'other' } : undefined,
    )
    await stage.expire()
    await expect(stage.broker.getToken(stage.urls.files)).rejects.toMatchObject({
      code: 'authorization_required',
      detail: { reason: 'registration_changed' },
    })
    expect(stage.server.counts().arrived).toBe(0)
  })
})

function filesOf(stage: Stage): string {
  const endpoint = stage.provider.endpoints?.find(({ url }) => url === stage.urls.files)
  return endpoint?.resource ?? ''
}
