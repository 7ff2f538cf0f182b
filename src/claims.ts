import type { Json, JsonObject, Secret } from './credential.ts'
import { parseScope, scopeSet } from './scope.ts'

const known = new WeakMap<Secret, JsonObject | null>()
const shown = new WeakMap<JsonObject, JwtEvidence>()

/**
 * The claims of a token that is a JWT (RFC 7519 §7.2), or null for one that is opaque. Signatures are not looked at:
 * this tells what a token shows, to whoever has it from the server that made it.
 */
export function claimsOf(token: Secret): JsonObject | null {
  let claims = known.get(token)
  if (claims === undefined) {
    claims = read(token.reveal())
    known.set(token, claims)
  }
  return claims
}

function read(token: string): JsonObject | null {
  const parts = token.split('.')
  if (parts.length !== 3) return null
  try {
    const value: unknown = JSON.parse(Buffer.from(parts[1] ?? '', 'base64url').toString())
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : null
  } catch {
    // Three words with dots between them are no JWT yet.
    return null
  }
}

/** What a JWT shows of itself. Times are Unix milliseconds. */
export interface JwtEvidence {
  /** From `scope` or `scp` (RFC 9068 §2.2.3), a string or a list; null where it shows neither. */
  readonly scopes: readonly string[] | null
  readonly audience: readonly string[]
  readonly issuer: string | null
  readonly subject: string | null
  readonly expiresAt: number | null
  readonly issuedAt: number | null
  readonly notBefore: number | null
}

/** What a token shows without a look at its signature, or null for one that is opaque. */
export function jwtEvidence(token: Secret): JwtEvidence | null {
  const claims = claimsOf(token)
  if (claims === null) return null
  let evidence = shown.get(claims)
  if (evidence === undefined) {
    evidence = evidenceOf(claims)
    shown.set(claims, evidence)
  }
  return evidence
}

function evidenceOf(claims: JsonObject): JwtEvidence {
  const text = (claim: string): string | null => (typeof claims[claim] === 'string' ? claims[claim] : null)
  const time = (claim: string): number | null => (typeof claims[claim] === 'number' ? claims[claim] * 1000 : null)
  return {
    scopes: scopesOf(claims['scope']) ?? scopesOf(claims['scp']),
    audience: stringsOf(claims['aud']),
    issuer: text('iss'),
    subject: text('sub'),
    expiresAt: time('exp'),
    issuedAt: time('iat'),
    notBefore: time('nbf'),
  }
}

function scopesOf(value: Json | undefined): readonly string[] | null {
  if (typeof value === 'string') return parseScope(value)
  return Array.isArray(value) ? scopeSet(stringsOf(value)) : null
}

function stringsOf(value: Json | undefined): readonly string[] {
  const list: readonly Json[] = Array.isArray(value) ? value : value === undefined ? [] : [value]
  return list.filter((each) => typeof each === 'string')
}
