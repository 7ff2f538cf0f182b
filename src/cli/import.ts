import { resolve } from 'node:path'
import { planLogin } from '../broker/authorize.ts'
import { borrowedCredential, type Imported } from '../broker/borrowed.ts'
import { withToken } from '../broker/changes.ts'
import { type OtherProgram, otherPrograms, readLogins } from '../broker/other-programs.ts'
import { claimsOf } from '../claims.ts'
import { type Credential, type CredentialKey, fingerprint, keyName } from '../credential.ts'
import { AuthkeepError, errnoOf } from '../errors.ts'
import type { ForeignLogin } from '../formats/foreign.ts'
import { FormatError } from '../formats/format.ts'
import { commandLine } from '../login-command.ts'
import { nearestName } from '../nearest.ts'
import type { Provider } from '../provider.ts'
import { type Context, type Result, textOption, UsageError } from './context.ts'
import { clientVariable } from './known-providers.ts'
import { type Home, withHome } from './open-home.ts'
import { expiryInWords, harmless, table } from './output.ts'

/** A login that was found, and where. */
interface Found {
  readonly program: OtherProgram
  readonly path: string
  readonly login: ForeignLogin
}

/** What becomes of one: the entry it makes, or why it makes none. */
interface Plan {
  readonly found: Found
  readonly key: CredentialKey
  readonly credential: Credential | null
  readonly reason?: string
}

/**
 * `authkeep import [program]`: uses logins of other programs. Their files are read and never written. By default a login
 * is borrowed: its access token is used while it lives, and the program stays its owner. `--take-over` makes it ours, and
 * logs that program out at its next refresh. Without a program it says what there is. All are stored in one commit.
 */
export async function importLogins(context: Context): Promise<Result> {
  const [id] = context.words
  const programs = await otherPrograms(context.env)
  if (id === undefined) return list(programs, context)
  const program = programs.find((each) => each.id === id)
  if (program === undefined) {
    const ids = programs.map((each) => each.id)
    const nearest = nearestName(id, ids)
    throw new UsageError(
      `No program is called "${id}".${nearest === undefined ? ` There are ${ids.join(', ')}.` : ` Did you mean ${nearest}?`}`,
    )
  }
  const file = textOption(context, 'file')
  const entry = textOption(context, 'entry')
  const { found, problems } = await look({ ...program, paths: file === undefined ? program.paths : [resolve(file)] })
  for (const problem of problems) context.say(harmless(problem))
  const wanted = found.filter(({ login }) => entry === undefined || login.name === entry)
  if (wanted.length === 0) throw new UsageError(nothingIn(program, entry, found))
  return withHome(context, { full: true }, (home) => take(wanted, context, home))
}

async function take(wanted: readonly Found[], context: Context, home: Home): Promise<Result> {
  const takesOver = context.options['take-over'] === true
  const now = Date.now()
  const plans = wanted.map((found) => plan(found, takesOver, context, home, now))
  const made = plans.flatMap(({ key, credential }) => (credential === null ? [] : [{ key, credential }]))
  const keys = made.map(({ key }) => keyName(key))
  const twice = keys.find((name, index) => keys.indexOf(name) !== index)
  if (twice !== undefined)
    throw new UsageError(`Several of them would be ${twice}: name one with --entry, or its file with --file.`)
  if (made.length > 0) {
    await home.store.updateAll(
      made.map(({ key }) => key),
      (current) =>
        new Map(
          made.map(({ key, credential }) => {
            assertReplaceable(current.get(keyName(key)) ?? null, credential, key)
            return [keyName(key), credential]
          }),
        ),
    )
  }
  const { name, notice } = wanted[0]?.program ?? {}
  const sentences = plans.map((each) => harmless(sentenceFor(each, takesOver, now)))
  if (made.length > 0 && takesOver) sentences.push(`${name ?? 'The program'} will be logged out at its next refresh.`)
  if (made.length > 0 && notice !== undefined) sentences.push(notice)
  const json = {
    imported: plans.map(({ found: { program, path, login }, key, credential, reason }) => ({
      ...{ program: program.id, path, entry: login.name, ...key, stored: credential !== null },
      ...(credential === null ? {} : { type: credential.type, mode: takesOver ? 'taken over' : 'borrowed' }),
      ...(reason === undefined ? {} : { reason }),
    })),
  }
  return { text: `${sentences.join('\n')}\n`, json, exitCode: made.length === 0 ? 1 : 0 }
}

function plan(found: Found, takesOver: boolean, context: Context, { providers, incomplete }: Home, now: number): Plan {
  const { login, program, path } = found
  const id = textOption(context, 'provider') ?? login.provider ?? login.name.split(':')[0] ?? ''
  const key = { provider: id, account: textOption(context, 'account') ?? 'default' }
  const none = (reason: string): Plan => ({ found, key, credential: null, reason })
  const provider = providers.find((each) => each.id === id)
  if (incomplete.some((each) => each.id === id)) {
    return none(`${id} wants a client of your own, in ${clientVariable(id)}; or name another provider with --provider`)
  }
  if (provider === undefined) return none(`no provider is called ${id}; name one with --provider`)
  const mode = takesOver ? 'taken over' : 'borrowed'
  const imported = { program: program.id, path, entry: login.name, mode, at: now } satisfies Imported
  const common = { ...key, metadata: { imported } }
  if (login.type === 'api_key') return { found, key, credential: borrowedCredential(login, common, provider) }
  if (takesOver && login.refreshToken !== null) {
    const strange = belongsElsewhere(login, provider)
    if (strange !== null) return none(strange)
    return { found, key, credential: takenOver(login, common, provider, now) }
  }
  if (takesOver) return none('there is no refresh token to take over')
  const { expiresAt } = login
  if (expiresAt !== null && expiresAt <= now) {
    return none(`its access token has expired; let ${program.name} renew it, or take it over with --take-over`)
  }
  return { found, key, credential: borrowedCredential(login, common, provider) }
}

/** A refresh token is sent to no server but its own (RFC 6749 §10.4): where a token shows whose it is, that is looked at. */
function belongsElsewhere(login: ForeignLogin, { id, issuer, client }: Provider): string | null {
  const another = `it was issued to another client than ${id} has`
  if (login.clientId !== undefined && login.clientId !== client.id) return another
  for (const token of [login.secret, login.idToken]) {
    const { iss, client_id: clientId } = (token === null ? null : claimsOf(token)) ?? {}
    if (typeof iss === 'string' && iss.replace(/\/$/, '') !== issuer.replace(/\/$/, '')) {
      return `it is of another issuer than ${id}`
    }
    if (typeof clientId === 'string' && clientId !== client.id) return another
  }
  return null
}

function takenOver(
  login: ForeignLogin,
  common: CredentialKey & Pick<Credential, 'metadata'>,
  provider: Provider,
  now: number,
): Credential {
  const { refreshToken, scopes, secret, expiresAt, idToken } = login
  const subject = [idToken, secret].map((token) => (token === null ? null : claimsOf(token)?.['sub'])).find(isText)
  const granted = scopes.length > 0 ? scopes : (provider.scopes ?? [])
  const evidence = 'assumed'
  // The file says nothing of resources (RFC 8707): those that these scopes are for are assumed to be granted with them.
  const { resources } = planLogin(provider, { scopes: granted, resource: null, accepts: ['oauth'] }, null)
  return withToken(
    {
      ...{ type: 'oauth', ...common, issuer: provider.issuer, clientId: provider.client.id, subject: subject ?? null },
      grant: {
        ...{ scopes: granted, evidence, resources, refreshToken, refreshExpiresAt: null },
        ...{ generation: 1, obtainedAt: now, state: 'live', replays: 0 },
        ...(refreshToken === null ? {} : { stateFor: fingerprint(refreshToken) }),
      },
      tokens: [],
      lease: null,
    },
    {
      ...{ accessToken: secret, tokenType: 'Bearer', scopes: granted, evidence, resource: null, expiresAt, idToken },
      ...{ refreshToken, refreshExpiresAt: null, subject: subject ?? null, obtainedAt: now },
    },
    now,
  )
}

const isText = (value: unknown): value is string => typeof value === 'string'

/**
 * Only what was borrowed or copied from the same place before is replaced: never somebody else's, and never a login of
 * ours, not one that was taken over either, since its refresh token is the successor of the one in the file.
 */
function assertReplaceable(current: Credential | null, next: Credential, key: CredentialKey): void {
  if (current === null) return
  const [before, now] = [current, next].map(
    ({ metadata }) => metadata?.['imported'] as { path?: string; entry?: string },
  )
  if (
    current.type !== 'oauth' &&
    current.type === next.type &&
    before?.path === now?.path &&
    before?.entry === now?.entry
  )
    return
  throw new AuthkeepError('account_ambiguous', { provider: key.provider, accounts: [key.account] })
}

function sentenceFor(
  { found: { program, login }, key, credential, reason }: Plan,
  takesOver: boolean,
  now: number,
): string {
  if (credential === null) return `Not imported: ${login.name} of ${program.name}: ${reason ?? ''}.`
  const name = `${login.name} of ${program.name} as ${key.provider} "${key.account}"`
  if (credential.type === 'api_key') return `Borrowed the API key ${name}.`
  if (takesOver) return `Took over ${name}; authkeep refreshes it from now on.`
  const expiry = expiryInWords(login.expiresAt, now)
  return `Borrowed ${name}: its access token, which expires: ${expiry}. ${program.name} renews it.`
}

// --- looking ---------------------------------------------------------------------------------------------------------

async function look(program: OtherProgram): Promise<{ found: readonly Found[]; problems: readonly string[] }> {
  const found: Found[] = []
  const problems: string[] = []
  for (const path of program.paths) {
    try {
      // The same login in a second place of the program is no other one.
      const isNew = (login: ForeignLogin): boolean => !found.some((each) => isSame(each.login, login))
      const logins = await readLogins(program, path)
      found.push(...logins.filter(isNew).map((login) => ({ program, path, login })))
    } catch (error) {
      const errno = errnoOf(error)
      if (errno === 'ENOENT') continue
      if (errno === undefined && !(error instanceof FormatError)) throw error
      problems.push(`${path} cannot be read: ${error instanceof FormatError ? error.what : (errno ?? '')}`)
    }
  }
  return { found, problems }
}

const isSame = (a: ForeignLogin, b: ForeignLogin): boolean =>
  a.name === b.name && a.secret.reveal() === b.secret.reveal() && a.refreshToken?.reveal() === b.refreshToken?.reveal()

async function list(programs: readonly OtherProgram[], context: Context): Promise<Result> {
  const looks = await Promise.all(programs.map(look))
  const found = looks.flatMap((each) => each.found)
  const problems = looks.flatMap((each) => each.problems)
  for (const problem of problems) context.say(harmless(problem))
  const now = Date.now()
  const json = {
    found: found.map(({ program, path, login: { name, type, expiresAt, refreshToken } }) => ({
      ...{ program: program.id, path, entry: name, type, expiresAt, refreshable: refreshToken !== null },
    })),
    problems,
  }
  if (found.length === 0) return { text: 'No other program has logins that can be imported.\n', json }
  const rows = found.map(({ program, login: { name, type, expiresAt } }) => [
    program.id,
    name,
    type === 'api_key' ? 'API key' : type,
    type === 'api_key' ? '' : expiryInWords(expiresAt, now),
  ])
  const next = commandLine(['import', found[0]?.program.id ?? '', ...context.homeOption])
  return {
    text: `${table(['PROGRAM', 'ENTRY', 'KIND', 'EXPIRES'], rows, context.columns)}\nBorrow one: ${next}\n`,
    json,
  }
}

function nothingIn(program: OtherProgram, entry: string | undefined, found: readonly Found[]): string {
  if (entry === undefined || found.length === 0) return `${program.name} has no logins that can be imported.`
  return `${program.name} has no login called "${entry}", but ${found.map(({ login }) => login.name).join(', ')}.`
}
