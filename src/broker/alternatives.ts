import { keyName } from '../credential.ts'
import { baseUrlOf, type CredentialKind } from '../endpoint.ts'
import { AuthkeepError, isAuthkeepError } from '../errors.ts'
import { commandLine, loginCommand } from '../login-command.ts'
import { isObtainable, type Provider } from '../provider.ts'
import { candidatesFor, readCredential, scopesToName } from './candidates.ts'
import type { Entries, EntryInfo } from './environment.ts'
import type { Judge } from './explain.ts'
import { type Route, routesToService } from './target.ts'

/** Another way to what was wanted, and what it takes. Nothing in here is secret. */
export interface Alternative {
  readonly provider: string
  /** The login that opens it, where there is one. */
  readonly account?: string
  /** The pattern of the endpoint. */
  readonly endpoint: string
  readonly baseUrl: string
  /** Whether it would work now, as things are stored. */
  readonly isReady: boolean
  /** The command that makes it work, where it does not yet. */
  readonly command?: string
  /** The whole of it, for a person. */
  readonly text: string
}

/** The routes themselves, and every other one to the services that they lead to. */
export function routesAround(routes: readonly Route[], providers: readonly Provider[]): readonly Route[] {
  const services = new Set(routes.flatMap(({ declared }) => declared?.service ?? []))
  const others = [...services].flatMap((service) => routesToService(service, providers, undefined))
  const isNew = ({ declared }: Route): boolean => routes.every((route) => route.declared !== declared)
  return [...routes, ...others.filter(isNew)]
}

/**
 * What would work instead, what needs nothing first. A way that no login can open is none.
 */
export async function alternativesAmong(
  routes: readonly Route[],
  infos: readonly EntryInfo[],
  entries: Entries,
  judge: Judge,
): Promise<readonly Alternative[]> {
  const found = await Promise.all(routes.map((route) => alternativeBy(route, infos, entries, judge)))
  const all = found.flatMap((one) => (one === null ? [] : [one]))
  const waiting = all.filter(({ isReady }) => !isReady)
  return [...all.filter(({ isReady }) => isReady), ...waiting, ...exchanges(waiting, routes, infos)]
}

/** A key in exchange for a login that is there; last, since many servers give one to few. */
function exchanges(
  waiting: readonly Alternative[],
  routes: readonly Route[],
  infos: readonly EntryInfo[],
): readonly Alternative[] {
  const logins = new Map(routes.map(({ provider }) => [provider.id, provider.apiKeyExchange?.provider]))
  return waiting.flatMap((one) =>
    infos
      .filter(({ type, provider }) => type === 'oauth' && logins.get(provider) === one.provider)
      .map(({ provider, account }) => {
        const from = account === 'default' ? provider : keyName({ provider, account })
        const named = one.account === undefined ? [] : ['--account', one.account]
        const command = commandLine(['login', one.provider, ...named, '--flow', 'exchange', '--from', from])
        const text = `${one.baseUrl} after ${command} (best effort: many accounts are given no key)`
        return { ...one, command, text }
      }),
  )
}

async function alternativeBy(
  route: Route,
  infos: readonly EntryInfo[],
  entries: Entries,
  judge: Judge,
): Promise<Alternative | null> {
  const { declared, provider, requirement } = route
  if (declared === undefined) return null
  const common = { provider: provider.id, endpoint: declared.url, baseUrl: baseUrlOf(declared) }
  for (const { info } of candidatesFor([route], infos)) {
    if (info.type === 'unreadable') continue
    const { decision } = await judge(await readCredential(entries, info), route)
    if (decision.action === 'authorize') continue
    const text = `${common.baseUrl} with the ${provider.id} ${nounOf(info.type)} "${info.account}"`
    return { ...common, account: info.account, isReady: true, text }
  }
  if (!isObtainable(provider, requirement.scopes)) return null
  const command = commandFor(route)
  return { ...common, isReady: false, command, text: `${common.baseUrl} after ${command}` }
}

function commandFor({ provider, requirement, account }: Route): string {
  const named = account === undefined ? {} : { account }
  // A person can log in where a login opens it; else it takes a key, which is typed.
  if (requirement.accepts.includes('oauth')) {
    return loginCommand({ provider: provider.id, ...named, scopes: scopesToName(provider, requirement) })
  }
  return commandLine([
    'login',
    provider.id,
    ...(account === undefined ? [] : ['--account', account]),
    '--flow',
    'api-key',
  ])
}

const nounOf = (kind: CredentialKind): string => ({ oauth: 'login', api_key: 'API key', token: 'token' })[kind]

/** An error that no login mends. */
export type Helpless = AuthkeepError<'scope_missing'> | AuthkeepError<'edge_challenge'>

interface Surroundings {
  /** Those to what was wanted. */
  readonly routes: readonly Route[]
  /** Endpoints that a request was sent to, in vain. */
  readonly tried: ReadonlySet<string> | undefined
  readonly providers: readonly Provider[]
  readonly entries: Entries
  readonly judge: Judge
  readonly infosFor: (routes: readonly Route[]) => Promise<readonly EntryInfo[]>
}

/** The error together with what would work instead. */
export async function informed(
  error: Helpless,
  { routes, tried, providers, entries, judge, infosFor }: Surroundings,
): Promise<Helpless> {
  const host = isAuthkeepError(error, 'edge_challenge') ? error.detail.host : undefined
  const around = routesAround(routes, providers).filter(
    ({ declared, provider }) =>
      tried?.has(declared?.url ?? '') !== true &&
      // Where the edge is in front of the authorization server, no other login there gets past it either.
      new URL(provider.issuer).host !== host,
  )
  const found = await alternativesAmong(around, await infosFor(around), entries, judge)
  const alternatives = found.map(({ text }) => text)
  if (isAuthkeepError(error, 'edge_challenge')) return new AuthkeepError(error.code, { ...error.detail, alternatives })
  return new AuthkeepError(error.code, { ...error.detail, alternatives })
}
