import type { AccessToken } from '../broker/access-token.ts'
import { jwtEvidence } from '../claims.ts'
import { Secret } from '../credential.ts'
import { AuthkeepError } from '../errors.ts'
import { plain } from './sdk.ts'

/** How `authkeep token` can print a token. */
export const tokenFormats = ['raw', 'header', 'json', 'env', 'k8s', 'git', 'docker', 'aws', 'google'] as const

/** The user name that goes with a token where only Basic is known and the endpoint declares none: most hosts ignore it. */
const anyUser = 'x-access-token'

/**
 * The header lines that carry a token, the endpoint's own too.
 *
 * @throws AuthkeepError `not_supported` for a token that is proven for each request (DPoP)
 */
export async function headerLines(token: AccessToken): Promise<string> {
  plain(token)
  return Object.entries(await token.headers())
    .map(([name, value]) => `${name.replace(/^a/, 'A')}: ${oneLine(value)}\n`)
    .join('')
}

/** `NAME=value` for a POSIX shell, and where nothing has to be quoted for files of variables too. */
export function environmentLine(token: AccessToken, name: string): string {
  const value = oneLine(plain(token))
  const isWord = /^[\w.+/:@%-]+=*$/.test(value)
  return `${name}=${isWord ? value : `'${value.replaceAll("'", String.raw`'\''`)}'`}\n`
}

/**
 * An ExecCredential for client-go, `client.authentication.k8s.io`.
 *
 * @param info what client-go puts in KUBERNETES_EXEC_INFO; its version is answered in
 * @throws AuthkeepError `not_supported` for another version, and a token that is proven for each request (DPoP)
 */
export function execCredential(token: AccessToken, info: string | undefined): string {
  const apiVersion = info === undefined ? execVersions[0] : versionIn(info)
  const status = { token: plain(token), expirationTimestamp: instantOf(token.expiresAt) }
  return line({ apiVersion, kind: 'ExecCredential', status })
}

const execVersions = ['client.authentication.k8s.io/v1', 'client.authentication.k8s.io/v1beta1']

function versionIn(info: string): string {
  let version: unknown
  try {
    version = (JSON.parse(info) as { apiVersion?: unknown } | null)?.apiVersion
  } catch {
    // Said below.
  }
  if (typeof version === 'string' && execVersions.includes(version)) return version
  throw new AuthkeepError('not_supported', { feature: `KUBERNETES_EXEC_INFO with apiVersion ${String(version)}` })
}

/** What git asks a credential helper for. */
export interface GitRequest {
  readonly url: URL
  readonly username: string | undefined
  /** Whether it can be told a scheme (git 2.46). */
  readonly takesScheme: boolean
  /** The schemes that the server has asked for, in lower case; null where git does not say. */
  readonly schemes: readonly string[] | null
}

/**
 * Reads the lines that git writes to a helper. Null for what no token can be for: another protocol than http(s), and a
 * host that is not spelled plainly, in which git might see another one.
 */
export function readGitRequest(text: string): GitRequest | null {
  const values = new Map<string, string[]>()
  for (const each of text.split('\n')) {
    if (each === '') break
    const [, key = '', list = '', value = ''] = /^([^=]*?)(\[\])?=([^\0]*)$/.exec(each) ?? []
    if (key === '') return null
    // An empty value of a list empties the list.
    values.set(key, list === '' ? [value] : value === '' ? [] : [...(values.get(key) ?? []), value])
  }
  const [protocol = '', host = '', path = ''] = ['protocol', 'host', 'path'].map((key) => values.get(key)?.[0])
  if (!/^https?$/.test(protocol) || !plainHost.test(host) || /[\\\0-\x1F\x7F]/.test(path)) return null
  const spelled = `${protocol}://${host}/${path.replaceAll(/[?#]/g, encodeURIComponent)}`
  if (!URL.canParse(spelled)) return null
  return {
    url: new URL(spelled),
    username: values.get('username')?.[0],
    takesScheme: values.get('capability')?.includes('authtype') === true,
    schemes: values.get('wwwauth')?.map((each) => each.trim().split(/[\s,]/)[0]?.toLowerCase() ?? '') ?? null,
  }
}

/** Letters of ASCII, digits, a port: no user, no escape, nothing that one program drops and another does not. */
const plainHost = /^([a-z0-9._-]+|\[[0-9a-f:.]+\])(:\d{1,5})?$/i

/**
 * What a helper answers git. As a bearer token where git can send one and the server wants one; else as a password. Where
 * git does not say what the server wants, an endpoint that declares a user name wants a password.
 *
 * @throws AuthkeepError `not_supported` for a token that is proven for each request (DPoP), or has a line break in it
 */
export async function gitAnswer(token: AccessToken, request?: GitRequest): Promise<string> {
  const secret = oneLine(plain(token))
  const isBearer = (await token.headers())['authorization'] === `Bearer ${secret}`
  const { takesScheme = false, schemes = null, username = token.username ?? anyUser } = request ?? {}
  const wantsBearer = schemes === null ? token.username === undefined : schemes.includes('bearer')
  const lines =
    takesScheme && wantsBearer && isBearer
      ? ['capability[]=authtype', 'authtype=Bearer', `credential=${secret}`, 'ephemeral=1']
      : [`username=${oneLine(username)}`, `password=${secret}`]
  const expiry = token.expiresAt === null ? [] : [`password_expiry_utc=${Math.floor(token.expiresAt / 1_000)}`]
  return [...lines, ...expiry].map((each) => `${each}\n`).join('')
}

/**
 * Where the registry may be that docker names: with a scheme or without, which on this machine may mean http. None for a
 * host that is not spelled plainly.
 */
export function registryUrls(server: string): readonly URL[] {
  const [, scheme, host = '', path = '/v2/'] =
    /^(?:(https?):\/\/)?([^/]*)(\/[^\\?#\s\0-\x1F\x7F]*)?$/i.exec(server) ?? []
  if (!plainHost.test(host)) return []
  const isHere = /^(localhost|127\.0\.0\.1|\[::1\])(:|$)/i.test(host)
  const schemes = scheme === undefined ? ['https', ...(isHere ? ['http'] : [])] : [scheme]
  return schemes
    .map((each) => `${each}://${host}${path}`)
    .filter((each) => URL.canParse(each))
    .map((each) => new URL(each))
}

/** @throws AuthkeepError `not_supported` for a token that is proven for each request (DPoP) */
export function dockerAnswer(token: AccessToken, server: string): string {
  return line({ ServerURL: server, Username: token.username ?? anyUser, Secret: plain(token) })
}

/**
 * AWS keys for `credential_process`. AWS signs requests with a key and has no bearer tokens: only a stored credential that
 * is such keys can be printed, as JSON with `AccessKeyId`, `SecretAccessKey`, and perhaps `SessionToken` and `Expiration`.
 *
 * @throws AuthkeepError `not_supported` for every other one
 */
export function awsKeys(token: AccessToken): string {
  const { AccessKeyId, SecretAccessKey, SessionToken, Expiration } = membersOf(plain(token))
  if (typeof AccessKeyId !== 'string' || typeof SecretAccessKey !== 'string') {
    throw new AuthkeepError('not_supported', { feature: 'AWS keys out of a credential that is none' })
  }
  const more = { ...(typeof SessionToken === 'string' ? { SessionToken } : {}) }
  const expiration = typeof Expiration === 'string' ? Expiration : instantOf(token.expiresAt)
  return line({ Version: 1, AccessKeyId, SecretAccessKey, ...more, Expiration: expiration })
}

function membersOf(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    // A token is no JSON.
    return {}
  }
}

/**
 * The answer of an executable that Google's libraries ask for the subject of an external account: an access token that is
 * a JWT. Google checks its signature, so an opaque one is of no use there.
 *
 * @throws AuthkeepError `not_supported` for an opaque token, and one that is proven for each request (DPoP)
 */
export function googleSubject(token: AccessToken): string {
  const secret = plain(token)
  const evidence = jwtEvidence(new Secret(secret))
  if (evidence === null) {
    throw new AuthkeepError('not_supported', { feature: 'An opaque token as the subject of a Google external account' })
  }
  const expiresAt = token.expiresAt ?? evidence.expiresAt
  return line({
    version: 1,
    success: true,
    token_type: 'urn:ietf:params:oauth:token-type:jwt',
    id_token: secret,
    ...(expiresAt === null ? {} : { expiration_time: Math.floor(expiresAt / 1_000) }),
  })
}

/** Why there is none, for Google's libraries. */
export function googleFailure({ code, message }: { readonly code: string; readonly message: string }): string {
  return line({ version: 1, success: false, code, message })
}

/** RFC 3339 in whole seconds; undefined where nothing says when, and for years of more than four digits. */
function instantOf(expiresAt: number | null): string | undefined {
  if (expiresAt === null || expiresAt >= Date.UTC(10_000, 0)) return undefined
  return new Date(expiresAt).toISOString().replace(/\.\d+Z$/, 'Z')
}

/** What stands in a format of lines must not begin another one. */
function oneLine(value: string): string {
  if (!/[\r\n\0]/.test(value)) return value
  throw new AuthkeepError('not_supported', { feature: 'A credential with a line break in it, in a format of lines' })
}

const line = (value: object): string => `${JSON.stringify(value)}\n`
