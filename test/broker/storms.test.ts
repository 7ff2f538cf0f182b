import { expect, test } from 'vitest'
import { setStage } from './stage.ts'

test('1000 callers over 8 resources: all served, by 8 refreshes, one after the other', async () => {
  const paths = Array.from({ length: 8 }, (_, n) => `/api-${n}`)
  const stage = await setStage({
    resources: Object.fromEntries(paths.map((path) => [path, [`${path.slice(1)}:read`]])),
  })
  try {
    const { origin } = stage.server
    const endpoints = paths.map((path) => ({
      url: `${origin}${path}`,
      scopes: [`${path.slice(1)}:read`],
      resource: `${origin}${path}`,
    }))
    const scopes = ['openid', 'offline_access', ...endpoints.flatMap((endpoint) => endpoint.scopes)]
    const broker = stage.newBroker({ providers: [{ ...stage.provider, scopes, endpoints }] })
    await stage.login(broker)
    await stage.expire()
    stage.server.reset()
    stage.server.setTokenDelay(20)
    const tokens = await Promise.all(
      Array.from({ length: 1_000 }, (_, n) => broker.getToken(`${origin}${paths[n % 8] ?? ''}`)),
    )
    for (const [n, token] of tokens.entries()) expect(token.scopes).toEqual([`api-${n % 8}:read`])
    expect(new Set(tokens.map((token) => token.reveal())).size).toBe(8)
    expect(stage.server.counts()).toMatchObject({
      ...{ arrived: 8, token: { refresh_token: 8 }, inFlightMax: 1, reuse: 0, revoked: 0 },
    })
  } finally {
    await stage.stop()
  }
})
