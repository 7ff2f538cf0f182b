import { variableOf } from '../credential.ts'
import { type AuthkeepError, type ErrorDetails, isAuthkeepError, type Remedy } from '../errors.ts'
import { commandLine, loginCommand, otherLogin } from '../login-command.ts'
import { replacementRefused } from '../provider-files.ts'
import { Cancelled, PersonNeeded, UsageError } from './context.ts'

/** What was being done when an error came up; what advice is worded with. */
export interface Situation {
  /** The command line, without `authkeep`, as it was typed. */
  readonly typed: readonly string[]
  /** The command's name, once it is known. */
  readonly command: string | undefined
  /** `--home dir`, where it was given, so that an advised command does the same. */
  readonly homeOption: readonly string[]
  /** Whether the person has cancelled. */
  readonly cancelled: boolean
}

/** How an error is told: what happened in a sentence, what to do next in a line, and the exit code. */
export interface Advice {
  readonly exitCode: number
  readonly code: string
  readonly remedy: Remedy
  readonly message: string
  readonly detail: unknown
  readonly next: string
}

const exitCodes: Readonly<Record<Remedy, number>> = { fix: 1, choose: 1, authorize: 4, retry: 75 }

/** Everything the command line says about an error. Pure; never a stack, never what a lower layer printed. */
export function adviseOn(error: unknown, situation: Situation): Advice {
  const again = commandLine(situation.typed)
  // A login is stored by its last step or not at all.
  const isUntouched = situation.command === 'login' && !isAuthkeepError(error, 'write_indeterminate')
  const untouched = isUntouched ? ' Nothing was stored; the logins are as they were.' : ''
  if (situation.cancelled || error instanceof Cancelled) {
    const next = `Nothing was lost; to begin again: ${again}`
    return { exitCode: 2, code: 'cancelled', remedy: 'retry', message: `Cancelled.${untouched}`, detail: {}, next }
  }
  if (isAuthkeepError(error)) {
    const { code, remedy, detail } = error
    const message = `${error.message}${untouched}`
    return { exitCode: exitCodes[remedy], code, remedy, message, detail, next: nextStep(error, situation) }
  }
  const shared = { exitCode: 1, remedy: 'fix', detail: {} } as const
  if (error instanceof UsageError) {
    const help = situation.command === undefined ? ['--help'] : [...situation.command.split(' '), '--help']
    return { ...shared, code: 'usage', message: error.message, next: `See ${commandLine(help)}` }
  }
  if (error instanceof PersonNeeded) {
    const message = `A person has to log in, and ${error.message}.${untouched}`
    const bare = withoutFlow(situation.typed)
    const without = [['--api-key-stdin'], ['--flow', 'client-credentials']].map((way) => commandLine([...bare, ...way]))
    const next = `In a terminal: ${again.replace(' --non-interactive', '')}; without a person: ${without.join(' or ')}`
    return { exitCode: 4, code: 'person_needed', remedy: 'authorize', message, detail: {}, next }
  }
  // The message of an error that is not ours may quote anything, a token included: its class has to do.
  const name = error instanceof Error ? error.name : typeof error
  const message = `Something unexpected happened (${name}).`
  return { ...shared, code: 'unexpected', message, next: 'This is a bug in authkeep; please report what you did.' }
}

/** A command line without the way to log in that it asks for, so that another can be named. */
function withoutFlow(typed: readonly string[]): readonly string[] {
  return typed.filter((word, index) => !/^--flow(=|$)/.test(word) && typed[index - 1] !== '--flow')
}

/** A command line with more options: what follows `--` is another program's. */
function withOptions(typed: readonly string[], ...options: readonly string[]): readonly string[] {
  const end = typed.indexOf('--')
  return end === -1 ? [...typed, ...options] : typed.toSpliced(end, 0, ...options)
}

const steps: {
  readonly [C in keyof ErrorDetails]: (detail: ErrorDetails[C], situation: Situation) => string
} = {
  authorization_required: (detail, { typed, command, homeOption }) => {
    const variable = variableOf(detail.account)
    if (variable !== undefined) return `Set ${variable} to a credential that works, or unset it to use what is stored`
    if (detail.reason === 'moved') return `Set AUTHKEEP_STORE to where it is now; or move it back: authkeep copy`
    if (command !== 'login') return `Log in: ${loginCommand(detail, homeOption)}`
    const first =
      detail.reason === 'denied' ? 'Allow it, or ask whoever runs the server for access, then' : 'To begin again'
    return `${first}: ${commandLine(typed)}`
  },
  scope_missing: (detail, { typed, homeOption }) => {
    if (detail.asked !== undefined) {
      return `To grant all of it: ${commandLine(typed)}; to be content with less: ${commandLine(withOptions(typed, '--accept-narrower'))}`
    }
    if (detail.obtainable) return `Log in for more: ${loginCommand({ ...detail, scopes: detail.missing }, homeOption)}`
    if (detail.alternatives.length > 0) return `Use ${detail.alternatives.join(', or ')}`
    return `No login can bring this: check the scopes of the endpoint in the provider file of ${detail.provider}`
  },
  scope_too_wide: ({ provider }) =>
    `Declare refresh.narrowing in the provider file of ${provider} if the server honours a narrower scope, or allow a wider token`,
  grant_revoked: (detail, { homeOption }) => `Log in again: ${loginCommand(detail, homeOption)}`,
  refresh_interrupted: (detail, { homeOption }) => `Log in again: ${loginCommand(detail, homeOption)}`,
  flow_unavailable: (detail, { homeOption }) => {
    const other = otherLogin(detail, homeOption)
    return other === undefined ? `Check the addresses of ${detail.provider}` : `Log in another way: ${other}`
  },
  step_up_required: (detail, { homeOption }) => `Log in again: ${loginCommand(detail, homeOption)}`,
  account_ambiguous: ({ provider, accounts: [first = 'name'], reason }, { typed, command, homeOption }) =>
    command === 'login'
      ? `${reason === 'other_person' ? `Log in as that person: ${commandLine(typed)}; or give` : 'Give'} this login a name of its own: ${loginCommand({ provider, account: `${first}-2` }, homeOption)}`
      : `Name one: ${commandLine(withOptions(typed, '--account', first))}`,
  account_resting: ({ provider, until }, { homeOption }) =>
    `Wait until ${new Date(until).toISOString()}, or log in with another account: ${commandLine(['login', provider, '--account', 'name', ...homeOption])}`,
  token_replaced: (_, { typed }) => `Try again: ${commandLine(typed)}`,
  provider_unknown: (_, { homeOption }) =>
    `See ${commandLine(['providers', 'list', ...homeOption])}, or add it: ${commandLine(['providers', 'add', 'file.json', ...homeOption])}`,
  endpoint_unknown: (_, { homeOption }) =>
    `Declare the endpoint in its provider's file, then: ${commandLine(['providers', 'add', 'file.json', '--replace', ...homeOption])}`,
  provider_invalid: ({ problems }, { typed }) =>
    problems.includes(replacementRefused)
      ? `If that is what you want: ${commandLine(withOptions(typed, '--replace'))}`
      : `Correct the file, then: ${commandLine(typed)}`,
  host_not_bound: ({ host, provider }) =>
    `If ${host} is to be trusted, declare an endpoint for it in the provider file of ${provider}`,
  redirect_unavailable: (_, { typed }) => `Finish the other login or free the port, then: ${commandLine(typed)}`,
  server_unavailable: ({ cause, retryAfterMs }, { typed }) => {
    if (isUntrusted(cause)) return `If you trust it, ${trustIt}, then: ${commandLine(typed)}`
    if (cause.startsWith('proxy_')) return `Check HTTPS_PROXY and NO_PROXY, or try again: ${commandLine(typed)}`
    return `Try again${retryAfterMs === undefined ? '' : ` in ${Math.ceil(retryAfterMs / 1_000)} s`}: ${commandLine(typed)}`
  },
  server_rejected: ({ provider }, { typed, command, homeOption }) => {
    const check = `Check the client and the addresses of ${provider}: ${commandLine(['providers', 'list', ...homeOption])}`
    return command === 'login' ? `${check}; or ask whoever runs it for access; then: ${commandLine(typed)}` : check
  },
  not_entitled: ({ keyFor }, { homeOption }) =>
    `Make an API key of ${keyFor} where it is sold, then: ${loginCommand({ provider: keyFor, flow: 'api-key' }, homeOption)}`,
  response_invalid: ({ provider }, { homeOption }) =>
    `Check the issuer and the addresses of ${provider}: ${commandLine(['providers', 'list', ...homeOption])}`,
  edge_challenge: ({ host, alternatives }) =>
    alternatives.length > 0 ? `Try ${alternatives.join(', or ')}` : `Try from a network that ${host} trusts`,
  store_busy: (_, { typed }) => `Try again: ${commandLine(typed)}`,
  store_corrupt: ({ path, key, quarantine }, { homeOption }) => {
    if (quarantine !== undefined) return `What was there is kept in ${quarantine}; repair it and put it back`
    if (key !== undefined) return `Correct or remove the entry ${key} in ${path}; no other entry is affected`
    return `See what can be done: ${commandLine(['doctor', ...homeOption])}; authkeep has changed nothing in ${path}`
  },
  store_failed: ({ path, errno }, { typed }) => `${causes[errno] ?? `See to ${path}`}, then: ${commandLine(typed)}`,
  write_indeterminate: (_, { typed }) => `Try again: ${commandLine(typed)}`,
  key_missing: ({ keyId, keyProvider }) => `Bring the key ${keyId} back to ${keyProvider}; no other can open the file`,
  keychain_unavailable: ({ keyProvider, why }, { typed }) =>
    `${why === 'no_package' ? 'Install the package @napi-rs/keyring beside authkeep' : `Unlock or start ${keyProvider}`}, then: ${commandLine(typed)}`,
  not_supported: (_, { command }) =>
    `See ${commandLine(command === undefined ? ['--help'] : [...command.split(' '), '--help'])}`,
}

/** Whether a server, or a proxy, has shown a certificate of an authority that nobody here knows. */
export const isUntrusted = (cause: string): boolean =>
  /SELF_SIGNED_CERT|UNABLE_TO_(GET_ISSUER|VERIFY_LEAF)|CERT_UNTRUSTED|INVALID_CA/.test(cause)

export const trustIt = 'name the file with the certificate of its authority in NODE_EXTRA_CA_CERTS'

const causes: Readonly<Partial<Record<string, string>>> = {
  EACCES: 'Give yourself the right to read and write it',
  EDQUOT: 'Free some of your quota',
  ENOSPC: 'Free some disk space',
  EPERM: 'Give yourself the right to read and write it',
  EROFS: 'Make the file system writable',
}

function nextStep(error: AuthkeepError, situation: Situation): string {
  const step = steps[error.code] as (detail: AuthkeepError['detail'], situation: Situation) => string
  return step(error.detail, situation)
}
