import { type Credential, movedTo, type OAuthCredential, type Secret, stateOf } from '../credential.ts'
import type { Requirement } from '../endpoint.ts'
import { AuthkeepError, isAuthkeepError } from '../errors.ts'
import { isObtainable, type Narrowing, type Provider } from '../provider.ts'
import { missingScopes } from '../scope.ts'
import { excessScopes, isLoginEnough, isOutOfPlace } from './evidence.ts'
import { hardMargin, livesLonger, softMargin } from './margin.ts'
import { tokensFor, type Usable } from './token-index.ts'

/** Everything a decision depends on besides the credential and the requirement. */
export interface Moment {
  /** Unix milliseconds. */
  readonly now: number
  readonly provider: Provider
  /** How long a token must live on, in milliseconds; null: the default margin. */
  readonly minTtlMs: number | null
  /** When the call began: a token obtained since then satisfies any `minTtlMs`, or short-lived tokens would loop. */
  readonly startedAt: number
  /** An access token that an API has just refused. */
  readonly rejected: string | null
  /** At least 0 and below 1, and the same for the whole life of an instance: it spreads when instances refresh. */
  readonly leeway: number
  /** Whether a token may do more than is required; default true. */
  readonly allowWider?: boolean
  /** Something better has failed: a token that can do more is as good as there is, where that is allowed. */
  readonly isFallback?: boolean
  /** What the server was seen to do with a narrower scope; default what the provider declares. */
  readonly narrowing?: Narrowing
  /** The program that alone renews this login. */
  readonly owner?: string
}

export interface RefreshPlan {
  readonly action: 'refresh'
  /** The narrower scope to ask for, or null to leave the parameter out. */
  readonly scopes: readonly string[] | null
  readonly resource: string | null
  /** What the server does with a narrower scope is not known yet, and this answer will tell. */
  readonly isProbe: boolean
  /** The refresh token may have been spent already: this is the one second try. */
  readonly isReplay: boolean
  /** The endpoint whose refusal of a token that still lives is the only reason, or null. */
  readonly forcedBy: string | null
}

/** A token of the grant is exchanged for one that can do less (RFC 8693); it stays as it is. */
export interface ExchangePlan {
  readonly action: 'exchange'
  readonly subject: Secret
  readonly scopes: readonly string[]
  readonly resource: string | null
}

/** The client asks for a token by itself (RFC 6749 §4.4): nothing is spent. */
export interface ReissuePlan {
  readonly action: 'reissue'
  readonly scopes: readonly string[]
  readonly resource: string | null
}

export type Decision =
  /** `renew`: the token nears its end, and this would bring its successor; nobody has to wait for it. */
  | { readonly action: 'use'; readonly token: Usable; readonly renew: RefreshPlan | null }
  | RefreshPlan
  | ExchangePlan
  | ReissuePlan
  | { readonly action: 'authorize'; readonly error: AuthkeepError }

/**
 * The one judgement of the project. Pure: what to do about a requirement, given a credential and a moment.
 *
 * `use` is never an expired, refused, wrong-resource or under-scoped token; `refresh` never asks for a scope or
 * resource outside the grant, because some servers spend the refresh token even when they refuse (RFC 6749 §6).
 */
export function decide(credential: Credential, requirement: Requirement, moment: Moment): Decision {
  const token = usableToken(credential, requirement, moment)
  if (token !== null) return { action: 'use', token, renew: renewal(credential, token, requirement, moment) }
  if (credential.type === 'oauth') {
    const exchange = decideExchange(credential, requirement, moment)
    if (exchange !== null) return exchange
    const plan = decideRefresh(credential, requirement, moment)
    return plan.action === 'refresh' ? unlessForcedLately(plan, credential, requirement, moment) : plan
  }
  const { provider, account } = credential
  const isRefused = (credential.type === 'api_key' ? credential.key : credential.token).reveal() === moment.rejected
  if (!isRefused && moment.owner !== undefined) return authorize(borrowed(credential, moment.owner))
  return authorize(
    new AuthkeepError('authorization_required', { provider, account, reason: isRefused ? 'refused' : 'expired' }),
  )
}

const authorize = (error: AuthkeepError): Decision => ({ action: 'authorize', error })

function borrowed(credential: Credential, owner: string): AuthkeepError {
  const { provider, account } = credential
  const reason = movedTo(credential) === undefined ? 'borrowed' : 'moved'
  return new AuthkeepError('authorization_required', { provider, account, reason, owner })
}

/** An endpoint that refuses what was fetched for it a moment ago does not want another token, but something else. */
const leastBetweenForcedMs = 60_000

function unlessForcedLately(
  plan: RefreshPlan,
  credential: OAuthCredential,
  requirement: Requirement,
  moment: Moment,
): Decision {
  const isForced =
    moment.rejected !== null && usableToken(credential, requirement, { ...moment, rejected: null }) !== null
  if (!isForced) return plan
  const endpoint = requirement.endpoint ?? requirement.resource ?? ''
  const ageMs = moment.now - (credential.forced?.[endpoint] ?? -Infinity)
  // What a refresh that is under way will bring has not been refused yet.
  if (credential.lease !== null || ageMs < 0 || ageMs >= leastBetweenForcedMs) return { ...plan, forcedBy: endpoint }
  const error = new AuthkeepError('server_rejected', {
    ...{ provider: credential.provider, status: null, error: 'invalid_token' },
    description: `${endpoint === '' ? 'it' : endpoint} refuses a token that was fetched ${Math.round(ageMs / 1000)} s ago`,
  })
  return { action: 'authorize', error }
}

/** The narrowest stored token that serves: least privilege among what there is. */
function usableToken(credential: Credential, requirement: Requirement, moment: Moment): Usable | null {
  const serving = tokensFor(credential, requirement, moment.provider.implies).filter(
    (token) =>
      (credential.type !== 'oauth' ||
        missingScopes(requirement.scopes, token.scopes, moment.provider.implies).length === 0) &&
      token.secret.reveal() !== moment.rejected &&
      livesLonger(token, hardMargin(token, moment), moment.now) &&
      (credential.type !== 'oauth' || isFit(token, credential, requirement, moment)),
  )
  return serving.reduce<Usable | null>((best, token) => (best === null || isBetter(token, best) ? token : best), null)
}

function isFit(token: Usable, credential: OAuthCredential, requirement: Requirement, moment: Moment): boolean {
  if (isOutOfPlace(token, requirement.audience, moment.provider, moment.now)) return false
  const isStrict = moment.allowWider === false || offersExchange(credential, moment)
  if (isStrict && isWider(token.scopes, requirement, moment)) return false
  return isLoginEnough(credential, token.secret, requirement, moment.now)
}

/** Whether a narrower token is to be had for a wider one, and not at a refresh or by asking. */
function offersExchange({ grant }: OAuthCredential, { provider, narrowing, isFallback }: Moment): boolean {
  if (provider.tokenExchange !== true || isFallback === true || grant.reissue !== undefined) return false
  return (narrowing ?? provider.refresh?.narrowing) !== 'honoured'
}

function decideExchange(credential: OAuthCredential, requirement: Requirement, moment: Moment): ExchangePlan | null {
  const { issuer, clientId } = credential
  if (!offersExchange(credential, moment)) return null
  if (issuer !== moment.provider.issuer || clientId !== moment.provider.client.id) return null
  const subject = usableToken(credential, requirement, { ...moment, allowWider: true, isFallback: true })
  const { scopes, resource } = requirement
  return subject === null ? null : { action: 'exchange', subject: subject.secret, scopes, resource }
}

/** Whoever names no scope has not said what would be too much. */
function isWider(scopes: readonly string[], requirement: Requirement, { provider }: Moment): boolean {
  return requirement.scopes.length > 0 && excessScopes(scopes, requirement.scopes, provider.implies).length > 0
}

function isBetter(a: Usable, b: Usable): boolean {
  return a.scopes.length === b.scopes.length
    ? (a.expiresAt ?? Infinity) > (b.expiresAt ?? Infinity)
    : a.scopes.length < b.scopes.length
}

function renewal(credential: Credential, token: Usable, requirement: Requirement, moment: Moment): RefreshPlan | null {
  if (credential.type !== 'oauth' || livesLonger(token, softMargin(token, moment), moment.now)) return null
  // A refresh brings the wide token only.
  if (offersExchange(credential, moment)) return null
  const decision = decideRefresh(credential, requirement, moment)
  return decision.action === 'refresh' ? decision : null
}

function decideRefresh(credential: OAuthCredential, requirement: Requirement, moment: Moment): Decision {
  const { grant, issuer, clientId } = credential
  const who = { provider: credential.provider, account: credential.account }

  if (issuer !== moment.provider.issuer || clientId !== moment.provider.client.id) {
    return authorize(new AuthkeepError('authorization_required', { ...who, reason: 'registration_changed' }))
  }
  const missing = missingScopes(requirement.scopes, grant.scopes, moment.provider.implies)
  if (missing.length > 0)
    return authorize(scopeMissing(credential, requirement, missing, isObtainable(moment.provider, missing)))
  const { resource } = requirement
  if (resource !== null && !grant.resources.includes(resource)) {
    return authorize(new AuthkeepError('authorization_required', { ...who, reason: 'resource_not_granted', resource }))
  }
  // A refresh brings no other login.
  const latest = credential.tokens.at(-1)?.accessToken ?? null
  if (!isLoginEnough(credential, latest, requirement, moment.now)) {
    return authorize(stepUpRequired(credential, requirement))
  }
  if (grant.reissue !== undefined && grant.refreshToken === null) {
    return { action: 'reissue', scopes: requirement.scopes.length > 0 ? requirement.scopes : grant.scopes, resource }
  }
  if (moment.owner !== undefined) return authorize(borrowed(credential, moment.owner))
  if (grant.refreshToken === null) {
    return authorize(new AuthkeepError('authorization_required', { ...who, reason: 'no_refresh_token' }))
  }
  if (grant.refreshExpiresAt !== null && grant.refreshExpiresAt <= moment.now) {
    return authorize(new AuthkeepError('authorization_required', { ...who, reason: 'expired' }))
  }
  const state = stateOf(grant)
  if (state === 'dead') {
    return authorize(new AuthkeepError('grant_revoked', { ...who, generation: grant.generation }))
  }
  if (state === 'in_doubt' && !mayReplay(credential, moment)) {
    const stage = grant.replays > 0 ? 'replayed' : 'sent'
    return authorize(new AuthkeepError('refresh_interrupted', { ...who, since: grant.doubtSince ?? 0, stage }))
  }
  const plan = narrowed(credential, requirement, moment)
  const isRefused = moment.allowWider === false && !offersExchange(credential, moment)
  if (plan.scopes === null && isRefused && isWider(grant.scopes, requirement, moment)) {
    return authorize(scopeTooWide(credential, requirement, grant.scopes, moment))
  }
  return { action: 'refresh', ...plan, resource, isReplay: state === 'in_doubt', forcedBy: null }
}

/**
 * A refresh token in doubt may be sent once more: while the server declares that it forgives (a grace window, counted
 * from the first claim), or when no access token lives that a server with reuse detection could take away.
 */
function mayReplay({ grant, tokens }: OAuthCredential, { now, provider }: Moment): boolean {
  if (grant.replays > 0) return false
  const rotation = provider.refresh?.rotation ?? 'strict'
  const since = grant.doubtSince ?? 0
  // A clock that was set back must not open a window that had closed.
  if (typeof rotation === 'object' && now >= since && now < since + rotation.graceMs) return true
  return tokens.every(({ expiresAt }) => expiresAt !== null && expiresAt <= now)
}

/**
 * A narrower scope is asked for where the server is known to honour it: elsewhere the answer can cost the grant its
 * width. What the server does is found out where the refresh token survives its use, so that it costs nothing.
 */
function narrowed(
  { grant }: OAuthCredential,
  requirement: Requirement,
  moment: Moment,
): Pick<RefreshPlan, 'scopes' | 'isProbe'> {
  const { refresh } = moment.provider
  const narrowing = moment.narrowing ?? refresh?.narrowing
  const { scopes } = requirement
  if (narrowing === 'honoured' && scopes.length > 0) return { scopes, isProbe: false }
  const isProbe = narrowing === undefined && refresh?.rotation === 'none' && isWider(grant.scopes, requirement, moment)
  return { scopes: isProbe ? scopes : null, isProbe }
}

/** The error for a login that is not strong or not fresh enough. */
export function stepUpRequired(
  { provider, account }: OAuthCredential,
  { acrValues, maxAge }: Requirement,
): AuthkeepError<'step_up_required'> {
  return new AuthkeepError('step_up_required', {
    ...{ provider, account },
    ...(acrValues === undefined ? {} : { acrValues }),
    ...(maxAge === undefined ? {} : { maxAge }),
  })
}

/** The error for a token, or the only one to be had, that can do more than the caller allows. */
export function scopeTooWide(
  credential: OAuthCredential,
  requirement: Requirement,
  scopes: readonly string[],
  { provider }: Pick<Moment, 'provider'>,
): AuthkeepError<'scope_too_wide'> {
  return new AuthkeepError('scope_too_wide', {
    provider: credential.provider,
    account: credential.account,
    ...(requirement.endpoint === undefined ? {} : { endpoint: requirement.endpoint }),
    needed: requirement.scopes,
    excess: excessScopes(scopes, requirement.scopes, provider.implies),
  })
}

/** The error for a grant, or a token, that does not cover what an endpoint needs. */
export function scopeMissing(
  credential: OAuthCredential,
  requirement: Requirement,
  missing: readonly string[],
  obtainable = true,
): AuthkeepError<'scope_missing'> {
  return new AuthkeepError('scope_missing', {
    provider: credential.provider,
    account: credential.account,
    ...(requirement.endpoint === undefined ? {} : { endpoint: requirement.endpoint }),
    missing,
    granted: credential.grant.scopes,
    obtainable,
    alternatives: [],
  })
}

/**
 * Whether the one second try of a refresh token in doubt may be under way: then what it brings is waited for, like any
 * refresh of another process, before anybody is told to log in.
 */
export function isBeingTried(credential: Credential, error: AuthkeepError): boolean {
  return isAuthkeepError(error, 'refresh_interrupted') && credential.type === 'oauth' && credential.lease !== null
}
