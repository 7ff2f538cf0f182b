import type { Credential } from '../credential.ts'
import type { Requirement } from '../endpoint.ts'
import { type AuthkeepError, isAuthkeepError } from '../errors.ts'
import { missingScopes } from '../scope.ts'
import { type Alternative, alternativesAmong } from './alternatives.ts'
import { type Candidate, candidatesFor, choices, readCredential } from './candidates.ts'
import type { Decision } from './decide.ts'
import type { Entries, EntryInfo } from './environment.ts'
import type { Route } from './target.ts'

/** What would be done about a target now, and why. Nothing in here is secret. */
export interface Explanation {
  readonly target: string
  readonly verdict: Decision['action'] | 'unknown'
  readonly reason: string
  /** What the endpoint needs, with what was learned about it; null when no provider declares one. */
  readonly requirement: Requirement | null
  /** What each provider that declares the target wants there, the most specific first. */
  readonly routes: readonly ExplainedRoute[]
  readonly candidates: readonly ExplainedCandidate[]
  /** What would work instead, where nothing stored serves; what needs nothing first comes first. */
  readonly alternatives: readonly Alternative[]
  /** The error that `getToken` would throw now. */
  readonly error?: ReturnType<AuthkeepError['toJSON']>
}

/** A declared way to what was asked about: a provider, its endpoint, and what a token must be there. */
export interface ExplainedRoute {
  readonly provider: string
  readonly endpoint?: string
  readonly accepts: readonly string[]
  readonly scopes: readonly string[]
}

/**
 * One stored credential that might serve, what would be done with it, and why.
 * `expiresAt`: Unix milliseconds; null where nothing says when it ends.
 */
export interface ExplainedCandidate {
  readonly provider: string
  readonly account: string
  readonly type: string
  readonly endpoint?: string
  readonly verdict: Decision['action'] | 'unreadable'
  readonly reason: string
  readonly granted?: readonly string[]
  readonly expiresAt?: number | null
  /** Where no login can bring what is missing: which scopes, and all that the client can be given. */
  readonly never?: {
    readonly scopes: readonly string[]
    readonly clientId: string
    readonly obtainable: readonly string[]
  }
}

/** What `getToken` would decide about a credential, and what that was measured by. */
export type Judge = (
  credential: Credential,
  route: Route,
) => Promise<{ readonly requirement: Requirement; readonly decision: Decision }>

/** What an explanation looks at. */
export interface Scene {
  /** The routes to the target. */
  readonly routes: readonly Route[]
  /** These, and those that lead to the same service elsewhere. */
  readonly around: readonly Route[]
  readonly entries: Entries
  readonly judge: Judge
}

/** Judges every stored entry that could serve the routes, as `getToken` would, without changing or sending anything. */
export async function explainRoutes(target: string, scene: Scene): Promise<Explanation> {
  const { routes, entries, judge } = scene
  const infos = await entries.list()
  const candidates = await Promise.all(
    candidatesFor(routes, infos).map((candidate) => explainCandidate(candidate, entries, judge)),
  )
  const explained = routes.map(({ provider, requirement: { endpoint, accepts, scopes } }) => ({
    provider: provider.id,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...{ accepts, scopes },
  }))
  const outcome = await outcomeOf(scene, infos)
  const common = { target, ...outcome, routes: explained, candidates }
  if (outcome.error === undefined) return { ...common, alternatives: [] }
  const alternatives = await alternativesAmong(scene.around, infos, entries, judge)
  // The login that the error asks for is no alternative to it.
  const { provider } = outcome.error.detail as { readonly provider?: string }
  const isAskedFor = ({ isReady, ...one }: Alternative): boolean =>
    !isReady && one.provider === provider && one.endpoint === outcome.requirement?.endpoint
  return { ...common, alternatives: alternatives.filter((one) => !isAskedFor(one)) }
}

/** The first candidate that serves, or why the first one does not. */
async function outcomeOf(
  { routes, entries, judge }: Scene,
  infos: readonly EntryInfo[],
): Promise<Pick<Explanation, 'verdict' | 'reason' | 'requirement' | 'error'>> {
  let requirement = routes[0]?.requirement ?? null
  try {
    const judged = await Promise.all(
      choices(routes, infos).map(async ({ route, info }) => judge(await readCredential(entries, info), route)),
    )
    const found = judged.find(({ decision }) => decision.action !== 'authorize') ?? judged[0]
    if (found === undefined) throw new TypeError('a choice has at least one candidate')
    requirement = found.requirement
    const { decision } = found
    const error = decision.action === 'authorize' ? { error: decision.error.toJSON() } : {}
    return { verdict: decision.action, reason: reasonOf(decision), requirement, ...error }
  } catch (error) {
    if (!isAuthkeepError(error)) throw error
    const verdict = error.remedy === 'authorize' ? 'authorize' : 'unknown'
    return { verdict, reason: error.message, requirement, error: error.toJSON() }
  }
}

/** For a target that no provider declares. */
export function explainUnknown(target: string, error: AuthkeepError): Explanation {
  const nothing = { requirement: null, routes: [], candidates: [], alternatives: [] }
  return { target, verdict: 'unknown', reason: error.message, ...nothing, error: error.toJSON() }
}

async function explainCandidate(
  { route, info }: Candidate,
  entries: Entries,
  judge: Judge,
): Promise<ExplainedCandidate> {
  const { provider, account, type } = info
  const { endpoint } = route.requirement
  const common = { provider, account, type, ...(endpoint === undefined ? {} : { endpoint }) }
  if (type === 'unreadable') return { ...common, verdict: 'unreadable', reason: info.problem ?? '' }
  const { decision, requirement } = await judge(await readCredential(entries, info), route)
  const { client } = route.provider
  const never = missingScopes(requirement.scopes, client.scopes ?? requirement.scopes)
  return {
    ...common,
    ...(decision.action !== 'authorize' || never.length === 0
      ? {}
      : { never: { scopes: never, clientId: client.id, obtainable: client.scopes ?? [] } }),
    verdict: decision.action,
    reason: reasonOf(decision),
    ...(info.scopes === undefined ? {} : { granted: info.scopes }),
    ...(info.expiresAt === undefined ? {} : { expiresAt: info.expiresAt }),
  }
}

function reasonOf(decision: Decision): string {
  switch (decision.action) {
    case 'use':
      return 'a stored token serves'
    case 'refresh':
      return decision.isReplay
        ? 'the refresh token may have been spent; it can be tried once more'
        : 'the grant covers this, and a refresh brings a token for it'
    case 'exchange':
      return 'a token exchange brings a token for it'
    case 'reissue':
      return 'the client can obtain a new token by itself'
    case 'authorize':
      return decision.error.message
  }
}
