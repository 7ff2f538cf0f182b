import { type CredentialKey, fingerprint, type Json, type JsonObject, Secret } from '../credential.ts'
import { objectOf, textOf, timeOf } from './foreign.ts'
import { FormatError } from './format.ts'
import { define, own } from './json-text.ts'

// One login as pi and OpenClaw spell it, and as the store does. What they have no member for stands in `authkeep`, a
// member of the entry that both ignore. They may drop it or leave it beside tokens that it does not speak of: what it
// says of a token counts for the token with that fingerprint only.

/** The member of an entry that is ours. */
export const ours = 'authkeep'

/** Where OpenClaw marks a refresh of its own under way; looks like a token and is none. */
const fence = 'openclaw-oauth-refresh-fence:'

/** For programs that want a time always: as late as a date can be. */
const never = 8_640_000_000_000_000

/** The members that hold a credential, by its type; all others are their owner's, and stay. */
const credentialMembers: ReadonlyMap<Json | undefined, readonly string[]> = new Map([
  ['oauth', ['access', 'refresh', 'expires']],
  ['api_key', ['key', 'apiKey']],
  ['token', ['token', 'expires']],
])

/** What a program understands. */
export interface EntryDialect {
  /** Entries of the type `token`, which nothing renews. */
  readonly hasTokens: boolean
  /** Each entry names its provider. */
  readonly namesProvider: boolean
}

/**
 * @returns the entry as the store reads it
 * @throws FormatError for what holds no credential, or none that can be told
 */
export function readOwned(entry: JsonObject, key: CredentialKey, { namesProvider }: EntryDialect): JsonObject {
  const { rev: _, for: tokensOf, ...mine } = objectOf(entry[ours]) ?? {}
  const named = namesProvider ? textOf(entry['provider']) : null
  const type = typeOf(entry)
  const common = { provider: named ?? key.provider, account: key.account, type: type ?? null, rest: othersIn(entry) }
  switch (type) {
    case 'oauth':
      return readOAuth(entry, { ...mine, ...common }, objectOf(tokensOf))
    case 'api_key': {
      const secret = textOf(entry['key']) ?? textOf(entry['apiKey'])
      if (secret === null) throw new FormatError('its key is kept elsewhere', true)
      // It is run, or looked up, by the program whose file this is; here it is neither.
      if (/^[!$]/.test(secret)) throw new FormatError('its key is a command or a variable', true)
      return { ...mine, ...common, key: secret }
    }
    case 'token': {
      const token = textOf(entry['token'])
      if (token === null) throw new FormatError('its token is kept elsewhere', true)
      return { ...mine, ...common, token, expiresAt: timeOf(entry['expires']) }
    }
    default:
      throw new FormatError('its type is not known', true)
  }
}

function typeOf(entry: JsonObject): Json | undefined {
  const type = entry['type'] ?? entry['mode']
  return type === 'apiKey' ? 'api_key' : type
}

/** The members that hold no credential. */
function othersIn(entry: JsonObject): JsonObject {
  const credential = credentialMembers.get(typeOf(entry)) ?? []
  const isTheirs = (name: string): boolean => !['type', 'mode', ours, ...credential].includes(name)
  return Object.fromEntries(Object.entries(entry).filter(([name]) => isTheirs(name)))
}

function readOAuth(entry: JsonObject, mine: JsonObject, marks: JsonObject | null): JsonObject {
  const { access: ofAccess, refresh: ofRefresh } = marks ?? {}
  const [access, refresh] = [textOf(entry['access']), textOf(entry['refresh'])]
  if ([access, refresh].some((token) => token?.startsWith(fence) === true)) {
    throw new FormatError(
      'it is a marker of OpenClaw, and no credential: a refresh is under way, or was interrupted',
      true,
    )
  }
  if (access === null && refresh === null && marks === null) throw new FormatError('it holds no token', true)
  const grant = objectOf(mine['grant']) ?? {}
  const listed = listOf(mine['tokens'])
  const isOurs = (token: string | null, mark: Json | undefined): boolean => token === null || named(token) === mark
  return {
    // Of an entry that another program wrote nobody knows more than whose it is: its provider's.
    ...{ issuer: '', clientId: '' },
    ...mine,
    grant: { ...(isOurs(refresh, ofRefresh) ? grant : lasting(grant)), refreshToken: refresh },
    tokens: isOurs(access, ofAccess)
      ? withAccess(listed, access, entry['expires'])
      : renewed(listed, access, entry['expires']),
  }
}

/** What is true of a grant whatever its refresh token is. */
function lasting({ scopes, evidence, resources, generation }: JsonObject): JsonObject {
  const known = { scopes, evidence, resources, generation }
  return Object.fromEntries(Object.entries(known).filter(([, value]) => value !== undefined)) as JsonObject
}

/** Our tokens, with the one that stands in the entry put back in its place. */
function withAccess(
  listed: readonly JsonObject[],
  access: string | null,
  expires: Json | undefined,
): readonly JsonObject[] {
  if (access === null) return listed
  return listed.map((token) => {
    if (token['accessToken'] !== undefined) return token
    const expiresAt = timeOf(token['expiresAt'])
    // Whoever changed the time knows more than we do.
    const isAsWritten = expires === (expiresAt ?? never)
    return { ...token, accessToken: access, expiresAt: isAsWritten ? expiresAt : timeOf(expires) }
  })
}

/** Another program has brought a new access token: of the same scopes, as far as anybody can tell, and no others. */
function renewed(
  listed: readonly JsonObject[],
  access: string | null,
  expires: Json | undefined,
): readonly JsonObject[] {
  if (access === null) return []
  const before = listed.find(({ accessToken }) => accessToken === undefined)
  return [
    {
      accessToken: access,
      scopes: before?.['scopes'] ?? [],
      ...(before === undefined ? {} : { resource: before['resource'] ?? null }),
      expiresAt: expires === never ? null : timeOf(expires),
    },
  ]
}

/**
 * @param before the entry that it replaces: members that are its owner's stay
 * @throws FormatError for a credential that the program would not understand
 */
export function writeOwned(
  value: JsonObject,
  before: JsonObject | null,
  rev: string,
  dialect: EntryDialect,
): JsonObject {
  const { provider, account: _, rest, type, ...mine } = value
  const made: JsonObject = {
    type: type ?? null,
    ...(dialect.namesProvider ? { provider: provider ?? null } : {}),
    ...spelled(type, mine, before, dialect),
  }
  const written: JsonObject = { ...made, [ours]: { ...objectOf(made[ours]), rev } }
  // Each in the place where it stood, and what is new behind them.
  const kept = before === null ? (objectOf(rest) ?? {}) : othersIn(before)
  const order = [...Object.keys(before ?? {}), ...Object.keys(kept), ...Object.keys(written)]
  const entry: JsonObject = {}
  for (const name of new Set(order)) {
    const member = own(written, name) ?? own(kept, name)
    if (member !== undefined) define(entry, name, member)
  }
  return entry
}

function spelled(
  type: Json | undefined,
  mine: JsonObject,
  before: JsonObject | null,
  { hasTokens }: EntryDialect,
): JsonObject {
  switch (type) {
    case 'oauth':
      return spelledOAuth(mine)
    case 'api_key': {
      const { key, ...more } = mine
      return { key: key ?? null, [ours]: more }
    }
    case 'token': {
      if (!hasTokens && before?.['type'] !== 'token')
        throw new FormatError('A token that nothing renews in a file of pi')
      const { token, expiresAt, ...more } = mine
      return { token: token ?? null, ...(typeof expiresAt === 'number' ? { expires: expiresAt } : {}), [ours]: more }
    }
    default:
      throw new FormatError('An entry that is no credential in a file of another program')
  }
}

function spelledOAuth(mine: JsonObject): JsonObject {
  const { refreshToken, ...grant } = objectOf(mine['grant']) ?? {}
  const tokens = listOf(mine['tokens'])
  const shown = tokens.reduce<JsonObject | null>(
    (best, token) => (best === null || isBetter(token, best) ? token : best),
    null,
  )
  const access = textOf(shown?.['accessToken'])
  const refresh = textOf(refreshToken)
  return {
    refresh: refresh ?? '',
    access: access ?? '',
    expires: shown === null ? 0 : (timeOf(shown['expiresAt']) ?? never),
    [ours]: {
      ...mine,
      grant,
      tokens: tokens.map((token) => (token === shown ? withoutSecret(token) : token)),
      for: {
        ...(access === null ? {} : { access: named(access) }),
        ...(refresh === null ? {} : { refresh: named(refresh) }),
      },
    },
  }
}

function withoutSecret({ accessToken: _, ...token }: JsonObject): JsonObject {
  return token
}

/** The token that serves the other program best: for no single resource, of most scopes, the longest. */
function isBetter(a: JsonObject, b: JsonObject): boolean {
  const [isGeneral, wasGeneral] = [a, b].map(({ resource }) => resource === null || resource === undefined)
  if (isGeneral !== wasGeneral) return isGeneral === true
  const [width = 0, widthBefore = 0] = [a, b].map(({ scopes }) => (Array.isArray(scopes) ? scopes.length : 0))
  if (width !== widthBefore) return width > widthBefore
  return (timeOf(a['expiresAt']) ?? never) > (timeOf(b['expiresAt']) ?? never)
}

const named = (token: string): string => fingerprint(new Secret(token))

function listOf(json: Json | undefined): readonly JsonObject[] {
  return Array.isArray(json) ? (json as readonly Json[]).map(objectOf).filter((item) => item !== null) : []
}
