import type { Credential } from '../credential.ts'
import type { Requirement } from '../endpoint.ts'
import { type AuthkeepError, isAuthkeepError } from '../errors.ts'
import type { CredentialStore } from '../store/store.ts'
import { type Candidate, candidatesFor, choose, readCredential } from './candidates.ts'
import type { Decision } from './decide.ts'
import type { Route } from './target.ts'

/** What would be done about a target now, and why. Nothing in here is secret. */
export interface Explanation {
  readonly target: string
  readonly verdict: Decision['action'] | 'unknown'
  readonly reason: string
  /** What the most specific endpoint needs, with what was learned about it; null when no provider declares one. */
  readonly requirement: Requirement | null
  readonly candidates: readonly ExplainedCandidate[]
  /** The error that `getToken` would throw now. */
  readonly error?: ReturnType<AuthkeepError['toJSON']>
}

export interface ExplainedCandidate {
  readonly provider: string
  readonly account: string
  readonly type: string
  readonly endpoint?: string
  readonly verdict: Decision['action'] | 'unreadable'
  readonly reason: string
  readonly granted?: readonly string[]
  readonly expiresAt?: number | null
}

/** What `getToken` would decide about a credential, and what that was measured by. */
export type Judge = (
  credential: Credential,
  route: Route,
) => Promise<{ readonly requirement: Requirement; readonly decision: Decision }>

/** Judges every stored entry that could serve the routes, as `getToken` would, without changing or sending anything. */
export async function explainRoutes(
  target: string,
  routes: readonly Route[],
  store: CredentialStore,
  judge: Judge,
): Promise<Explanation> {
  const infos = await store.list()
  const candidates = await Promise.all(
    candidatesFor(routes, infos).map((candidate) => explainCandidate(candidate, store, judge)),
  )
  let requirement = routes[0]?.requirement ?? null
  try {
    const chosen = choose(routes, infos)
    const credential = await readCredential(store, chosen.info)
    const judged = await judge(credential, chosen.route)
    const { decision } = judged
    requirement = judged.requirement
    const error = decision.action === 'authorize' ? { error: decision.error.toJSON() } : {}
    return { target, verdict: decision.action, reason: reasonOf(decision), requirement, candidates, ...error }
  } catch (error) {
    if (!isAuthkeepError(error)) throw error
    const verdict = error.remedy === 'authorize' ? 'authorize' : 'unknown'
    return { target, verdict, reason: error.message, requirement, candidates, error: error.toJSON() }
  }
}

/** For a target that no provider declares. */
export function explainUnknown(target: string, error: AuthkeepError): Explanation {
  return { target, verdict: 'unknown', reason: error.message, requirement: null, candidates: [], error: error.toJSON() }
}

async function explainCandidate(
  { route, info }: Candidate,
  store: CredentialStore,
  judge: Judge,
): Promise<ExplainedCandidate> {
  const { provider, account, type } = info
  const { endpoint } = route.requirement
  const common = { provider, account, type, ...(endpoint === undefined ? {} : { endpoint }) }
  if (type === 'unreadable') return { ...common, verdict: 'unreadable', reason: info.problem ?? '' }
  const { decision } = await judge(await readCredential(store, info), route)
  return {
    ...common,
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
