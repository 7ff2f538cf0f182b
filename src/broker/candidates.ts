import { type Credential, type CredentialKey, keyName } from '../credential.ts'
import type { Requirement } from '../endpoint.ts'
import { AuthkeepError, isAuthkeepError } from '../errors.ts'
import { isObtainable, type Provider } from '../provider.ts'
import { missingScopes, unionScopes } from '../scope.ts'
import { describeCredential } from '../store/store.ts'
import type { Entries, EntryInfo } from './environment.ts'
import type { Route } from './target.ts'

/** A stored entry that one of the routes could use. */
export interface Candidate<R extends Route = Route> {
  readonly route: R
  readonly info: EntryInfo
}

/**
 * Every entry that is of a kind the route takes, and of the account asked for if one was. Where none was, a credential of
 * the environment goes before what is stored: whoever sets it for a process means that process to use it.
 */
export function candidatesFor<R extends Route>(
  routes: readonly R[],
  infos: readonly EntryInfo[],
): readonly Candidate<R>[] {
  return routes.flatMap((route) => {
    const fitting = infos.filter(({ provider, account, type }) => {
      if (provider !== route.provider.id || (route.account !== undefined && account !== route.account)) return false
      return type === 'unreadable' || route.requirement.accepts.includes(type)
    })
    const held = fitting.filter(({ variable }) => variable !== undefined).slice(0, 1)
    return (held.length > 0 ? held : fitting).map((info) => ({ route, info }))
  })
}

/**
 * The entries to try, one a route, in the order of the routes. Several accounts are a question, not a guess: at the
 * first route that has any it is asked; one further down does not come into it.
 *
 * @throws AuthkeepError `authorization_required`, `account_ambiguous`
 */
export function choices(routes: readonly Route[], infos: readonly EntryInfo[]): readonly [Candidate, ...Candidate[]] {
  const found = candidatesFor(routes, infos)
  // An entry that cannot be read must not stand in the way of one that can.
  const readable = found.filter(({ info }) => info.type !== 'unreadable')
  const candidates = readable.length > 0 ? readable : found
  const [first] = candidates
  if (first === undefined) throw loginNeeded(routes)
  const rivals = candidates.filter(({ route }) => route === first.route)
  if (rivals.length > 1) {
    const accounts = rivals.map(({ info }) => info.account).sort()
    throw new AuthkeepError('account_ambiguous', { provider: first.route.provider.id, accounts })
  }
  const others = candidates.filter(
    (one) => one !== first && candidates.every(({ route }, index) => route !== one.route || candidates[index] === one),
  )
  return [first, ...others]
}

/** The login that would serve one of the routes, as an error: the first that its client can be given. */
export function loginNeeded(routes: readonly Route[]): AuthkeepError {
  const route = obtainableRoute(routes)
  const { provider, account, requirement } = route
  const scopes = scopesToName(provider, requirement)
  return new AuthkeepError('authorization_required', {
    ...{ provider: provider.id, reason: 'no_credential' },
    ...(account === undefined ? {} : { account }),
    ...(scopes.length === 0 ? {} : { scopes }),
  })
}

/** The first route that a login can open; where none is known to, the first. */
export function obtainableRoute(routes: readonly Route[]): Route {
  const [first] = routes
  if (first === undefined) throw new TypeError('a target has at least one route')
  return routes.find(({ provider, requirement }) => isObtainable(provider, requirement.scopes)) ?? first
}

/**
 * The scopes that a first login has to name to serve a requirement: none where the provider's own are enough. A login
 * that names some does not ask for the provider's, so they are among them.
 */
export function scopesToName(provider: Provider, requirement: Requirement): readonly string[] {
  const usual = provider.scopes ?? []
  if (missingScopes(requirement.scopes, usual, provider.implies).length === 0) return []
  return unionScopes(usual, requirement.scopes)
}

/** The entry behind a key, or the error that says a login is needed. */
export async function readCredential(entries: Entries, key: CredentialKey): Promise<Credential> {
  const credential = await entries.read(key)
  if (credential !== null) return credential
  throw new AuthkeepError('authorization_required', {
    provider: key.provider,
    account: key.account,
    reason: 'no_credential',
  })
}

/** What is stored of the providers that the routes are of. */
export async function infosFor(entries: Entries, routes: readonly Route[]): Promise<readonly EntryInfo[]> {
  const infos = await Promise.all(
    routes.map(async ({ provider: { id }, account: named }) => {
      if (named === undefined) return entries.list({ provider: id })
      try {
        // One look, however many accounts there are.
        const credential = await entries.read({ provider: id, account: named })
        return credential === null ? [] : [describeCredential(credential)]
      } catch (error) {
        // An entry that cannot be read is a candidate as well, after those that can.
        if (!isAuthkeepError(error, 'store_corrupt')) throw error
        return entries.list({ provider: id })
      }
    }),
  )
  // Several routes may be of one provider.
  const byName = new Map(infos.flat().map((info) => [keyName(info), info]))
  return [...byName.values()]
}
