import { type AuthkeepError, type ErrorCode, isAuthkeepError } from '../errors.ts'
import { classifyFailure } from '../grant/classify.ts'
import { printable } from '../grant/printable.ts'
import { conclude, type Finding, type Verdict, type VerdictCode } from './verdict.ts'

interface Link {
  readonly name?: unknown
  readonly message?: unknown
  readonly code?: unknown
  readonly syscall?: unknown
  readonly hostname?: unknown
  readonly port?: unknown
  readonly cause?: unknown
  readonly errors?: unknown
}

/** What the name of an error says happened, the first that matches. A name lookup is known by these alone. */
const names: readonly (readonly [VerdictCode, RegExp])[] = [
  ['proxy_failed', /^(?:UND_ERR_PRX_TLS|ERR_PROXY_\w+|proxy_\w+)$/],
  [
    'dns_failed',
    /^(?:ENOTFOUND|ENODATA|ENONAME|ESERVFAIL|EFORMERR|ENOTIMP|EREFUSED|EBADNAME|EBADRESP|ETIMEOUT|EAI_\w+)$/,
  ],
  ['timed_out', /^(?:timeout|ETIMEDOUT|ESOCKETTIMEDOUT|\w*_TIMEOUT|ERR_SOCKET_CONNECTION_TIMEOUT)$/],
  [
    'tls_failed',
    /^(?:EPROTO|CERT_\w+|CRL_\w+|UNABLE_TO_\w+|\w*SELF_SIGNED\w*|HOSTNAME_MISMATCH|INVALID_(?:CA|PURPOSE)|ERR_(?:TLS|SSL)_.+)$/,
  ],
  ['connection_refused', /^(?:ECONNREFUSED|EHOSTUNREACH|EHOSTDOWN|ENETUNREACH|ENETDOWN|EADDRNOTAVAIL|EACCES|EPERM)$/],
  [
    'connection_lost',
    /^(?:ECONNRESET|ECONNABORTED|EPIPE|ENOTCONN|ENETRESET|UND_ERR_(?:SOCKET|CLOSED|DESTROYED|RES_CONTENT_LENGTH_MISMATCH|INFO)|ERR_STREAM_\w+|ERR_HTTP2_\w+|ERR_SOCKET_CLOSED\w*)$/,
  ],
  ['cancelled', /^(?:ABORT_ERR|UND_ERR_ABORTED|ERR_CANCELED)$/],
  // What answered does not speak HTTP, or leads in a circle.
  ['server_failed', /^(?:HPE_\w+|UND_ERR_HEADERS_OVERFLOW|ERR_(?:FR_)?TOO_MANY_REDIRECTS)$/],
]

/** Failures that Node and others give no name of their own, by what the client, and never a server, says. */
const sayings: readonly (readonly [VerdictCode, RegExp, string?])[] = [
  // With the status that the proxy gave, where it is told.
  ['proxy_failed', /\bproxy (?:response|connection|authentication|connect|returned)\b(?: \((\d{3})\))?/i],
  ['proxy_failed', /tunnell?ing socket could not be established(?:, statusCode=(\d{3}))?/i],
  ['server_failed', /redirect count exceeded|too many redirects|maximum redirect reached/i, 'ERR_TOO_MANY_REDIRECTS'],
  ['not_json', /is not valid JSON|^Unexpected (?:token|end of JSON|non-whitespace)|JSON Parse error/],
]

/** What the class of an error says that has no name besides. */
const classes: Readonly<Record<string, VerdictCode>> = { AbortError: 'cancelled', HTTPParserError: 'server_failed' }

/** What was known of a request that brought no answer. */
export interface FailureContext {
  readonly host: string | null
  /** What was asked for. */
  readonly url?: string | undefined
}

/** Judges what a request was rejected with. Pure; of messages only what clients are known to say is looked at. */
export function diagnoseFailure(error: unknown, context: FailureContext): Verdict {
  if (isAuthkeepError(error)) return conclude(ofOurs(error, context))
  const links = linksOf(error)
  const { host } = context
  for (const [code, pattern, errno] of sayings) {
    const saying = links
      .map(({ message }) => (typeof message === 'string' ? pattern.exec(message) : null))
      .find(Boolean)
    if (saying === undefined || saying === null) continue
    const status = saying[1]
    const known = status === undefined ? {} : { status: Number(status) }
    return conclude({ code, host, ...known, ...named(errno ?? nameOf(error)) })
  }
  const lookup = links.find(({ syscall }) => typeof syscall === 'string' && /^(?:getaddrinfo|query)/.test(syscall))
  const isLate = links.some((link) => link.name === 'TimeoutError')
  const name = isLate ? 'timeout' : nameOf(error)
  let code = lookup === undefined ? codeOf(name) : 'dns_failed'
  if (code === 'unknown')
    code = links.map((link) => classes[String(link.name)]).find((each) => each !== undefined) ?? 'unknown'
  if (code === 'dns_failed') {
    const asked = links.find(({ hostname }) => typeof hostname === 'string')?.hostname
    return conclude({ code, host: printable(asked) ?? host, ...named(name) })
  }
  // Connected, or tried to, to somewhere else than was asked for: to a proxy.
  if (isElsewhere(links, context.url)) code = 'proxy_failed'
  return conclude({ code, host, ...named(name) })
}

function codeOf(name: string): VerdictCode {
  return names.find(([, pattern]) => pattern.test(name))?.[0] ?? 'unknown'
}

function nameOf(error: unknown): string {
  return classifyFailure(error).cause
}

/** `errno`, or the status that a proxy gave, where there is one; our own words for what has none stay here. */
function named(name: string): Pick<Finding, 'errno' | 'status'> {
  const own = name.replace(/^proxy_/, '')
  if (/^\d{3}$/.test(own)) return { status: Number(own) }
  return /^[A-Z]/.test(own) ? { errno: own } : {}
}

function isElsewhere(links: readonly Link[], url: string | undefined): boolean {
  if (url === undefined) return false
  const { port, protocol } = new URL(url)
  const asked = Number(port === '' ? (protocol === 'https:' ? 443 : 80) : port)
  const tried = links.filter(({ syscall, port }) => syscall === 'connect' && typeof port === 'number')
  return tried.length > 0 && tried.every((link) => link.port !== asked)
}

/** An error with everything that is in it, at most 32 of them. */
function linksOf(error: unknown): readonly Link[] {
  const links = new Set<Link>()
  const walk = (at: unknown): void => {
    if (typeof at !== 'object' || at === null || links.has(at) || links.size === 32) return
    links.add(at)
    const { cause, errors } = at as Link
    walk(cause)
    if (Array.isArray(errors)) errors.forEach(walk)
  }
  walk(error)
  return [...links]
}

/** What an error of ours says, in the words of a verdict. */
const ours: Readonly<Partial<Record<ErrorCode, VerdictCode>>> = {
  scope_missing: 'scope_missing',
  step_up_required: 'step_up_required',
  grant_revoked: 'token_revoked',
  refresh_interrupted: 'token_rejected',
  authorization_required: 'token_rejected',
  edge_challenge: 'edge_challenge',
  host_not_bound: 'request_refused',
  endpoint_unknown: 'request_refused',
}

function ofOurs(error: AuthkeepError, { host }: FailureContext): Finding {
  if (isAuthkeepError(error, 'edge_challenge')) {
    const { alternatives: _, ...edge } = error.detail
    return { code: 'edge_challenge', ...edge }
  }
  if (isAuthkeepError(error, 'server_unavailable')) {
    // About the authorization server, whose host it does not name.
    const { status, cause, retryAfterMs } = error.detail
    const code = cause === 'rate_limited' ? cause : status === undefined ? codeOf(cause) : 'server_failed'
    const known = {
      ...(status === undefined ? {} : { status }),
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    }
    return { code, host: null, ...known, ...named(cause) }
  }
  const missing = isAuthkeepError(error, 'scope_missing') ? { missing: error.detail.missing } : {}
  return { code: ours[error.code] ?? 'unknown', host, ...missing, error: error.code }
}
