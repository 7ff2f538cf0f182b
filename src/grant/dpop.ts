import type { CryptoKey, JWK } from 'jose'
import { type DpopKey, type JsonObject, Secret } from '../credential.ts'

export type { DpopKey } from '../credential.ts'

import type { Provider } from '../provider.ts'

/** A new ES256 key. */
export async function generateDpopKey(): Promise<DpopKey> {
  const { calculateJwkThumbprint, exportJWK, generateKeyPair } = await import('jose')
  const { privateKey } = await generateKeyPair('ES256', { extractable: true })
  const jwk = await exportJWK(privateKey)
  return { privateJwk: new Secret(JSON.stringify(jwk)), jkt: await calculateJwkThumbprint(jwk) }
}

/** The key that a grant is to be bound to: none where the provider wants none, else the one given, else a new one. */
export async function dpopKeyFor(request: {
  readonly provider: Provider
  readonly dpopKey?: DpopKey | undefined
}): Promise<DpopKey | undefined> {
  const { provider, dpopKey } = request
  return provider.dpop === undefined || provider.dpop === false ? undefined : (dpopKey ?? generateDpopKey())
}

export interface DpopProofRequest {
  readonly key: DpopKey
  /** HTTP method of the request that the proof is for. */
  readonly method: string
  /** URL of that request; the proof names it without query and fragment. */
  readonly url: string | URL
  /** What the server has sent as `DPoP-Nonce`; for most requests that is `dpopNonces.get(url)`. */
  readonly nonce?: string | undefined
  /** The token that the request carries; none at a token endpoint. */
  readonly accessToken?: Secret | undefined
  /** Unix milliseconds by the server's clock, as far as that is known; default `Date.now()`. */
  readonly now?: number | undefined
}

/**
 * The value of a `DPoP` header (RFC 9449 §4.2). Every request needs a proof of its own: servers take one only once.
 *
 * Rejects with TypeError when the key is none.
 */
export async function dpopProof(request: DpopProofRequest): Promise<string> {
  const { SignJWT } = await import('jose')
  const { accessToken, nonce, now = Date.now() } = request
  const url = new URL(request.url)
  const { privateKey, publicJwk } = await keyPair(request.key)
  const payload: JsonObject = {
    jti: crypto.randomUUID(),
    htm: request.method.toUpperCase(),
    htu: `${url.origin}${url.pathname}`,
    iat: Math.floor(now / 1000),
    ...(nonce === undefined ? {} : { nonce }),
    ...(accessToken === undefined ? {} : { ath: await sha256(accessToken.reveal()) }),
  }
  return new SignJWT(payload).setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk: publicJwk }).sign(privateKey)
}

interface KeyPair {
  readonly privateKey: CryptoKey
  readonly publicJwk: JWK
}

const imported = new WeakMap<Secret, Promise<KeyPair>>()

function keyPair({ privateJwk }: DpopKey): Promise<KeyPair> {
  let pair = imported.get(privateJwk)
  if (pair === undefined) {
    pair = importKeyPair(privateJwk)
    imported.set(privateJwk, pair)
  }
  return pair
}

async function importKeyPair(privateJwk: Secret): Promise<KeyPair> {
  const { importJWK } = await import('jose')
  try {
    const { kty, crv, x, y, d } = JSON.parse(privateJwk.reveal()) as JWK
    const publicJwk = { kty, crv, x, y } as JWK
    // Without `d` it would be imported as a public key, with another `kty` as something else altogether.
    if (kty === 'EC' && d !== undefined)
      return { privateKey: (await importJWK({ ...publicJwk, d }, 'ES256')) as CryptoKey, publicJwk }
  } catch {
    // What a parser has to say about a key may quote it.
  }
  throw new TypeError('a DPoP key is the JSON of a private ES256 JWK')
}

async function sha256(text: string): Promise<string> {
  return Buffer.from(await crypto.subtle.digest('SHA-256', Buffer.from(text))).toString('base64url')
}

/** How many origins' nonces are remembered. */
const nonceLimit = 100

/** The latest nonce of each server (RFC 9449 §8.2). Losing one costs a round trip, nothing else. */
export class DpopNonces {
  readonly #byOrigin = new Map<string, string>()

  /** What to put into the next proof for this server. */
  get(url: string | URL): string | undefined {
    return this.#byOrigin.get(new URL(url).origin)
  }

  /** Remembers the nonce of an answer, whatever its status; returns it. */
  keep(url: string | URL, headers: Headers): string | undefined {
    const nonce = headers.get('dpop-nonce')
    if (nonce === null || nonce === '') return undefined
    const { origin } = new URL(url)
    this.#byOrigin.delete(origin)
    this.#byOrigin.set(origin, nonce)
    for (const oldest of this.#byOrigin.keys()) {
      if (this.#byOrigin.size <= nonceLimit) break
      this.#byOrigin.delete(oldest)
    }
    return nonce
  }
}

/** The nonces of this process. */
export const dpopNonces: DpopNonces = new DpopNonces()
