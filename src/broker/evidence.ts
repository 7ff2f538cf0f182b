import { claimsOf, type JwtEvidence, jwtEvidence } from '../claims.ts'
import type { OAuthCredential, Secret } from '../credential.ts'
import type { Requirement } from '../endpoint.ts'
import type { Provider } from '../provider.ts'
import { type Implications, missingScopes, scopeSet } from '../scope.ts'

// What tokens show by themselves. A JWT is believed when it shows less, or more, than was said about it; an opaque
// token shows nothing, and is not guessed at.

/** Scopes that are about the login and open no API; servers leave them out of the tokens for one (OIDC Core §3.1.2.1, §11). */
const aboutTheLogin: ReadonlySet<string> = new Set(['openid', 'offline_access'])

/**
 * The scopes to put on a token's label: those that it was said to have and shows, and those that it shows besides. Some
 * servers show the last part only of a scope that is a URL.
 */
export function labelOf(said: readonly string[], token: Secret): readonly string[] {
  const shown = jwtEvidence(token)?.scopes ?? null
  if (shown === null) return said
  const isShownAs = (scope: string, one: string): boolean => scope === one || scope.endsWith(`/${one}`)
  const confirmed = said.filter((scope) => aboutTheLogin.has(scope) || shown.some((one) => isShownAs(scope, one)))
  return scopeSet([...confirmed, ...shown.filter((one) => !said.some((scope) => isShownAs(scope, one)))])
}

/** When a token ends by its own account, Unix milliseconds; null where it does not tell. */
export function shownExpiry(token: Secret): number | null {
  return jwtEvidence(token)?.expiresAt ?? null
}

/** RFC 7519 §4.1.5 allows for clocks that differ, by a few minutes at most. */
const clocksMayDifferMs = 60_000

/**
 * Whether a token shows that it would be refused: it is for another audience, not valid yet, or of another issuer. The
 * issuer counts where access tokens are declared to be JWTs that name it (RFC 9068 §2.2): elsewhere, servers put names
 * of their own there.
 */
export function isOutOfPlace(
  { secret, obtainedAt }: { readonly secret: Secret; readonly obtainedAt: number },
  audience: string | undefined,
  { issuer, accessTokens }: Pick<Provider, 'issuer' | 'accessTokens'>,
  now: number,
): boolean {
  const shown = jwtEvidence(secret)
  if (shown === null) return false
  const isForAnother = audience !== undefined && shown.audience.length > 0 && !shown.audience.includes(audience)
  const isOfAnother = accessTokens === 'jwt' && shown.issuer !== null && shown.issuer !== issuer
  return isForAnother || isOfAnother || startOf(shown, obtainedAt) > now + clocksMayDifferMs
}

/** Counted from when it was obtained where it tells when it was issued: our clock may be far behind the server's. */
function startOf({ notBefore, issuedAt }: JwtEvidence, obtainedAt: number): number {
  if (notBefore === null) return -Infinity
  return issuedAt === null ? notBefore : Math.min(notBefore, obtainedAt + notBefore - issuedAt)
}

/** What a scope set allows beyond the scopes that are needed and those that they bring with them. */
export function excessScopes(
  scopes: readonly string[],
  needed: readonly string[],
  implies: Implications = {},
): readonly string[] {
  return missingScopes(scopes, needed, implies).filter((scope) => !aboutTheLogin.has(scope))
}

/**
 * Whether the login behind a token is as strong and as fresh as it has to be (RFC 9470), by what the token or else the ID
 * token shows. Where neither shows anything an endpoint judges for itself; for a caller that asks there is nobody else.
 */
export function isLoginEnough(
  credential: OAuthCredential,
  token: Secret | null,
  { acrValues = [], maxAge, endpoint }: Requirement,
  now: number,
): boolean {
  const shown = (claim: string): unknown =>
    (token === null ? undefined : claimsOf(token)?.[claim]) ??
    (credential.idToken === undefined ? undefined : claimsOf(credential.idToken)?.[claim])
  const isUnknownEnough = endpoint !== undefined
  const [acr, authTime] = [shown('acr'), shown('auth_time')]
  const isStrong = acrValues.length === 0 || (typeof acr === 'string' ? acrValues.includes(acr) : isUnknownEnough)
  const isFresh =
    maxAge === undefined || (typeof authTime === 'number' ? now <= (authTime + maxAge) * 1000 : isUnknownEnough)
  return isStrong && isFresh
}
