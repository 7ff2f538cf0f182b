import { abortable } from '../abort.ts'
import { type Credential, type CredentialKey, keyName } from '../credential.ts'
import type { Target } from '../endpoint.ts'
import { AuthkeepError, isAuthkeepError } from '../errors.ts'
import type { GrantAnswer, GrantFlow, GrantRequest } from '../grant/flow.ts'
import type { Provider } from '../provider.ts'
import { missingScopes } from '../scope.ts'
import type { CredentialStore } from '../store/store.ts'
import { credentialFrom, type LoginPlan, planLogin, takeBack } from './authorize.ts'
import { obtainableRoute } from './candidates.ts'
import type { Judgement } from './judgement.ts'
import {
  arrivalOf,
  type Holder,
  holderOf,
  isSameHolder,
  type OtherAccountHandler,
  suggestAccount,
} from './other-account.ts'
import { withNeeds } from './requirement.ts'
import { measureSkew } from './skew.ts'
import { routesTo } from './target.ts'

/** One login of several that belong together, and how to obtain it. */
export interface Profile {
  readonly target: Target
  readonly flow: GrantFlow
}

/** A profile, once it is known what to ask for. */
export interface PlannedProfile {
  readonly key: CredentialKey
  readonly provider: Provider
  readonly plan: LoginPlan
  readonly flow: GrantFlow
}

/**
 * What to do with a grant that covers less than was asked for (RFC 6749 §3.3): `refuse` leaves the store as it is, `keep`
 * stores what there is. What an answer without `scope` grants is what was asked for (§5.1); implied scopes count.
 */
export type Narrower = 'refuse' | 'keep'

export interface Surroundings extends Pick<GrantRequest, 'fetch' | 'now' | 'signal'> {
  readonly store: CredentialStore
  readonly narrower: Narrower
  /** Without it a login of somebody else than is stored is `account_ambiguous`. */
  readonly onOtherAccount?: OtherAccountHandler | undefined
}

/**
 * What each profile has to ask for: what its target is declared and known to need, with what its account has.
 *
 * @throws AuthkeepError `account_ambiguous` where none is named and there are several; as `routesTo`; store errors
 */
export async function planProfiles(
  profiles: readonly Profile[],
  providers: readonly Provider[],
  store: CredentialStore,
  judgement: Judgement,
): Promise<readonly PlannedProfile[]> {
  return Promise.all(
    profiles.map(async ({ target, flow }) => {
      const route = obtainableRoute(routesTo(target, providers))
      const { provider, requirement } = route
      const key = { provider: provider.id, account: route.account ?? (await onlyAccount(provider, store)) }
      const needed = withNeeds(requirement, await judgement.learned(route, {}))
      return { key, provider, flow, plan: planLogin(provider, needed, await store.read(key)) }
    }),
  )
}

/** The account a login is for when none is named. */
async function onlyAccount({ id }: Provider, store: CredentialStore): Promise<string> {
  const accounts = (await store.list({ provider: id })).map(({ account }) => account)
  if (accounts.length > 1) throw new AuthkeepError('account_ambiguous', { provider: id, accounts })
  return accounts[0] ?? 'default'
}

/**
 * Obtains one grant after the other, and stores all of them in one commit. Until that commit nothing is written; if it
 * does not come, grants that nobody has are revoked at their servers.
 */
export async function onboard(
  profiles: readonly PlannedProfile[],
  surroundings: Surroundings,
): Promise<readonly Credential[]> {
  const { store, now, narrower, fetch: send, signal, onOtherAccount } = surroundings
  const names = profiles.map(({ key }) => keyName(key))
  if (new Set(names).size < names.length) throw new TypeError('two profiles are one entry of the store')
  const obtained: Obtained[] = []
  const commit = async (): Promise<readonly Credential[]> => {
    const stored = new Map<string, Credential>()
    await store.updateAll(
      obtained.map(({ key }) => key),
      (current) => {
        for (const { profile, answer, key, replaces } of obtained) {
          const name = keyName(key)
          stored.set(name, credentialFrom(answer, key, profile.provider, current.get(name) ?? null, now(), replaces))
        }
        return stored
      },
    )
    return [...stored.values()]
  }
  let committed: Promise<readonly Credential[]> | undefined
  try {
    for (const [index, profile] of profiles.entries()) {
      const { provider, plan, key, flow } = profile
      signal?.throwIfAborted()
      let kept: Promise<string> | undefined
      // Once, whoever asks first: the flow, while a browser waits to be told, or we. The last one brings the commit.
      const keep = (answer: GrantAnswer): Promise<string> => {
        kept ??= take(profile, answer).then(async ({ key: { account } }) => {
          if (obtained.length === profiles.length) committed = commit()
          await committed
          return account
        })
        return kept
      }
      const part = profiles.length === 1 ? {} : { part: { number: index + 1, of: profiles.length } }
      await keep(await flow.run({ provider, ...plan, account: key.account, fetch: send, now, signal, keep, ...part }))
    }
    return (await committed) ?? []
  } catch (error) {
    const mayBeStored =
      committed !== undefined && !isAuthkeepError(error, 'account_ambiguous') && !isAuthkeepError(error, 'store_failed')
    if (!mayBeStored) {
      await Promise.all(
        obtained.map(({ profile, answer }) => takeBack(answer, { provider: profile.provider, store, fetch: send })),
      )
    }
    throw error
  }

  async function take(profile: PlannedProfile, answer: GrantAnswer): Promise<Obtained> {
    if (answer.type === 'oauth' && answer.token.serverTime !== undefined) {
      measureSkew(profile.provider.issuer, answer.token.serverTime, answer.token.obtainedAt)
    }
    const index = obtained.push({ profile, answer, key: profile.key }) - 1
    if (narrower === 'refuse') assertWideEnough(profile, answer)
    return (obtained[index] = { profile, answer, ...(await place(profile, answer)) })
  }

  /** Where the grant goes: where it was meant to, unless that is somebody else's and the application decides otherwise. */
  async function place(
    { key, provider }: PlannedProfile,
    answer: GrantAnswer,
  ): Promise<Pick<Obtained, 'key' | 'replaces'>> {
    const arrived = arrivalOf(answer)
    const names = [...profiles, ...obtained].map((each) => each.key)
    const taken = names.flatMap((each) => (each.provider === provider.id ? [each.account] : []))
    for (let at = key; onOtherAccount !== undefined; ) {
      const current = await store.read(at)
      const stored = current === null ? null : holderOf(current)
      if (stored === null || isSameHolder(stored, arrived)) return { key: at }
      const suggestion = suggestAccount(answer, provider.issuer, await store.list({ provider: provider.id }), taken)
      const decision = await abortable(onOtherAccount({ ...at, stored, arrived, suggestion }), signal)
      if (decision === 'replace') return { key: at, replaces: stored }
      if (decision === 'decline' || taken.includes(decision.account) || decision.account === at.account) {
        throw new AuthkeepError('account_ambiguous', { provider: provider.id, accounts: [at.account] })
      }
      if (decision.account === '') throw new TypeError('an account has a name')
      at = { ...at, account: decision.account }
    }
    return { key }
  }
}

interface Obtained {
  readonly profile: PlannedProfile
  readonly answer: GrantAnswer
  /** Where it is stored. */
  readonly key: CredentialKey
  /** Whose entry it may take the place of. */
  readonly replaces?: Holder
}

function assertWideEnough({ key, provider, plan }: PlannedProfile, answer: GrantAnswer): void {
  if (answer.type !== 'oauth') return
  const { scopes: granted } = answer
  const missing = missingScopes(plan.requiredScopes, granted, provider.implies)
  if (missing.length === 0) return
  const asked = plan.scopes
  throw new AuthkeepError('scope_missing', { ...key, missing, granted, asked, obtainable: true, alternatives: [] })
}
