/** The kinds of credential an endpoint may take. */
export type CredentialKind = 'oauth' | 'api_key' | 'token'

/** A place that takes tokens, and what it needs. The `url` is the host binding: tokens go nowhere else. */
export interface Endpoint {
  /** Origin and path. `*` matches any run of characters, as in URLPattern; the query is not looked at. */
  readonly url: string
  readonly scopes?: readonly string[]
  /** RFC 8707 resource that a token for this endpoint must be issued for. */
  readonly resource?: string
  /** What `aud` of a JWT access token must name; for servers that name audiences without RFC 8707. */
  readonly audience?: string
  /** Authentication context classes of which the login must show one (RFC 9470). */
  readonly acrValues?: readonly string[]
  /** How long ago the person may have logged in, in seconds as on the wire (RFC 9470). */
  readonly maxAge?: number
  /** Default: `oauth` and `token`. */
  readonly accepts?: readonly CredentialKind[]
  /**
   * What is offered here, by a name that endpoints share (`openai-responses`): several endpoints of one service are
   * routes to it, tried in the order in which they are declared.
   */
  readonly service?: string
  /** What a client of the service is told to call; default the `url` up to its star, without a slash at the end. */
  readonly baseUrl?: string
  /**
   * The user name that goes with the token where a client can only send a user and a password (RFC 7617), as git and
   * docker do. Default: one that most hosts ignore.
   */
  readonly username?: string
  /** The models that the service has here, with `*` for any run of characters. Default: whichever it is asked for. */
  readonly models?: readonly string[]
  /**
   * Sent with the token; a value may name a claim of the ID token or metadata: `{claims.a.b}`, or with a JSON Pointer
   * (RFC 6901) for names with dots in them: `{claims/https:~1~1as.example/id}`. `{one|other}` takes the first that is
   * there; `{claims.admin=true}` is there only where it is that. A header whose value is missing is left out.
   */
  readonly headers?: Readonly<Record<string, string>>
  /**
   * Cookies of an edge in front of the API that `broker.fetch` and `broker.fetchService` keep in memory and send back, to this endpoint at the
   * same origin only: by name, with `*` at the end for any that begin so. Default: none. Never those of a session.
   */
  readonly cookies?: readonly string[]
}

/** What may stand in `cookies`: a name (RFC 6265 §4.1.1), with a star at its end or none; never all names. */
export const cookieName: RegExp = /^[\w!#$%&'+.^`|~-]+\*?$/

/** What a token is wanted for: a URL that some provider declares, or the requirement spelled out. */
export type Target =
  | URL
  | string
  | {
      readonly provider: string
      readonly account?: string
      readonly resource?: string
      readonly scopes?: readonly string[]
      /** RFC 9470. The login must show one of them; here, other than at an endpoint, what is not shown is not there. */
      readonly acrValues?: readonly string[]
      /** Seconds (RFC 9470). */
      readonly maxAge?: number
    }

/** What a token must be to serve a target. */
export interface Requirement {
  readonly scopes: readonly string[]
  readonly resource: string | null
  readonly accepts: readonly CredentialKind[]
  readonly audience?: string
  readonly acrValues?: readonly string[]
  /** Seconds. */
  readonly maxAge?: number
  /** The endpoint pattern this comes from, for messages. */
  readonly endpoint?: string
}

const defaultAccepts: readonly CredentialKind[] = ['oauth', 'token']

/** The requirement that an endpoint declares. */
export function requirementOf(endpoint: Endpoint): Requirement {
  const { audience, acrValues, maxAge } = endpoint
  return {
    scopes: endpoint.scopes ?? [],
    resource: endpoint.resource ?? null,
    accepts: endpoint.accepts ?? defaultAccepts,
    ...(audience === undefined ? {} : { audience }),
    ...(acrValues === undefined ? {} : { acrValues }),
    ...(maxAge === undefined ? {} : { maxAge }),
    endpoint: endpoint.url,
  }
}

interface Pattern {
  readonly problem: string | undefined
  readonly matches: (url: URL) => boolean
  /** Whether a URL is at the scheme, host and port of the pattern, whatever its path. */
  readonly isAt: (url: URL) => boolean
  /** Host and port for people: in ASCII, so that no letter of another script can pass for a Latin one. */
  readonly host: string
  /** How much of the pattern is literal: the more, the more specific. */
  readonly weight: number
}

const compiled = new Map<string, Pattern>()

/** Compiles an endpoint pattern, once per spelling. A pattern with a `problem` matches nothing. */
export function compilePattern(spelling: string): Pattern {
  let pattern = compiled.get(spelling)
  if (pattern === undefined) {
    pattern = compile(spelling)
    compiled.set(spelling, pattern)
  }
  return pattern
}

/**
 * The URL that a caller spells, who may hand the same string to another program. URL takes a backslash for a slash and
 * leaves out blanks and line breaks; RFC 3986 has none of that, so the other program may find another host in it.
 *
 * @throws TypeError for such a one, and for what is no URL
 */
export function urlOf(spelling: string | URL): URL {
  const url = new URL(spelling)
  if (typeof spelling === 'string' && /^[^/?#]*\/\/[^/?#]*[\s\\\0-\x1F\x7F]/.test(spelling.trim())) {
    throw new TypeError('the host of a URL has a blank, a backslash or a control character in it')
  }
  return url
}

/** What a client of an endpoint is told to call, up to the star in the path: without a slash at the end. */
export function baseUrlOf({ baseUrl, url }: Endpoint): string {
  return (baseUrl ?? url.replace(/^([^/]*\/\/[^/]*\/[^*]*)\*.*$/, '$1')).replace(/\/+$/, '')
}

/** The endpoint that matches a URL most specifically, or undefined. A URL with a user name in it matches nothing. */
export function matchEndpoint(endpoints: readonly Endpoint[], url: URL): Endpoint | undefined {
  let best: Endpoint | undefined
  for (const endpoint of endpoints) {
    if (!compilePattern(endpoint.url).matches(url)) continue
    if (best === undefined || compilePattern(endpoint.url).weight > compilePattern(best.url).weight) best = endpoint
  }
  return best
}

/** The hosts that endpoints declare, for messages. */
export function declaredHosts(endpoints: readonly Endpoint[]): readonly string[] {
  return [...new Set(endpoints.map((endpoint) => compilePattern(endpoint.url).host))]
}

const never = (): boolean => false

function refuse(problem: string): Pattern {
  return { problem, matches: never, isAt: never, host: '', weight: 0 }
}

function compile(spelling: string): Pattern {
  const parts = /^(https?):\/\/([^/?#@]+)(\/[^?#]*)?$/i.exec(spelling)
  if (parts === null) return refuse('must be an http(s) origin and a path, without user, query or fragment')
  // URL would drop or turn these into something else than what a person reads.
  if (/[\s\\\0-\x1F\x7F]/.test(spelling)) return refuse('has a space, a backslash or a control character in it')
  const [, scheme = '', authority = '', path = '/'] = parts
  // A label stands in for each star, so that URL normalises the rest (case, punycode, default port, dot segments).
  const stand = 'authkeep-any'
  const sample = `${scheme}://${authority.replaceAll('*', stand)}${path.replaceAll('*', stand)}`
  if (!URL.canParse(sample)) return refuse('is not a URL')
  const url = new URL(sample)
  // Every stand-in must have survived, and none may come from the spelling itself, in whatever case or encoding.
  const plain = spelling.replaceAll('*', 'q')
  const isSpelt = !URL.canParse(plain) || new URL(plain).href.includes(stand)
  if (isSpelt || url.href.split(stand).length !== spelling.split('*').length) {
    return refuse('has a star where none can be')
  }
  if (url.hostname.endsWith('.')) return refuse('has a dot at the end of its host')
  const labels = url.hostname.split('.')
  if (
    url.hostname.includes(stand) &&
    !(labels[0] === stand && labels.length >= 3 && !labels.slice(1).some((label) => label.includes(stand)))
  ) {
    return refuse('may have a star only as its whole first label, above a registrable name')
  }
  const loopback = url.hostname === 'localhost' || url.hostname === '127.0.0.1' || url.hostname === '[::1]'
  if (url.protocol !== 'https:' && !loopback) return refuse('must be https (http only on loopback)')
  const hostname = starred(url.hostname, stand, '[^.]+')
  const pathname = starred(url.pathname, stand, '.*')
  const isAt = (candidate: URL): boolean =>
    candidate.protocol === url.protocol &&
    candidate.port === url.port &&
    candidate.username === '' &&
    candidate.password === '' &&
    hostname.test(candidate.hostname)
  return {
    problem: undefined,
    isAt,
    matches: (candidate) => isAt(candidate) && pathname.test(candidate.pathname) && !climbs(candidate.pathname),
    host: url.host.replaceAll(stand, '*'),
    weight: weigh(url, stand),
  }
}

/** A host spelt out beats a starred one; then the longer literal path; then the one without a star. */
function weigh(url: URL, stand: string): number {
  const path = url.pathname.replaceAll(stand, '')
  return (url.hostname.includes(stand) ? 0 : 1_000_000) + path.length * 2 + (path === url.pathname ? 1 : 0)
}

/**
 * Whether a path has a `..` that URL left alone because its slash is encoded, or because a parameter hangs on it. Servers
 * that decode first, or drop parameters, would take it for another endpoint than the one that matched.
 */
function climbs(pathname: string): boolean {
  return /(^|\/)(\.|%2e){2}(;[^/]*)?(\/|$)/i.test(pathname.replaceAll(/%2f|%5c/gi, '/'))
}

function starred(literal: string, stand: string, any: string): RegExp {
  const escaped = literal.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replaceAll(stand, any)
  return new RegExp(`^${escaped}$`)
}
