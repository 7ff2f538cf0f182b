import type { Grant, Lease, OAuthCredential, Owner, Refreshed, Reissue, StoredToken } from '../credential.ts'
import { type Credential, type CredentialKey, type DpopKey, type Json, type JsonObject, Secret } from '../credential.ts'

/** Thrown by `decodeEntry`; says which member breaks which rule, and never what its value is. */
export class EntryError extends TypeError {
  override readonly name = 'EntryError'
}

const oauthMembers = ['type', 'provider', 'account', 'issuer', 'clientId', 'subject', 'grant', 'tokens', 'lease']
const members: Readonly<Record<Credential['type'], ReadonlySet<string>>> = {
  oauth: new Set([...oauthMembers, 'idToken', 'dpopKey', 'forced', 'metadata']),
  api_key: new Set(['type', 'provider', 'account', 'key', 'metadata']),
  token: new Set(['type', 'provider', 'account', 'token', 'expiresAt', 'metadata']),
}

/**
 * Reads an entry. Written by hand, without a schema library, because every cold start passes here. Members that have
 * an obvious default may be missing, so that people can write an entry themselves.
 *
 * @throws EntryError
 */
export function decodeEntry(raw: JsonObject, key: CredentialKey): Credential {
  const read = reader(raw, '')
  for (const member of ['provider', 'account'] as const) {
    if (read.string(member, key[member]) !== key[member]) throw new EntryError(`${member} is not the one of its key`)
  }
  const metadata = read.optionalObject('metadata')
  const common = { provider: key.provider, account: key.account, ...(metadata === undefined ? {} : { metadata }) }
  const type = read.string('type')
  switch (type) {
    case 'oauth':
      return { type, ...common, ...decodeOAuth(raw) }
    case 'api_key':
      return { type, ...common, key: new Secret(read.string('key')) }
    case 'token':
      return { type, ...common, token: new Secret(read.string('token')), expiresAt: read.time('expiresAt', null) }
    default:
      throw new EntryError('type must be oauth, api_key or token')
  }
}

function decodeOAuth(raw: JsonObject): Omit<OAuthCredential, 'type' | 'provider' | 'account' | 'metadata'> {
  const read = reader(raw, '')
  const idToken = read.optionalString('idToken')
  const dpopKey = read.optionalObject('dpopKey')
  const forced = read.optionalObject('forced')
  return {
    issuer: read.string('issuer'),
    clientId: read.string('clientId'),
    subject: read.optionalString('subject') ?? null,
    grant: decodeGrant(read.object('grant')),
    tokens: read.objects('tokens').map(decodeToken),
    lease: decodeLease(read.optionalObject('lease')),
    ...(idToken === undefined ? {} : { idToken: new Secret(idToken) }),
    ...(dpopKey === undefined ? {} : { dpopKey: decodeDpopKey(dpopKey) }),
    ...(forced === undefined ? {} : { forced: decodeForced(forced) }),
  }
}

function decodeForced(raw: JsonObject): Readonly<Record<string, number>> {
  const read = reader(raw, 'forced.')
  return Object.fromEntries(Object.keys(raw).map((endpoint) => [endpoint, read.number(endpoint)]))
}

function decodeGrant(raw: JsonObject): Grant {
  const read = reader(raw, 'grant.')
  const refreshToken = read.optionalString('refreshToken')
  const stateFor = read.optionalString('stateFor')
  const doubtSince = read.time('doubtSince', null)
  const predecessor = read.optionalString('predecessor')
  const refreshed = read.optionalObject('refreshed')
  const spare = read.optionalObject('spare')
  const reissue = read.optionalObject('reissue')
  return {
    scopes: read.strings('scopes'),
    evidence: read.oneOf('evidence', ['response', 'introspection', 'jwt', 'assumed'], 'assumed'),
    resources: read.strings('resources'),
    refreshToken: refreshToken === undefined ? null : new Secret(refreshToken),
    refreshExpiresAt: read.time('refreshExpiresAt', null),
    generation: read.number('generation', 0),
    obtainedAt: read.number('obtainedAt', 0),
    state: read.oneOf('state', ['live', 'in_doubt', 'dead'], 'live'),
    ...(stateFor === undefined ? {} : { stateFor }),
    ...(doubtSince === null ? {} : { doubtSince }),
    replays: read.number('replays', 0),
    ...(predecessor === undefined ? {} : { predecessor }),
    ...(refreshed === undefined ? {} : { refreshed: decodeRefreshed(refreshed) }),
    ...(spare === undefined ? {} : { spare: decodeSpare(spare) }),
    ...(reissue === undefined ? {} : { reissue: decodeReissue(reissue) }),
  }
}

function decodeRefreshed(raw: JsonObject): Refreshed {
  const read = reader(raw, 'grant.refreshed.')
  const common = { at: read.number('at'), host: read.string('host'), pid: read.number('pid') }
  const clockSkewMs = read.number('clockSkewMs', 0)
  return {
    ...{ ...common, bootId: read.optionalString('bootId') ?? null },
    ...(clockSkewMs === 0 ? {} : { clockSkewMs }),
  }
}

function decodeDpopKey(raw: JsonObject): DpopKey {
  const read = reader(raw, 'dpopKey.')
  return { privateJwk: new Secret(read.string('privateJwk')), jkt: read.string('jkt') }
}

function decodeReissue(raw: JsonObject): Reissue {
  const parameters = reader(raw, 'grant.reissue.').optionalObject('parameters')
  if (parameters === undefined) return {}
  const read = reader(parameters, 'grant.reissue.parameters.')
  return { parameters: Object.fromEntries(Object.keys(parameters).map((name) => [name, read.string(name)])) }
}

function decodeSpare(raw: JsonObject): NonNullable<Grant['spare']> {
  const read = reader(raw, 'grant.spare.')
  return { refreshToken: new Secret(read.string('refreshToken')), obtainedAt: read.number('obtainedAt', 0) }
}

function decodeToken(raw: JsonObject): StoredToken {
  const read = reader(raw, 'tokens.')
  return {
    accessToken: new Secret(read.string('accessToken')),
    tokenType: read.string('tokenType', 'Bearer'),
    scopes: read.strings('scopes'),
    resource: read.optionalString('resource') ?? null,
    expiresAt: read.time('expiresAt', null),
    obtainedAt: read.number('obtainedAt', 0),
    evidence: read.oneOf('evidence', ['response', 'introspection', 'jwt', 'assumed'], 'assumed'),
  }
}

function decodeLease(raw: JsonObject | undefined): Lease | null {
  if (raw === undefined) return null
  const read = reader(raw, 'lease.')
  const padding = read.optionalString('padding')
  return {
    id: read.string('id'),
    owner: decodeOwner(read.object('owner')),
    ms: read.number('ms'),
    claimedAt: read.number('claimedAt'),
    sentAt: read.time('sentAt', null),
    token: read.string('token'),
    ...(padding === undefined ? {} : { padding }),
  }
}

function decodeOwner(raw: JsonObject): Owner {
  const read = reader(raw, 'lease.owner.')
  const instance = read.optionalString('instance')
  return {
    host: read.string('host'),
    bootId: read.optionalString('bootId') ?? null,
    pidNamespace: read.optionalString('pidNamespace') ?? null,
    pid: read.number('pid'),
    startTime: read.optionalString('startTime') ?? null,
    ...(instance === undefined ? {} : { instance }),
  }
}

/**
 * Writes an entry. Members of `previous` that this version does not know are kept, in the entry, its grant and its
 * tokens: another version, or the person who wrote them, wants them back.
 */
export function encodeEntry(credential: Credential, previous: JsonObject | null): JsonObject {
  const known = plain(credential) as Record<string, Json>
  const result = keepUnknown(known, previous, members[credential.type])
  if (credential.type !== 'oauth' || previous?.['type'] !== 'oauth') return result
  return {
    ...result,
    grant: keepUnknown(asObject(known['grant']), asObject(previous['grant']), grantMembers),
    tokens: asList(known['tokens']).map((token) => {
      const before = asList(previous['tokens']).find((other) => other['accessToken'] === token['accessToken'])
      return keepUnknown(token, before ?? null, tokenMembers)
    }),
  }
}

const grantMembers: ReadonlySet<string> = new Set([
  ...['scopes', 'evidence', 'resources', 'refreshToken', 'refreshExpiresAt', 'generation', 'obtainedAt'],
  ...['state', 'stateFor', 'doubtSince', 'replays', 'predecessor', 'refreshed', 'spare', 'reissue'],
])
const tokenMembers: ReadonlySet<string> = new Set([
  ...['accessToken', 'tokenType', 'scopes', 'resource', 'expiresAt', 'obtainedAt', 'evidence'],
])

function keepUnknown(known: JsonObject, previous: JsonObject | null, names: ReadonlySet<string>): JsonObject {
  if (previous === null) return known
  const unknown = Object.entries(previous).filter(([name]) => !names.has(name) && !Object.hasOwn(known, name))
  return Object.fromEntries([...Object.entries(known), ...unknown])
}

/** The JSON of a credential: secrets revealed, absent members left out. The one place where secrets become text. */
function plain(value: unknown): Json {
  if (value instanceof Secret || isSecretOfAnotherCopy(value)) return value.reveal()
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).filter(([, member]) => member !== undefined)
    return Object.fromEntries(entries.map(([name, member]) => [name, plain(member)]))
  }
  return value as Json
}

function isSecretOfAnotherCopy(value: unknown): value is Secret {
  return typeof value === 'object' && value !== null && typeof (value as { reveal?: unknown }).reveal === 'function'
}

function asObject(value: Json | undefined): JsonObject {
  return isObject(value) ? value : {}
}

function asList(value: Json | undefined): readonly JsonObject[] {
  return Array.isArray(value) ? (value as readonly Json[]).filter(isObject) : []
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

interface Reader {
  string(name: string, fallback?: string): string
  optionalString(name: string): string | undefined
  strings(name: string): readonly string[]
  number(name: string, fallback?: number): number
  time<F extends null>(name: string, fallback: F): number | F
  object(name: string): JsonObject
  optionalObject(name: string): JsonObject | undefined
  objects(name: string): readonly JsonObject[]
  oneOf<T extends string>(name: string, allowed: readonly T[], fallback: T): T
}

/** Member access with a rule each. A null member counts as absent: people write it that way. */
function reader(raw: JsonObject, path: string): Reader {
  const get = (name: string): Json | undefined => (Object.hasOwn(raw, name) ? (raw[name] ?? undefined) : undefined)
  const refuse = (name: string, rule: string): never => {
    throw new EntryError(`${path}${name} must be ${rule}`)
  }
  const object = (name: string): JsonObject | undefined => {
    const value = get(name)
    return value === undefined || isObject(value) ? value : refuse(name, 'an object')
  }
  const list = (name: string): readonly Json[] => {
    const value = get(name) ?? []
    return Array.isArray(value) ? (value as readonly Json[]) : refuse(name, 'a list')
  }
  const number = (name: string): number | undefined => {
    const value = get(name)
    return value === undefined || typeof value === 'number' ? value : refuse(name, 'a number')
  }
  const string = (name: string): string | undefined => {
    const value = get(name)
    return value === undefined || typeof value === 'string' ? value : refuse(name, 'a string')
  }
  return {
    string: (name, fallback) => string(name) ?? fallback ?? refuse(name, 'a string'),
    optionalString: string,
    strings: (name) => list(name).map((item) => (typeof item === 'string' ? item : refuse(name, 'a list of strings'))),
    number: (name, fallback) => number(name) ?? fallback ?? refuse(name, 'a number'),
    time: (name, fallback) => number(name) ?? fallback,
    object: (name) => object(name) ?? refuse(name, 'an object'),
    optionalObject: object,
    objects: (name) => list(name).map((item) => (isObject(item) ? item : refuse(name, 'a list of objects'))),
    oneOf: (name, allowed, fallback) => {
      const value = string(name) ?? fallback
      return allowed.find((one) => one === value) ?? refuse(name, `one of ${allowed.join(', ')}`)
    },
  }
}
