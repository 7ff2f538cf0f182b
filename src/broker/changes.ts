import {
  type Credential,
  type CredentialKey,
  fingerprint,
  type Lease,
  type OAuthCredential,
  type Refreshed,
  type Secret,
  type StoredToken,
} from '../credential.ts'
import type { TokenAnswer } from '../grant/flow.ts'
import { scopeSet } from '../scope.ts'
import type { CredentialStore } from '../store/store.ts'
import { isFor } from './lease.ts'

// What a refresh changes in an entry. All but the update itself is pure, and runs inside it.

/** Whether the entry still holds this refresh token. */
export function holds(credential: OAuthCredential, refreshToken: Secret): boolean {
  return credential.grant.refreshToken?.reveal() === refreshToken.reveal()
}

/**
 * Whether a decision would be made on the same: what is known of the refresh token, and which access tokens there are.
 * Where the refresh token stays the same, those alone tell that somebody else has refreshed meanwhile.
 */
export function isSameJudgement(
  { grant: a, tokens }: OAuthCredential,
  { grant: b, tokens: others }: OAuthCredential,
): boolean {
  const isKnownTheSame =
    a.state === b.state && a.stateFor === b.stateFor && a.replays === b.replays && a.doubtSince === b.doubtSince
  const isSameToken = (token: StoredToken, at: number): boolean =>
    token.accessToken.reveal() === others[at]?.accessToken.reveal()
  return isKnownTheSame && tokens.length === others.length && tokens.every(isSameToken)
}

/** Whether the lease is what it was, unsent if it was unsent. */
export function isSameLease({ lease: a }: OAuthCredential, { lease: b }: OAuthCredential): boolean {
  return a?.id === b?.id && a?.sentAt === b?.sentAt
}

/** Whether two states of an entry can be of one grant; another program's says nothing that would speak against it. */
export function isSameLogin(a: OAuthCredential, b: OAuthCredential): boolean {
  if (a.issuer === '' || b.issuer === '') return true
  return a.subject === b.subject && a.clientId === b.clientId && a.issuer === b.issuer
}

/** Whether the entry still carries this lease. */
export function isHolder(credential: Credential | null, lease: Lease): credential is OAuthCredential {
  return credential?.type === 'oauth' && credential.lease?.id === lease.id
}

/** The entry with a refresh remembered that an endpoint has forced, and without those that no longer matter. */
export function withForced(credential: OAuthCredential, endpoint: string | null, at: number): OAuthCredential {
  if (endpoint === null) return credential
  const recent = Object.entries(credential.forced ?? {}).filter(([, before]) => Math.abs(at - before) < 600_000)
  return { ...credential, forced: { ...Object.fromEntries(recent), [endpoint]: at } }
}

/** The entry with a newer state of itself in it; whoever may be at work on that has to look again. */
export function broughtBack(copy: OAuthCredential): OAuthCredential {
  const { lease, grant } = copy
  const isSent = lease !== null && lease.sentAt !== null && isFor(lease, grant)
  return isSent ? inDoubt(copy, lease) : { ...copy, lease: null }
}

/** The entry with the refresh token of a lease marked as perhaps spent. */
export function inDoubt(credential: OAuthCredential, lease: Lease): OAuthCredential {
  const { grant } = credential
  return {
    ...credential,
    lease: null,
    grant: { ...grant, state: 'in_doubt', stateFor: lease.token, doubtSince: lease.claimedAt },
  }
}

/** The line of the ledger that the holder of a lease leaves. */
export function ledgerLine({ owner: { host, bootId, pid } }: Lease, at: number, clockSkewMs = 0): Refreshed {
  return { at, host, bootId, pid, ...(clockSkewMs === 0 ? {} : { clockSkewMs }) }
}

/**
 * The entry with the successor in it. The fence is the token, not the lease: as long as the stored refresh token is the
 * one that was spent, its successor belongs there. Where another successor of the same token stands already (a grace
 * window), the one that came later is the primary; a login that came in between stays the primary. The other one is
 * kept for one try; so is the successor that a probe brings, since the token that was sent survives and may be the wider.
 * Undefined: the entry is gone, or is somebody else's.
 */
export function withSuccessor(
  current: Credential | null,
  made: {
    seen: OAuthCredential
    lease: Lease
    spent: Secret
    successor: Secret
    at: number
    isProbe?: boolean
    clockSkewMs?: number
  },
): OAuthCredential | undefined {
  if (current?.type !== 'oauth') return undefined
  const { seen, lease, spent, successor, at } = made
  const { doubtSince: _, ...grant } = current.grant
  const token = fingerprint(successor)
  const predecessor = fingerprint(spent)
  const primary = {
    refreshToken: successor,
    obtainedAt: at,
    predecessor,
    refreshed: ledgerLine(lease, at, made.clockSkewMs),
  }
  const live = { state: 'live', stateFor: token, replays: 0, refreshExpiresAt: null } as const
  if (holds(current, spent) && made.isProbe === true) {
    return { ...current, grant: { ...current.grant, spare: { refreshToken: successor, obtainedAt: at } } }
  }
  if (holds(current, spent)) {
    return {
      ...current,
      grant: { ...grant, ...primary, ...live, generation: grant.generation + 1 },
      // Still ours, and on the new token: if we die before the access token is stored, the new one is known unspent.
      lease: current.lease?.id === lease.id ? { ...current.lease, token, sentAt: null } : current.lease,
    }
  }
  if (!isSameLogin(current, seen) || grant.refreshToken === null || holds(current, successor)) return undefined
  const isTwin = grant.predecessor === primary.predecessor
  if (!isTwin || grant.obtainedAt > at) {
    return { ...current, grant: { ...current.grant, spare: { refreshToken: successor, obtainedAt: at } } }
  }
  const spare = { refreshToken: grant.refreshToken, obtainedAt: grant.obtainedAt }
  return { ...current, grant: { ...grant, ...primary, ...live, spare } }
}

/** Whether the entry has this refresh token, in either place. */
export function keeps(credential: Credential | null, refreshToken: Secret): boolean {
  if (credential?.type !== 'oauth') return false
  return holds(credential, refreshToken) || credential.grant.spare?.refreshToken.reveal() === refreshToken.reveal()
}

/** Whether the entry has the access token of an answer. */
export function carries({ tokens }: OAuthCredential, { accessToken }: TokenAnswer): boolean {
  return tokens.some((token) => token.accessToken.reveal() === accessToken.reveal())
}

/** The entry with a new access token: it replaces one for the same resource and scopes, and expired ones go. */
export function withToken(credential: OAuthCredential, answer: TokenAnswer, now: number): OAuthCredential {
  const token: StoredToken = {
    accessToken: answer.accessToken,
    tokenType: answer.tokenType,
    scopes: answer.scopes,
    resource: answer.resource,
    expiresAt: answer.expiresAt,
    obtainedAt: answer.obtainedAt,
    evidence: answer.evidence,
  }
  const others = credential.tokens.filter(
    (other) => (other.expiresAt === null || other.expiresAt > now) && !isSameRoute(other, token),
  )
  return {
    ...credential,
    subject: credential.subject ?? answer.subject,
    grant: { ...credential.grant, refreshExpiresAt: answer.refreshExpiresAt ?? credential.grant.refreshExpiresAt },
    tokens: [...others, token],
    ...(answer.idToken === null ? {} : { idToken: answer.idToken }),
  }
}

function isSameRoute(a: StoredToken, b: StoredToken): boolean {
  return a.resource === b.resource && scopeSet(a.scopes).join(' ') === scopeSet(b.scopes).join(' ')
}

/** An update that leaves alone whatever is not an OAuth credential. */
export async function changeLogin(
  store: CredentialStore,
  key: CredentialKey,
  fn: (current: OAuthCredential) => OAuthCredential | undefined,
): Promise<OAuthCredential | null> {
  const stored = await store.update(key, (current) => (current?.type === 'oauth' ? fn(current) : undefined))
  return stored?.type === 'oauth' ? stored : null
}
