import { createHash } from 'node:crypto'
import { calculateJwkThumbprint, type JWK, jwtVerify } from 'jose'
import { beforeAll, describe, expect, it } from 'vitest'
import { Secret } from '../../src/credential.ts'
import { type DpopKey, DpopNonces, dpopProof, generateDpopKey } from '../../src/grant/dpop.ts'
import { expectNoSecret, rejection } from './setup.ts'

let key: DpopKey
beforeAll(async () => {
  key = await generateDpopKey()
})

/** What a server finds out about a proof (RFC 9449 §4.3). */
async function verified(proof: string) {
  const embedded = async ({ jwk }: { jwk?: unknown }): Promise<JWK> => jwk as JWK
  const { payload, protectedHeader } = await jwtVerify(proof, async (header) => embedded(header), { typ: 'dpop+jwt' })
  return { payload, header: protectedHeader }
}

describe('a DPoP proof', () => {
  it('is about one request, and shows the public key only (RFC 9449 §4.2)', async () => {
    const url = 'https://api.example/files?q=secret#part'
    const { payload, header } = await verified(await dpopProof({ key, method: 'post', url, now: 1_790_000_000_999 }))
    expect(payload).toEqual({
      htm: 'POST',
      htu: 'https://api.example/files',
      iat: 1_790_000_000,
      jti: expect.any(String) as string,
    })
    expect(header).toEqual({ alg: 'ES256', typ: 'dpop+jwt', jwk: expect.any(Object) as JWK })
    expect(Object.keys(header.jwk as object).sort()).toEqual(['crv', 'kty', 'x', 'y'])
    expect(await calculateJwkThumbprint(header.jwk as JWK)).toBe(key.jkt)
  })

  it('carries the nonce, and the hash of the access token', async () => {
    const accessToken = new Secret('the access token')
    const request = { key, method: 'GET', url: new URL('https://api.example'), nonce: 'n', accessToken }
    const { payload } = await verified(await dpopProof(request))
    expect(payload).toMatchObject({
      nonce: 'n',
      ath: createHash('sha256').update('the access token').digest('base64url'),
    })
  })

  it('is never the same twice', async () => {
    const request = { key, method: 'GET', url: 'https://api.example', now: 0 }
    const [one, two] = await Promise.all([dpopProof(request), dpopProof(request)])
    expect((await verified(one)).payload.jti).not.toBe((await verified(two)).payload.jti)
  })

  it('is made with a key that was stored as text', async () => {
    const stored = { privateJwk: new Secret(key.privateJwk.reveal()), jkt: key.jkt }
    const { header } = await verified(await dpopProof({ key: stored, method: 'GET', url: 'https://api.example' }))
    expect(await calculateJwkThumbprint(header.jwk as JWK)).toBe(key.jkt)
  })

  it('needs a private key, and does not quote what it got instead', async () => {
    const { d, ...publicJwk } = JSON.parse(key.privateJwk.reveal()) as { d: string }
    for (const text of ['', `"${d}`, '{}', JSON.stringify(publicJwk), `{"kty":"oct","k":"${d}"}`, `{"d":"${d}"}`]) {
      const broken = { privateJwk: new Secret(text), jkt: key.jkt }
      const error = await rejection(dpopProof({ key: broken, method: 'GET', url: 'https://api.example' }))
      expect(error).toBeInstanceOf(TypeError)
      expectNoSecret(error, [d])
    }
  })

  it('has a key that does not print', () => expectNoSecret(key, [key.privateJwk.reveal()]))
})

describe('nonces', () => {
  it('are remembered by origin, the latest of each', () => {
    const nonces = new DpopNonces()
    expect(nonces.get('https://a.example/x')).toBeUndefined()
    nonces.keep('https://a.example/x', new Headers({ 'DPoP-Nonce': 'one' }))
    nonces.keep('https://b.example/x', new Headers({ 'DPoP-Nonce': 'two' }))
    expect(nonces.keep('https://a.example/z', new Headers())).toBeUndefined()
    expect([nonces.get('https://a.example/y'), nonces.get(new URL('https://b.example'))]).toEqual(['one', 'two'])
  })

  it('are forgotten when there are too many', () => {
    const nonces = new DpopNonces()
    for (let index = 0; index <= 100; index++)
      nonces.keep(`https://${index}.example`, new Headers({ 'DPoP-Nonce': `${index}` }))
    expect([nonces.get('https://0.example'), nonces.get('https://1.example')]).toEqual([undefined, '1'])
  })
})
