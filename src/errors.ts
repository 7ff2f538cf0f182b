import { variableOf } from './credential.ts'
import { loginCommand, otherLogin, type WantedLogin } from './login-command.ts'
import { errorNumbers } from './on-demand.ts'

/** What a caller can do about an error: ask a person to log in, choose between accounts, try again, or change something. */
export type Remedy = 'authorize' | 'choose' | 'retry' | 'fix'

/** The detail of each error code. Nothing in here is ever secret. */
export interface ErrorDetails {
  /** There is no credential that could serve, and only a person can bring one. */
  authorization_required: {
    provider: string
    account?: string
    reason:
      | 'no_credential'
      | 'no_refresh_token'
      | 'expired'
      | 'refused'
      | 'resource_not_granted'
      | 'registration_changed'
      | 'no_id_token'
      | 'borrowed'
      | 'moved'
      | 'denied'
      | 'timed_out'
      | 'answer_lost'
      | 'superseded'
    resource?: string
    /** The program that alone renews the login, for `borrowed`; the store, for `moved`. */
    owner?: string
    /** What the login should bring, where that is known. */
    scopes?: readonly string[]
    /** What the server says of a denial. */
    description?: string
  }
  /** The grant does not cover what the endpoint needs. Known before anything is sent. */
  scope_missing: {
    provider: string
    account: string
    endpoint?: string
    missing: readonly string[]
    granted: readonly string[]
    /** Of a login that brought less than this and was not stored. */
    asked?: readonly string[]
    obtainable: boolean
    alternatives: readonly string[]
  }
  /** The server gives no token that can do so little, and the caller wants none that can do more. */
  scope_too_wide: {
    provider: string
    account: string
    endpoint?: string
    needed: readonly string[]
    excess: readonly string[]
  }
  /** The authorization server refused the refresh token. The credential is kept. */
  grant_revoked: { provider: string; account: string; generation: number }
  /**
   * A refresh was sent and its answer never became durable; the refresh token may have been spent. `rolled_back`: it is
   * known to be spent, and an older state of the store has brought it back.
   */
  refresh_interrupted: { provider: string; account: string; since: number; stage: 'sent' | 'replayed' | 'rolled_back' }
  /** The server has no such way to log in. `alternatives` are the names of others that it has. */
  flow_unavailable: { provider: string; account: string; unavailable: string; alternatives: readonly string[] }
  step_up_required: { provider: string; account: string; acrValues?: readonly string[]; maxAge?: number }
  /** `reason`: why a login cannot take the place of the one that is stored under that name. */
  account_ambiguous: {
    provider: string
    accounts: readonly string[]
    reason?: 'other_person' | 'other_kind' | 'other_key'
  }
  /** A limit of the account's own has been reached; until then (Unix milliseconds) it is not tried. */
  account_resting: { provider: string; account: string; reason: string; until: number }
  /** What has been refused has been replaced: nobody has to log in, and the same call goes through. */
  token_replaced: { provider: string; account: string }
  provider_unknown: { asked: string; nearest?: string }
  endpoint_unknown: { asked: string; nearest?: string }
  /** A provider file or literal breaks a rule; `problems` names member and rule. */
  provider_invalid: { source: string; problems: readonly string[] }
  host_not_bound: { host: string; provider: string; declared: readonly string[] }
  /** Nothing could listen on the redirect address that the authorization server knows. */
  redirect_unavailable: { provider: string; ports: readonly number[]; errno: string }
  /** `proxy`: host and port of the proxy on the way, where there is one and it, or something behind it, has failed. */
  server_unavailable: {
    provider: string
    status?: number
    cause: string
    sent: boolean
    retryAfterMs?: number
    proxy?: string
  }
  server_rejected: { provider: string; status: number | null; error: string; description?: string }
  /** The server gives this login no API key. `keyFor`: the provider that it would have been for. */
  not_entitled: {
    provider: string
    account: string
    keyFor: string
    status: number
    error: string
    description?: string
  }
  response_invalid: { provider: string; status: number | null; what: string }
  edge_challenge: { host: string; vendor: string; ray?: string; alternatives: readonly string[] }
  store_busy: { path: string; owner?: string }
  store_corrupt: { path: string; what: string; key?: string; quarantine?: string; restoredFrom?: string }
  /** `unspent`: no refresh token was spent on what could not be stored. */
  store_failed: { path: string; operation: string; errno: string; unspent: boolean }
  write_indeterminate: { key: string }
  key_missing: { keyId: string; keyProvider: string }
  /** `why`: the package is not installed; nothing answered in time; it is locked, or refuses. */
  keychain_unavailable: { keyId: string; keyProvider: string; why?: 'no_package' | 'no_answer' | 'refused' }
  /** Part of the public API that this version does not carry out yet. */
  not_supported: { feature: string }
}

/** The code of an `AuthkeepError`. A new version may add codes; `remedy` says what helps with those, too. */
export type ErrorCode = keyof ErrorDetails

const remedies: { readonly [C in ErrorCode]: Remedy } = {
  authorization_required: 'authorize',
  scope_missing: 'authorize',
  scope_too_wide: 'fix',
  grant_revoked: 'authorize',
  refresh_interrupted: 'authorize',
  flow_unavailable: 'authorize',
  step_up_required: 'authorize',
  account_ambiguous: 'choose',
  account_resting: 'retry',
  token_replaced: 'retry',
  provider_unknown: 'fix',
  endpoint_unknown: 'fix',
  provider_invalid: 'fix',
  host_not_bound: 'fix',
  redirect_unavailable: 'fix',
  server_unavailable: 'retry',
  server_rejected: 'fix',
  not_entitled: 'fix',
  response_invalid: 'fix',
  edge_challenge: 'fix',
  store_busy: 'retry',
  store_corrupt: 'fix',
  store_failed: 'fix',
  write_indeterminate: 'retry',
  key_missing: 'fix',
  keychain_unavailable: 'fix',
  not_supported: 'fix',
}

/** Why a server was not reached, as the end of a sentence. A cause `proxy_…` is the proxy's own: a status, or an errno. */
export function unreachedBecause({ cause, proxy }: { readonly cause: string; readonly proxy?: string }): string {
  const own = /^proxy_(.+)$/.exec(cause)?.[1]
  if (own === undefined) return proxy === undefined ? cause : `${cause}, through the proxy ${proxy}`
  const which = proxy === undefined ? 'the proxy' : `the proxy ${proxy}`
  return /^\d+$/.test(own) ? `${which} refused with HTTP ${own}` : `${which} failed with ${own}`
}

const nearest = (name: string | undefined): string => (name === undefined ? '' : ` Did you mean ${name}?`)

const reasons: Record<ErrorDetails['authorization_required']['reason'], string> = {
  no_credential: 'nobody has logged in',
  no_refresh_token: 'the access token has expired and there is no refresh token',
  expired: 'the credential has expired',
  refused: 'the API has refused the credential',
  resource_not_granted: 'the login did not include this resource',
  registration_changed: 'the stored one belongs to another issuer or client',
  no_id_token: 'it has no ID token that is still valid, and a refresh brings none',
  borrowed: 'it has expired, and another program renews it',
  moved: 'it was moved to another store',
  denied: 'the request was denied, by the person or by the server',
  timed_out: 'nobody finished the login in time',
  answer_lost: 'it was finished, and the answer to it was lost on the way',
  superseded: 'a later login has taken its place',
}

/** Why a login that was under way came to nothing; the other reasons are why one is needed. */
const failures: ReadonlySet<string> = new Set(['denied', 'timed_out', 'superseded', 'answer_lost'])

const inBrackets = (text: string | undefined): string => (text === undefined ? '' : ` (${text})`)

const sentences: { readonly [C in ErrorCode]: (detail: ErrorDetails[C]) => string } = {
  authorization_required: (d) =>
    variableOf(d.account) !== undefined
      ? `What the environment holds for ${d.provider} (${d.account ?? ''}) does not serve: ${reasons[d.reason]}.`
      : d.reason === 'moved'
        ? `The ${d.provider} login "${d.account ?? ''}" has expired, and was moved to ${d.owner ?? 'another store'}, which renews it: use that store.`
        : d.owner !== undefined
          ? `The ${d.provider} login "${d.account ?? ''}" has expired, and is ${d.owner}'s to renew: run ${d.owner}, or take it over.`
          : `${failures.has(d.reason) ? `The login to ${d.provider} failed` : `A login to ${d.provider} is needed`}: ${reasons[d.reason]}${inBrackets(d.resource ?? d.description)}.`,
  scope_missing: (d) =>
    d.asked !== undefined
      ? `The login to ${d.provider} as "${d.account}" brought less than was asked for: not ${d.missing.join(' ')}.`
      : `The ${d.provider} login "${d.account}" lacks ${d.missing.join(' ')}${d.endpoint === undefined ? '' : `, which ${d.endpoint} needs`}${d.obtainable ? '' : ', and no login of its client can bring it'}.`,
  scope_too_wide: (d) =>
    `${d.provider} gives the login "${d.account}" no token without ${d.excess.join(' ')}, and a wider one is not allowed.`,
  grant_revoked: (d) => `${d.provider} no longer accepts the login "${d.account}".`,
  refresh_interrupted: (d) =>
    `A refresh of the ${d.provider} login "${d.account}" was interrupted, and its refresh token may have been spent.`,
  flow_unavailable: (d) =>
    `${d.provider} has no ${d.unavailable} login, or not for this client${d.alternatives.length === 0 ? '' : `; there are: ${d.alternatives.join(', ')}`}.`,
  step_up_required: (d) => `${d.provider} asks for a fresh or stronger login of "${d.account}".`,
  account_ambiguous: (d) => {
    const [name = ''] = d.accounts
    if (d.reason === 'other_kind') return `The ${d.provider} login "${name}" is a credential of another kind.`
    if (d.reason === 'other_key')
      return `An API key of ${d.provider} is stored as "${name}" already, and is not replaced.`
    if (d.reason === 'other_person')
      return `The ${d.provider} login "${name}" is another person's than this one, or the server does not say whose this one is.`
    return `Several ${d.provider} accounts could be meant: ${d.accounts.join(', ')}.`
  },
  account_resting: (d) =>
    `The ${d.provider} account "${d.account}" is left alone until ${new Date(d.until).toISOString()}: ${d.reason}.`,
  token_replaced: (d) =>
    `The ${d.provider} login "${d.account}" has a token that serves; nobody has to log in: make the call again.`,
  provider_unknown: (d) => `No provider is called ${d.asked}.${nearest(d.nearest)}`,
  endpoint_unknown: (d) => `No provider declares an endpoint for ${d.asked}.${nearest(d.nearest)}`,
  provider_invalid: (d) => `${d.source} is not a valid provider: ${d.problems.join('; ')}.`,
  host_not_bound: (d) =>
    `${d.provider} tokens are not for ${d.host}; its endpoints are on ${d.declared.join(', ') || 'no host'}.`,
  redirect_unavailable: (d) => `No redirect port of ${d.provider} is free (${d.ports.join(', ')}): ${d.errno}.`,
  server_unavailable: (d) =>
    `The authorization server of ${d.provider} did not answer${d.status === undefined ? '' : ` usefully (HTTP ${d.status})`}: ${unreachedBecause(d)}.`,
  server_rejected: (d) =>
    `The authorization server of ${d.provider} refused: ${d.error}${d.description === undefined ? '' : ` (${d.description})`}.`,
  not_entitled: (d) =>
    `${d.provider} gives the login "${d.account}" no API key of ${d.keyFor}: ${d.error}${inBrackets(d.description)}. Many accounts are not entitled to one; an API key that is typed in works as well.`,
  response_invalid: (d) => `The answer from ${d.provider} cannot be trusted: ${d.what}.`,
  edge_challenge: (d) => `${d.vendor} in front of ${d.host} asks for a browser check.`,
  store_busy: (d) => `Another process is holding ${d.path}${d.owner === undefined ? '' : ` (${d.owner})`}.`,
  store_corrupt: (d) =>
    `${d.path} cannot be read as credentials${d.key === undefined ? '' : ` (entry ${d.key})`}: ${d.what}.`,
  store_failed: (d) => `${d.path} could not be used: ${d.operation} failed with ${d.errno}.`,
  write_indeterminate: (d) => `Whether ${d.key} was stored durably is not known.`,
  key_missing: (d) => `The key ${d.keyId} is not in ${d.keyProvider}.`,
  keychain_unavailable: (d) => `${d.keyProvider} cannot be reached for key ${d.keyId}${unreached[d.why ?? 'unknown']}.`,
  not_supported: (d) => `${d.feature} is not supported by this version of authkeep.`,
}

const unreached = {
  no_package: ': the package @napi-rs/keyring is not installed',
  no_answer: ': it gives no answer',
  refused: ': it is locked, or refuses',
  unknown: '',
} as const

const brand = Symbol.for('authkeep.error')

/**
 * The one error class. `code` says what happened, `detail` is typed by it, `remedy` says what kind of help is needed.
 *
 * Recognise it with `isAuthkeepError`, never with `instanceof`: two copies of the package may be loaded. Message and
 * detail carry no token, code, verifier or key, and there is no `cause`, because what lower layers throw may carry one.
 */
export class AuthkeepError<C extends ErrorCode = ErrorCode> extends Error {
  static {
    Object.defineProperty(this.prototype, brand, { value: true })
  }

  readonly code: C
  readonly detail: ErrorDetails[C]
  readonly remedy: Remedy

  constructor(code: C, detail: ErrorDetails[C]) {
    super(sentences[code](detail))
    this.name = 'AuthkeepError'
    this.code = code
    this.detail = detail
    this.remedy = remedies[code]
  }

  /** The command by which a person can help, where a login is what helps: for a program that only passes errors on. */
  get loginCommand(): string | undefined {
    if (this.remedy !== 'authorize' || variableOf((this.detail as WantedLogin).account) !== undefined) return undefined
    if (isAuthkeepError(this, 'authorization_required') && this.detail.owner !== undefined) return undefined
    if (isAuthkeepError(this, 'flow_unavailable')) return otherLogin(this.detail)
    if (!isAuthkeepError(this, 'scope_missing')) return loginCommand(this.detail as WantedLogin)
    const { obtainable, asked, missing } = this.detail
    return obtainable ? loginCommand({ ...this.detail, scopes: asked ?? missing }) : undefined
  }

  /** What `--json` of the command line prints; without a stack. */
  toJSON(): { code: C; remedy: Remedy; message: string; detail: ErrorDetails[C] } {
    return { code: this.code, remedy: this.remedy, message: this.message, detail: this.detail }
  }
}

/** Whether a thrown value is an authkeep error, and of the given code where one is named. */
export function isAuthkeepError<C extends ErrorCode = ErrorCode>(error: unknown, code?: C): error is AuthkeepError<C> {
  if (typeof error !== 'object' || error === null || !(brand in error)) return false
  return code === undefined || (error as unknown as AuthkeepError).code === code
}

/** The errno of a system error (`ENOSPC`, `EACCES`, …), or undefined for anything else. */
export function errnoOf(error: unknown): string | undefined {
  const { code, errno } = (error ?? {}) as { code?: unknown; errno?: unknown }
  // Some lines of Node have no name for some errors of the system, EDQUOT for one.
  if (typeof code === 'string' && code.startsWith('Unknown system error') && typeof errno === 'number') {
    return Object.entries(errorNumbers()).find(([, number]) => number === -errno)?.[0] ?? 'EUNKNOWN'
  }
  // Upper case tells the system's names from our own codes.
  return typeof code === 'string' && /^[A-Z][A-Z0-9_]+$/.test(code) ? code : undefined
}
