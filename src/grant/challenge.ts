import { parseScope, scopeSet } from '../scope.ts'

/** One challenge of a `WWW-Authenticate` header (RFC 9110 §11.3). */
export interface Challenge {
  /** In lower case: `bearer`, `dpop`, … */
  readonly scheme: string
  /** By name in lower case; of one that is given twice, the first. */
  readonly params: Readonly<Record<string, string>>
  /** What some schemes have instead of parameters. */
  readonly token68?: string
}

/** What a resource server holds against a request (RFC 6750 §3, RFC 9449 §7.1, RFC 9470 §3, RFC 9728 §5.1). */
export interface Refusal {
  readonly challenges: readonly Challenge[]
  /** `invalid_token`, `insufficient_scope`, `insufficient_user_authentication`, `use_dpop_nonce`, … */
  readonly error?: string
  /** Scopes that the request needs, as the challenge or the body names them: all of them, or those that are missing. */
  readonly scopes?: readonly string[]
  /** Where the protected resource metadata is. Not checked in any way. */
  readonly resourceMetadata?: string
  /** In the server's order of preference. */
  readonly acrValues?: readonly string[]
  /** Seconds, as on the wire. */
  readonly maxAge?: number
}

/**
 * Reads what a refusal says, from its challenges first (RFC 9110 §11.6.1; RFC 6750 §3) and where they are silent from its
 * body: a JSON `error` and `scope`, or a message that says "Missing scopes: a, b". Pure; nothing that a server sends makes it throw, and what
 * cannot be read is left out.
 */
export function readChallenges(headers: Headers, body = ''): Refusal {
  const challenges = parseChallenges(headers.get('www-authenticate') ?? '')
  const ours = challenges.filter(({ scheme }) => scheme === 'bearer' || scheme === 'dpop')
  // Of several challenges the one with the error is about this request; the others say what would be accepted too.
  const ordered = [
    ...ours.filter(({ params }) => 'error' in params),
    ...ours.filter(({ params }) => !('error' in params)),
  ]
  const said = (name: string): string | undefined => ordered.find(({ params }) => filled(params[name]))?.params[name]
  const told = readBody(body)
  const error = said('error') ?? told.error
  const scope = said('scope')
  const scopes = scope === undefined ? told.scopes : parseScope(scope)
  const resourceMetadata = said('resource_metadata')
  const acrValues = (said('acr_values') ?? '').split(' ').filter(filled)
  const maxAge = said('max_age')
  return {
    challenges,
    ...(error === undefined ? {} : { error }),
    ...(scopes === undefined || scopes.length === 0 ? {} : { scopes }),
    ...(resourceMetadata === undefined ? {} : { resourceMetadata }),
    ...(acrValues.length === 0 ? {} : { acrValues }),
    ...(maxAge !== undefined && /^\d{1,9}$/.test(maxAge) ? { maxAge: Number(maxAge) } : {}),
  }
}

const separators = /[\s,]*/y
const name = /[!#$%&'*+.^_`|~\w-]+/y
const equals = /\s*=\s*/y
const quoted = /"((?:[^"\\]|\\.)*)"?/sy
/** More than RFC 9110 allows without quotes, because URLs are sent so. */
const bare = /[^\s,"]*/y
const token68 = /[\w.~+/-]+=*(?=\s*(?:,|$))/y
const rubbish = /[^\s,]+/y

/**
 * The challenges of a header, in order; a field that was sent several times counts as one with commas (RFC 9110 §5.3).
 * Takes missing commas, missing quotes and whatever else is found in the field, and skips what makes no sense.
 */
export function parseChallenges(header: string): readonly Challenge[] {
  let at = 0
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at
    const match = pattern.exec(header)
    if (match !== null) at += match[0].length
    return match
  }
  const challenges: { scheme: string; params: Map<string, string>; token68?: string }[] = []
  for (take(separators); at < header.length; take(separators)) {
    const word = take(name)?.[0].toLowerCase()
    if (word === undefined) {
      take(rubbish)
      continue
    }
    if (take(equals) !== null) {
      const text = take(quoted)
      const value = text === null ? (take(bare)?.[0] ?? '') : (text[1] ?? '').replace(/\\(.)/gs, '$1')
      const params = challenges.at(-1)?.params
      if (params?.has(word) === false) params.set(word, value)
      continue
    }
    challenges.push({ scheme: word, params: new Map() })
    const isFollowed = take(/ +/y) !== null
    const token = isFollowed ? take(token68)?.[0] : undefined
    if (token !== undefined) Object.assign(challenges.at(-1) as object, { token68: token })
  }
  return challenges.map((challenge) => ({ ...challenge, params: Object.fromEntries(challenge.params) }))
}

function readBody(body: string): { readonly error?: string; readonly scopes?: readonly string[] } {
  const root = members(parse(body))
  const nested = members(root['error'])
  const error = [root['error'], nested['code'], nested['type'], root['code']].find(filled)
  const messages = [nested['message'], root['message'], root['error_description'], root['detail'], root['error']]
  const scopes = filled(root['scope']) ? parseScope(root['scope']) : messages.filter(filled).flatMap(missingIn)
  return { ...(error === undefined ? {} : { error }), ...(scopes.length === 0 ? {} : { scopes: scopeSet(scopes) }) }
}

/** The list in "Missing scopes: a, b. More text." A scope may have dots in it; the sentence ends with the last. */
function missingIn(message: string): readonly string[] {
  const list = /\bmissing scopes?:\s*([^\s,]+(?:\s*,\s*(?:and\s+)?[^\s,]+)*)/i.exec(message)?.[1] ?? ''
  return list
    .split(/\s*,\s*(?:and\s+)?/)
    .map((scope) => scope.replace(/^["'`([]+|["'`)\].;]+$/g, ''))
    .filter((scope) => /^[\x21\x23-\x5B\x5D-\x7E]+$/.test(scope))
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function members(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {}
}

function filled(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}
