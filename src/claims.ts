import type { JsonObject, Secret } from './credential.ts'

const known = new WeakMap<Secret, JsonObject | null>()

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
