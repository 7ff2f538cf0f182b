import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { key, type Stage, setStage } from './stage.ts'

let stage: Stage
beforeEach(async () => {
  stage = await setStage()
  await stage.login()
  stage.server.reset()
})
afterEach(() => stage.stop())

/** A `fetch` whose answer to a revocation is the test's. */
const revoking = (answer: () => Promise<Response>): typeof fetch => {
  return (input, init) =>
    String(input instanceof Request ? input.url : input).endsWith('/token/revocation') ? answer() : fetch(input, init)
}

describe('a login that is revoked', () => {
  test('is gone at the server, and here once the server has said so', async () => {
    const { grant } = await stage.credential()
    expect(await stage.broker.revoke(key)).toEqual({ revoked: true })
    expect(await stage.store.read(key)).toBeNull()
    const again = await fetch(`${stage.server.origin}/token`, {
      method: 'POST',
      body: new URLSearchParams({
        ...{ grant_type: 'refresh_token', client_id: stage.provider.client.id },
        refresh_token: grant.refreshToken?.reveal() ?? '',
      }),
    })
    expect(await again.json()).toMatchObject({ error: 'invalid_grant' })
  })

  test.each([
    ['http_503', async () => new Response('busy', { status: 503 })],
    ['ECONNRESET', () => Promise.reject(Object.assign(new TypeError('failed'), { cause: { code: 'ECONNRESET' } }))],
  ])('and not confirmed (%s) stays as it was, and goes on', async (reason, answer) => {
    const before = await stage.credential()
    const broker = stage.newBroker({ fetch: revoking(answer) })
    expect(await broker.revoke(key)).toEqual({ revoked: false, reason })
    expect((await stage.credential()).grant).toEqual(before.grant)
    expect((await stage.credential()).lease).toBeNull()
    await stage.expire()
    expect((await broker.getToken(stage.urls.files)).scopes).toEqual(['files:read'])
  })

  test('waits for a refresh that is under way, also in another broker, and revokes its successor', async () => {
    await stage.expire()
    stage.server.setTokenDelay(150)
    const other = stage.newBroker()
    const refreshing = other.getToken(stage.urls.files)
    while ((await stage.credential()).lease === null) await new Promise((resolve) => setTimeout(resolve, 5))
    expect(await stage.broker.revoke(key)).toEqual({ revoked: true })
    await refreshing
    expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
    expect(await stage.store.read(key)).toBeNull()
  })

  test('is not refreshed meanwhile by anybody', async () => {
    await stage.expire()
    const other = stage.newBroker()
    let waiting: Promise<unknown> | undefined
    const broker = stage.newBroker({
      fetch: revoking(async () => {
        waiting = other.getToken(stage.urls.files)
        await Promise.race([waiting, new Promise((resolve) => setTimeout(resolve, 200))])
        expect(stage.server.counts().arrived).toBe(0)
        return new Response('busy', { status: 503 })
      }),
    })
    expect(await broker.revoke(key)).toEqual({ revoked: false, reason: 'http_503' })
    await waiting
    expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
  })

  test('that somebody replaces meanwhile is not taken from them', async () => {
    const broker = stage.newBroker({
      fetch: revoking(async () => {
        await stage.login()
        return new Response(null, { status: 200 })
      }),
    })
    expect(await broker.revoke(key)).toEqual({ revoked: true })
    expect((await stage.credential()).grant.state).toBe('live')
  })

  test('and is an API key, or not there, is said to be so', async () => {
    const other = { provider: 'demo', account: 'key' }
    expect(await stage.broker.revoke(other)).toEqual({ revoked: false, reason: 'no_credential' })
    await expect(stage.broker.revoke({ provider: 'nobody', account: 'x' })).rejects.toMatchObject({
      code: 'provider_unknown',
    })
  })
})
