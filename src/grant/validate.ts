import type { CryptoKey, JWTVerifyGetKey, JWTVerifyOptions, JWTVerifyResult } from 'jose'
import { type JwtEvidence, jwtEvidence } from '../claims.ts'
import type { Secret } from '../credential.ts'
import { type AuthorizationServerMetadata, isSecureUrl, type Provider } from '../provider.ts'
import { missingScopes } from '../scope.ts'
import { classifyFailure } from './classify.ts'

export interface ValidationRequest {
  readonly provider: Provider
  readonly metadata: AuthorizationServerMetadata
  readonly token: Secret
  readonly kind: 'id_token' | 'access_token'
  /** Whom an access token must be for: the resource, or how the API calls itself. Of an ID token it is the client. */
  readonly audience?: string | undefined
  /** What an access token must allow, implied scopes counted. */
  readonly scopes?: readonly string[]
  readonly fetch: typeof fetch
  /** Unix milliseconds. */
  readonly now: () => number
  /** For fetching the issuer's keys. */
  readonly timeoutMs: number
}

/** What is wrong with a token. `claims`: one that it must have is missing, or is no such thing. */
export type ValidationFault =
  | 'malformed'
  | 'type'
  | 'signature'
  | 'issuer'
  | 'audience'
  | 'expired'
  | 'not_yet_valid'
  | 'scope'
  | 'claims'

export type TokenValidation =
  | { readonly kind: 'valid'; readonly evidence: JwtEvidence }
  /** The token, as it is now, is not what it should be. */
  | { readonly kind: 'invalid'; readonly fault: ValidationFault; readonly evidence: JwtEvidence | null }
  /** An access token that the provider does not declare to be a JWT: only the server knows what it is worth. */
  | { readonly kind: 'opaque' }
  /** The issuer's keys could not be had, so nobody can tell. */
  | { readonly kind: 'unavailable'; readonly cause: string }

/** How far clocks may be apart where a token says from when to when it is valid. */
const toleranceSeconds = 5

/** RFC 9068 §4 wants the first; servers that are older than it send the others, or nothing. */
const accessTokenTypes: ReadonlySet<string> = new Set(['at+jwt', 'application/at+jwt', 'jwt', ''])

/**
 * Checks an ID token (OpenID Connect Core §3.1.3.7) or a JWT access token (RFC 9068 §4) against the keys of its issuer:
 * signature, issuer, audience, times, and for an access token the scopes. Whether access tokens are JWTs is the
 * provider's to declare (`accessTokens`); a token that only looks like one is not guessed at.
 *
 * Never throws for what a token, a server or the network is like.
 */
export async function validateToken(request: ValidationRequest): Promise<TokenValidation> {
  const { provider, token, kind, scopes = [] } = request
  if (kind === 'access_token' && provider.accessTokens !== 'jwt') return { kind: 'opaque' }
  const evidence = jwtEvidence(token)
  if (evidence === null) return { kind: 'invalid', fault: 'malformed', evidence }
  const verified = await verify(request)
  if (verified !== null) return 'fault' in verified ? { ...verified, evidence } : verified
  const isEnough = kind === 'id_token' || missingScopes(scopes, evidence.scopes ?? [], provider.implies).length === 0
  return isEnough ? { kind: 'valid', evidence } : { kind: 'invalid', fault: 'scope', evidence }
}

type Refusal =
  | { readonly kind: 'invalid'; readonly fault: ValidationFault }
  | { readonly kind: 'unavailable'; readonly cause: string }

async function verify(request: ValidationRequest): Promise<Refusal | null> {
  const { jwtVerify } = await import('jose')
  const { provider, token, now } = request
  const keys = await keysOf(request)
  if (keys === null) return { kind: 'unavailable', cause: 'no_keys' }
  const isId = request.kind === 'id_token'
  const audience = isId ? provider.client.id : request.audience
  const options: JWTVerifyOptions = {
    issuer: provider.issuer,
    ...(audience === undefined ? {} : { audience }),
    currentDate: new Date(now()),
    clockTolerance: toleranceSeconds,
    requiredClaims: isId ? ['sub', 'exp', 'iat'] : ['exp'],
  }
  const tryKey = async (key: JWTVerifyGetKey): Promise<Refusal | null> =>
    judge(await jwtVerify(token.reveal(), key, options), request)
  try {
    return await tryKey(keys)
  } catch (error) {
    // A token that names no key of several is tried with each.
    if (codeOf(error) !== 'ERR_JWKS_MULTIPLE_MATCHING_KEYS') return refusalOf(error)
    for await (const key of error as AsyncIterable<CryptoKey>) {
      const refusal = await tryKey(async () => key).catch(refusalOf)
      if (refusal === null || refusal.kind === 'unavailable' || refusal.fault !== 'signature') return refusal
    }
    return { kind: 'invalid', fault: 'signature' }
  }
}

function judge({ payload, protectedHeader }: JWTVerifyResult, { kind, provider }: ValidationRequest): Refusal | null {
  if (kind === 'access_token') {
    const isKnown = accessTokenTypes.has((protectedHeader.typ ?? '').toLowerCase())
    return isKnown ? null : { kind: 'invalid', fault: 'type' }
  }
  // OpenID Connect Core §3.1.3.7: of several audiences, it names the one that it was issued to.
  const { azp = [payload.aud].flat().length === 1 ? provider.client.id : undefined } = payload
  return azp === provider.client.id ? null : { kind: 'invalid', fault: 'audience' }
}

const faults: Readonly<Record<string, ValidationFault>> = {
  ERR_JWT_EXPIRED: 'expired',
  ERR_JWS_SIGNATURE_VERIFICATION_FAILED: 'signature',
  ERR_JWKS_NO_MATCHING_KEY: 'signature',
  // An algorithm that public keys have no part in: none at all, or a shared secret.
  ERR_JOSE_NOT_SUPPORTED: 'signature',
  ERR_JOSE_ALG_NOT_ALLOWED: 'signature',
  ERR_JWS_INVALID: 'malformed',
  ERR_JWT_INVALID: 'malformed',
}

const claimFaults: Readonly<Record<string, ValidationFault>> = {
  iss: 'issuer',
  aud: 'audience',
  nbf: 'not_yet_valid',
}

function refusalOf(error: unknown): Refusal {
  const code = codeOf(error)
  if (code === 'ERR_JWT_CLAIM_VALIDATION_FAILED') {
    const { claim = '', reason } = error as { claim?: string; reason?: string }
    return { kind: 'invalid', fault: (reason === 'invalid' ? undefined : claimFaults[claim]) ?? 'claims' }
  }
  const fault = faults[code]
  if (fault !== undefined) return { kind: 'invalid', fault }
  // What is left went wrong on the way to the keys.
  return { kind: 'unavailable', cause: code.startsWith('ERR_J') ? 'no_keys' : classifyFailure(error).cause }
}

function codeOf(error: unknown): string {
  const { code } = error as { code?: unknown }
  return typeof code === 'string' ? code : ''
}

/** Keys by metadata object, so that they are fetched once; they are fetched again when a token names an unknown one. */
const known = new WeakMap<AuthorizationServerMetadata, JWTVerifyGetKey>()

async function keysOf({ metadata, fetch, timeoutMs }: ValidationRequest): Promise<JWTVerifyGetKey | null> {
  const { createRemoteJWKSet, customFetch } = await import('jose')
  const { jwks_uri: uri } = metadata
  if (typeof uri !== 'string' || !URL.canParse(uri) || !isSecureUrl(new URL(uri))) return null
  const keys =
    known.get(metadata) ?? createRemoteJWKSet(new URL(uri), { [customFetch]: fetch, timeoutDuration: timeoutMs })
  known.set(metadata, keys)
  return keys
}
