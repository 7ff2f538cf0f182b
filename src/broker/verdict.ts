/** What came of a request to an API, in one word. docs/diagnosis.md has a section for each. */
export type VerdictCode =
  | 'ok'
  | 'edge_challenge'
  | 'region_blocked'
  | 'captive_portal'
  | 'proxy_failed'
  | 'dns_failed'
  | 'tls_failed'
  | 'connection_refused'
  | 'connection_lost'
  | 'timed_out'
  | 'cancelled'
  | 'scope_missing'
  | 'audience_wrong'
  | 'token_expired'
  | 'token_revoked'
  | 'token_rejected'
  | 'account_mismatch'
  | 'not_entitled'
  | 'step_up_required'
  | 'rate_limited'
  | 'usage_limited'
  | 'overloaded'
  | 'server_failed'
  | 'not_found'
  | 'error_in_success'
  | 'not_json'
  | 'request_refused'
  | 'unknown'

/** What was found; the rest of a verdict follows from it. */
export interface Finding {
  readonly code: VerdictCode
  /** Host and port that the request was for; null where nothing says it. */
  readonly host: string | null
  readonly status?: number
  /** Who stands in front of the server and has answered in its place. */
  readonly vendor?: string
  /** What that calls the request, for its operator. */
  readonly ray?: string
  /** Scopes that would be needed, as far as the answer names them. */
  readonly missing?: readonly string[]
  /** Of a request without an answer: the name of the system's or the client's error. */
  readonly errno?: string
  /** When a limit ends. Unix milliseconds. */
  readonly resetsAt?: number
  readonly retryAfterMs?: number
  /** The account's plan, as the server calls it. */
  readonly plan?: string
  /** The server's own error code. */
  readonly error?: string
  /** The server's own words: one line, made safe to print, no secret in it. */
  readonly description?: string
}

/** The diagnosis of a response or an exception. Nothing in here is secret; all of it may be logged. */
export interface Verdict extends Finding {
  /** Whether another token or another login would have been served: never for edge, network, rate, usage or overload. */
  readonly blamesCredential: boolean
  /** Whether a program may make the same request again by itself; `retryAfterMs` says when, where that is known. */
  readonly mayRetry: boolean
  /** What happened, in one sentence. */
  readonly message: string
  /** What the operator should do, in one sentence. */
  readonly remedy: string
}

interface Meaning {
  readonly blames?: true
  readonly retry?: true | ((finding: Finding) => boolean)
  readonly message: (finding: Finding, host: string) => string
  readonly remedy: string
}

const errno = ({ errno: name }: Finding): string => (name === undefined ? '' : ` (${name})`)
const by = ({ vendor }: Finding, otherwise: string): string => vendor ?? otherwise
const http = ({ status }: Finding): string => (status === undefined ? '' : ` (HTTP ${status})`)

const meanings: { readonly [C in VerdictCode]: Meaning } = {
  ok: { message: (_, host) => `${host} has answered.`, remedy: 'Nothing has to be done.' },
  edge_challenge: {
    message: (f, host) => `${by(f, 'Something')} in front of ${host} refused the request or asks for a browser check.`,
    remedy: 'Try from another network or by another endpoint; the login is not the cause, and a retry does not help.',
  },
  region_blocked: {
    message: (_, host) => `${host} does not serve the country or network that the request came from.`,
    remedy: 'Send the request from a place that the service supports.',
  },
  captive_portal: {
    message: (_, host) => `A sign-in page of the network answered in place of ${host}.`,
    remedy: 'Open a web page in a browser, sign in to the network, and try again.',
  },
  proxy_failed: {
    retry: ({ status }) => status === undefined || status >= 500,
    message: (f, host) => `The proxy on the way to ${host} did not let the request through${http(f)}${errno(f)}.`,
    remedy: 'Check the address, the password and the rules of the proxy.',
  },
  dns_failed: {
    retry: true,
    message: (f, host) => `The name ${host} could not be looked up${errno(f)}.`,
    remedy: 'Check the network connection, the name server and the spelling of the host.',
  },
  tls_failed: {
    message: (f, host) => `No trusted TLS connection to ${host} came about${errno(f)}.`,
    remedy:
      'Check the certificate and the port, and whether something inspects TLS on the way; never turn the check off.',
  },
  connection_refused: {
    retry: true,
    message: (f, host) => `Nothing at ${host} took the connection${errno(f)}.`,
    remedy: 'Check host and port, and whether the service runs and a firewall is in the way.',
  },
  connection_lost: {
    retry: true,
    message: (f, host) => `The connection to ${host} broke before the answer was complete${errno(f)}.`,
    remedy: 'Try again if the request may be made twice; it may have reached the server.',
  },
  timed_out: {
    retry: true,
    message: (f, host) => `${host} did not answer in time${errno(f)}${http(f)}.`,
    remedy: 'Try again later, or allow more time; the request may have reached the server.',
  },
  cancelled: {
    message: (_, host) => `The request to ${host} was cancelled by the caller.`,
    remedy: 'Nothing has to be done.',
  },
  scope_missing: {
    blames: true,
    message: ({ missing }, host) =>
      `The token may not do this at ${host}: ${missing === undefined ? 'it lacks a scope or permission' : `it needs ${missing.join(' ')}`}.`,
    remedy: 'Log in with the scopes that are needed, or call an endpoint that takes this token.',
  },
  audience_wrong: {
    blames: true,
    message: (_, host) => `The token was issued for another service than ${host}.`,
    remedy: 'Ask for a token for this resource, or call the endpoint that the token is for.',
  },
  token_expired: {
    blames: true,
    message: (_, host) => `${host} says that the token has expired.`,
    remedy: 'Refresh the token, and look at the clock if it should still live.',
  },
  token_revoked: {
    blames: true,
    message: (_, host) => `${host} says that the token or its login was revoked.`,
    remedy: 'Log in again.',
  },
  token_rejected: {
    blames: true,
    message: (_, host) => `${host} does not accept the token or key.`,
    remedy: 'Check that the right credential went to the right endpoint, then refresh it or log in again.',
  },
  account_mismatch: {
    blames: true,
    message: (_, host) => `The token is of another account, organization or tenant than the request to ${host} names.`,
    remedy: 'Use the login of that account, or correct the account that the request names.',
  },
  not_entitled: {
    blames: true,
    message: (_, host) => `The account may not use this at ${host}.`,
    remedy: 'Check the plan, the billing and the permissions of the account, or use another account.',
  },
  step_up_required: {
    blames: true,
    message: (_, host) => `${host} asks for a fresh or stronger login.`,
    remedy: 'Log in again in the way that the service asks for.',
  },
  rate_limited: {
    retry: true,
    message: (_, host) => `${host} gets too many requests from this account.`,
    remedy: 'Wait until the limit ends and send fewer requests.',
  },
  usage_limited: {
    message: ({ plan }, host) =>
      `What ${plan === undefined ? 'the account' : `the plan ${plan}`} may use at ${host} is used up.`,
    remedy: 'Wait until the limit ends, or use another plan or account.',
  },
  overloaded: {
    retry: true,
    message: (f, host) => `${host} has too much to do${http(f)}.`,
    remedy: 'Try again later, with longer and longer pauses.',
  },
  server_failed: {
    retry: ({ status, errno }) => status !== 501 && status !== 505 && errno !== 'ERR_TOO_MANY_REDIRECTS',
    message: (f, host) => `${host} failed${http(f)}${errno(f)}.`,
    remedy: 'Try again later; if it stays, ask whoever runs the service.',
  },
  not_found: {
    message: (f, host) => `The URL is not an API of ${host}${http(f)}.`,
    remedy: 'Correct the URL; look at the base URL first.',
  },
  error_in_success: {
    message: (f, host) => `${host} answered with a success that carries an error${http(f)}.`,
    remedy: 'Treat it as the error that it is, and look at what the server says.',
  },
  not_json: {
    message: (f, host) => `${host} answered with a web page where data was expected${http(f)}.`,
    remedy: 'Correct the URL; if it is right, see what on the way answers in place of the API.',
  },
  request_refused: {
    message: (f, host) => `${host} refused the request itself${http(f)}.`,
    remedy: 'Correct the request by what the server says.',
  },
  unknown: {
    message: (f, host) => `What came of the request to ${host} is not known${http(f)}${errno(f)}.`,
    remedy: 'Look at the answer itself.',
  },
}

/** The verdict that a finding comes to. Pure. */
export function conclude(finding: Finding): Verdict {
  const { blames = false, retry = false, message, remedy } = meanings[finding.code]
  return {
    ...finding,
    blamesCredential: blames,
    mayRetry: typeof retry === 'function' ? retry(finding) : retry,
    message: message(finding, finding.host ?? 'the server'),
    remedy,
  }
}
