import { basename } from 'node:path'
import { matchEndpoint } from '../endpoint.ts'
import { type AuthkeepError, isAuthkeepError } from '../errors.ts'
import type { Provider } from '../provider.ts'
import { loadProviders } from '../provider-files.ts'
import { builtInProviders } from '../providers/built-in.ts'
import { type Context, UsageError } from './context.ts'

/** The providers of a home directory: its files, and what is shipped where no file of that id is. */
export interface KnownProviders {
  /** Files first. */
  readonly providers: readonly Provider[]
  /** Provider files that cannot be used. */
  readonly problems: readonly AuthkeepError[]
  /** Ids of those that are shipped and used. */
  readonly builtIn: ReadonlySet<string>
  /** Ids of files that stand in the place of one that is shipped. */
  readonly overriding: readonly string[]
  /** Those that are shipped and want a client of one's own, which is not there. */
  readonly incomplete: readonly Provider[]
}

/** @param full whether every member of the files is to be checked, which takes longer */
export async function knownProviders(
  directory: string,
  env: Context['env'],
  { full = false }: { full?: boolean } = {},
): Promise<KnownProviders> {
  const { providers: files, problems } = await loadProviders(directory, { full })
  const { AUTHKEEP_PRODUCT: product = '' } = env
  const shipped = builtInProviders({
    ...(product === '' ? {} : { product }),
    clientOf: (id) => {
      const client = env[clientVariable(id)] ?? ''
      return client === '' ? undefined : { id: client }
    },
  })
  const taken = new Set([
    ...files.map(({ id }) => id),
    // Who has written such a file does not mean the one that is shipped, also while theirs cannot be used.
    ...problems.flatMap((problem) =>
      isAuthkeepError(problem, 'provider_invalid') ? [basename(problem.detail.source, '.json')] : [],
    ),
  ])
  const isFree = ({ id }: Provider): boolean => !taken.has(id)
  const builtIn = shipped.providers.filter(isFree)
  return {
    providers: [...files, ...builtIn],
    problems,
    builtIn: new Set(builtIn.map(({ id }) => id)),
    overriding: [...shipped.providers, ...shipped.incomplete].filter((each) => !isFree(each)).map(({ id }) => id),
    incomplete: shipped.incomplete.filter(isFree),
  }
}

/** The environment variable with the client id for a provider that is shipped without one. */
export function clientVariable(id: string): string {
  return `AUTHKEEP_CLIENT_ID_${environmentName(id)}`
}

/** An id as a part of the name of an environment variable. */
export function environmentName(id: string): string {
  return id.toUpperCase().replaceAll(/[^A-Z0-9]/g, '_')
}

/** What is really wrong where a provider is not known only because a client of one's own is missing. */
export function missingClient(error: unknown, incomplete: readonly Provider[]): UsageError | undefined {
  if (!isAuthkeepError(error, 'provider_unknown') && !isAuthkeepError(error, 'endpoint_unknown')) return undefined
  const { asked } = error.detail
  const meant = incomplete.find(
    ({ id, endpoints = [] }) =>
      id === asked || (URL.canParse(asked) && matchEndpoint(endpoints, new URL(asked)) !== undefined),
  )
  if (meant === undefined) return undefined
  const { id, issuer } = meant
  const { host } = new URL(issuer)
  return new UsageError(`${id} wants a client of your own: register one at ${host}, and set ${clientVariable(id)}.`)
}
