import { lstat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { BorrowedLogins, importedFrom } from '../broker/borrowed.ts'
import { environmentEntries } from '../broker/environment.ts'
import { accountsName, markOf, type Rest, readAccounts, restOf } from '../broker/order.ts'
import { type Credential, fingerprint, keyName, movedTo } from '../credential.ts'
import { errnoOf, isAuthkeepError } from '../errors.ts'
import { FormatError } from '../formats/format.ts'
import { homeDirectory } from '../home.ts'
import type { Provider } from '../provider.ts'
import { type CredentialInfo, type CredentialStore, describeCredential } from '../store/store.ts'
import { type Context, type Result, textOption } from './context.ts'
import { knownProviders } from './known-providers.ts'
import { providersPath } from './open-home.ts'
import { openStoreOf, storeElsewhere, storePath } from './open-store.ts'
import { durationInWords, expiryInWords, harmless, table, titled } from './output.ts'

/** A login, whether it will serve, and where it comes from. */
interface Line extends CredentialInfo {
  readonly status: ReturnType<typeof stateOf>
  readonly source: string
  readonly rest?: Pick<Rest, 'reason' | 'until'>
  readonly sharedWith?: readonly Holder[]
}

/** Another store that would be used, were it not for something that goes first. */
interface Shadowed {
  readonly path: string
  readonly by: string
}

/** A credential that the environment holds, and the stored ones that it goes before. */
interface Held {
  readonly provider: string
  readonly variable: string
  readonly type: string
  readonly shadows: readonly string[]
}

/** `authkeep status`: every login, without its secrets. Only reads, so it works on a read-only disk. */
export async function status(context: Context): Promise<Result> {
  if (context.options['metrics'] === true) return (await import('./metrics.ts')).metrics(context)
  const store = await openStoreOf(context)
  try {
    const now = Date.now()
    const infos = await store.list()
    const known = await knownProviders(providersPath(context.home), context.env)
    const borrowed = new BorrowedLogins()
    const elsewhere = infos.some(({ refreshable }) => refreshable === true) ? await loginsElsewhere(context.env) : []
    const credentials = await Promise.all(
      infos.map(async (stored) => {
        const entry = await readOf(stored, store)
        const provider = known.providers.find(({ id }) => id === stored.provider)
        const credential = entry === null || provider === undefined ? entry : await borrowed.follow(entry, provider)
        const info = credential === entry || credential === null ? stored : describeCredential(credential)
        const rest = credential === null ? null : await restOfStored(credential, store, now)
        const sharedWith = credential === null ? [] : holdersOf(credential, elsewhere)
        const shared = sharedWith.length === 0 ? {} : { sharedWith }
        const line = { ...info, status: stateOf(info, now), source: sourceOf(credential), ...shared }
        return rest === null ? line : { ...line, rest: { reason: rest.reason, until: rest.until } }
      }),
    )
    const chosenBy = storeChosenBy(context)
    const shadowed = await shadowedStores(context, chosenBy)
    const environment = heldBy(context, known.providers, infos)
    const { overriding } = known
    const json = { store: store.location, chosenBy, shadowed, environment, overriding, credentials }
    const notes = [
      ...environment.map(({ provider, variable, shadows }) => {
        const before = shadows.length === 0 ? '' : `, before ${shadows.join(', ')}`
        return harmless(`${provider} is served by ${variable} of the environment${before}.`)
      }),
      ...shadowed.map(({ path, by }) => harmless(`Not used: ${path}, because ${by} goes first.`)),
      ...overriding.map((id) => harmless(`Not used: the built-in provider ${id}, because its file goes first.`)),
    ]
    const body =
      credentials.length === 0
        ? [harmless(`There are no logins in ${store.location}.`), 'To log in: authkeep login <provider>']
        : render(credentials, now, context.columns)
    return { text: `${[...body, ...notes].join('\n')}\n`, json }
  } finally {
    await store.close()
  }
}

function render(credentials: readonly Line[], now: number, columns: number): readonly string[] {
  const rows = credentials.map((info) => [
    info.provider,
    info.account,
    info.type === 'api_key' ? 'API key' : info.type,
    (info.scopes ?? []).join(' '),
    expiryOf(info, now),
    info.status,
  ])
  const problems = credentials.filter(({ problem }) => problem !== undefined)
  const imported = credentials.filter(({ source }) => source !== 'login')
  return [
    table(['PROVIDER', 'ACCOUNT', 'KIND', 'SCOPES', 'EXPIRES', 'STATE'], rows, columns),
    ...problems.map(({ provider, account, problem }) =>
      harmless(`${provider}:${account} cannot be read: ${problem ?? ''}`),
    ),
    ...credentials.flatMap(({ provider, account, rest }) =>
      rest === undefined
        ? []
        : titled(
            '',
            [`${provider}:${account} rests for ${durationInWords(rest.until - now)}: ${restInWords(rest.reason)}`],
            columns,
          ),
    ),
    ...imported.map(({ provider, account, source }) => harmless(`${provider}:${account} is ${source}`)),
    ...credentials.flatMap(({ provider, account, sharedWith = [] }) =>
      sharedWith.flatMap(({ program, path }) => {
        const who = `${provider}:${account} has the same refresh token as ${program} (${path})`
        return titled('!! ', [harmless(`${who}: whichever refreshes second is logged out`)], columns)
      }),
    ),
  ]
}

function expiryOf({ type, expiresAt, refreshable = false }: CredentialInfo, now: number): string {
  if (type === 'api_key' || type === 'unreadable') return ''
  const words = expiryInWords(expiresAt, now)
  return refreshable && (words === 'expired' || words === '') ? 'renews' : words
}

/** What a person has to know: whether it will serve. */
function stateOf(info: CredentialInfo, now: number): 'live' | 'in doubt' | 'login needed' | 'unreadable' {
  if (info.type === 'unreadable') return 'unreadable'
  const { expiresAt, refreshable = false, state } = info
  const isExpired = typeof expiresAt === 'number' && expiresAt <= now
  if (state === 'dead' || (isExpired && !refreshable)) return 'login needed'
  return state === 'in_doubt' ? 'in doubt' : 'live'
}

/** Null where it cannot be read, or was damaged or removed since it was listed. */
async function readOf(info: CredentialInfo, store: CredentialStore): Promise<Credential | null> {
  if (info.type === 'unreadable') return null
  try {
    return await store.read(info)
  } catch (error) {
    if (!isAuthkeepError(error)) throw error
    return null
  }
}

/** Where a login comes from, in words: one of ours, or one of another program. */
function sourceOf(credential: Credential | null): string {
  const moved = credential === null ? undefined : movedTo(credential)
  if (moved !== undefined) return `moved to ${moved}, and renewed there`
  const imported = credential === null ? undefined : importedFrom(credential)
  return imported === undefined ? 'login' : `${imported.mode} from ${imported.program} (${imported.path})`
}

/** The same refresh token in the file of another program: both are of one lineage, which can be refreshed once. */
interface Holder {
  readonly program: string
  readonly path: string
  readonly entry: string
}

async function loginsElsewhere(env: Context['env']): Promise<readonly (Holder & { readonly token: string })[]> {
  const { otherPrograms, readLogins } = await import('../broker/other-programs.ts')
  const looks = (await otherPrograms(env)).flatMap((program) =>
    program.paths.map(async (path) => {
      try {
        return (await readLogins(program, path)).flatMap(({ name, refreshToken: token }) =>
          token === null ? [] : [{ program: program.id, path, entry: name, token: fingerprint(token) }],
        )
      } catch (error) {
        // Not there, or not to be read: then nothing can be said of it, and nothing has to be.
        if (errnoOf(error) === undefined && !(error instanceof FormatError)) throw error
        return []
      }
    }),
  )
  return (await Promise.all(looks)).flat()
}

function holdersOf(
  credential: Credential,
  elsewhere: readonly (Holder & { readonly token: string })[],
): readonly Holder[] {
  if (credential.type !== 'oauth' || credential.grant.refreshToken === null) return []
  const own = fingerprint(credential.grant.refreshToken)
  return elsewhere.flatMap(({ token, ...holder }) => (token === own ? [holder] : []))
}

async function restOfStored(credential: Credential, store: CredentialStore, now: number): Promise<Rest | null> {
  const accounts = readAccounts(await store.readState(accountsName(credential.provider)))
  return restOf(accounts, credential.account, markOf(credential), now)
}

/** Why an account is left alone, in words. */
function restInWords(reason: string): string {
  if (reason === 'rate_limited') return 'it has sent too many requests'
  return reason === 'usage_limited' ? 'the limit of its plan is reached' : reason
}

/** What providers declare to be in the environment and is; a provider file that cannot be used is another command's news. */
function heldBy(context: Context, providers: readonly Provider[], infos: readonly CredentialInfo[]): readonly Held[] {
  return providers.flatMap((provider) =>
    environmentEntries(provider, context.env)
      // Only the first is used.
      .slice(0, 1)
      .map(({ variable, type }) => {
        const shadows = infos.filter((info) => info.provider === provider.id).map(keyName)
        return { provider: provider.id, variable, type, shadows }
      }),
  )
}

function storeChosenBy(
  context: Context,
): 'AUTHKEEP_STORE' | '--home' | 'AUTHKEEP_HOME' | 'XDG_CONFIG_HOME' | 'default' {
  if (storeElsewhere(context.env) !== undefined) return 'AUTHKEEP_STORE'
  if (textOption(context, 'home') !== undefined) return '--home'
  const { AUTHKEEP_HOME: own = '', XDG_CONFIG_HOME: xdg = '' } = context.env
  if (own !== '') return 'AUTHKEEP_HOME'
  return xdg.startsWith('/') ? 'XDG_CONFIG_HOME' : 'default'
}

/** Stores that are there and would be used, were it not for what chose this one: the usual answer to "where is my login?" */
async function shadowedStores(context: Context, by: ReturnType<typeof storeChosenBy>): Promise<readonly Shadowed[]> {
  if (by === 'AUTHKEEP_STORE') return []
  const { AUTHKEEP_HOME: _own, ...withoutOwn } = context.env
  const { XDG_CONFIG_HOME: _xdg, ...neither } = withoutOwn
  const others = [context.env, withoutOwn, neither].map((env) => storePath(resolve(homeDirectory(env))))
  const paths = [...new Set(others)].filter((path) => path !== storePath(context.home))
  const present = await Promise.all(paths.map(async (path) => (await lstat(path).catch(() => null))?.isFile() === true))
  return paths.filter((_, index) => present[index]).map((path) => ({ path, by }))
}
