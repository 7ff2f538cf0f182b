import { afterEach, describe, expect, test } from 'vitest'
import { Secret } from '../../src/credential.ts'
import { key, type Stage, setStage } from './stage.ts'

let stage: Stage
afterEach(() => stage.stop())

async function set(format: 'jwt' | 'opaque'): Promise<void> {
  stage = await setStage({
    accessTokenFormat: format,
    ...(format === 'jwt' ? { provider: { accessTokens: 'jwt' } } : {}),
  })
  await stage.login()
  stage.server.reset()
}

async function change(make: (token: string) => string): Promise<void> {
  await stage.store.update(key, (current) => {
    if (current?.type !== 'oauth') return undefined
    const tokens = current.tokens.map((token) => ({
      ...token,
      accessToken: new Secret(make(token.accessToken.reveal())),
    }))
    return { ...current, tokens }
  })
}

describe('what is stored for a URL', () => {
  test('is valid as far as a JWT and the keys of its issuer tell', async () => {
    await set('jwt')
    expect(await stage.broker.validate(stage.urls.files)).toEqual({
      valid: true,
      findings: ['The access token is what it should be.', 'The ID token is what it should be.'],
    })
    expect(stage.server.counts().arrived).toBe(0)
  })

  test("is not valid with a signature that is not the issuer's", async () => {
    await set('jwt')
    await change((token) => token.replace(/\.[^.]+$/, `.${'A'.repeat(86)}`))
    const { valid, findings } = await stage.broker.validate(stage.urls.files)
    expect([valid, findings[0]]).toEqual([false, 'The access token has a wrong signature, or one by an unknown key.'])
  })

  test('is not guessed at where it is opaque: what is known is said', async () => {
    await set('opaque')
    const { valid, findings } = await stage.broker.validate(stage.urls.files)
    expect(valid).toBe('opaque')
    expect(findings[0]).toMatch(/^The access token is opaque\. It is known to be for files:read, until 20\d\d-/)
  })

  test('is not valid where no token serves any more', async () => {
    await set('opaque')
    await stage.expire()
    expect(await stage.broker.validate(stage.urls.files)).toMatchObject({ valid: false })
    expect(stage.server.counts().arrived).toBe(0)
  })

  test('holds no secret in what is said of it', async () => {
    await set('jwt')
    const said = JSON.stringify(await stage.broker.validate(stage.urls.files))
    for (const { accessToken } of (await stage.credential()).tokens) expect(said).not.toContain(accessToken.reveal())
  })
})
