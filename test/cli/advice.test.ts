import { describe, expect, it } from 'vitest'
import { type Advice, adviseOn, type Situation } from '../../src/cli/advice.ts'
import { UsageError } from '../../src/cli/context.ts'
import { AuthkeepError, type ErrorCode, type ErrorDetails } from '../../src/errors.ts'
import { commandLine, loginCommand } from '../../src/login-command.ts'

const situation: Situation = {
  typed: ['token', 'https://api.example/files'],
  command: 'token',
  homeOption: [],
  cancelled: false,
}
const advise = <C extends ErrorCode>(code: C, detail: ErrorDetails[C], changes: Partial<Situation> = {}) =>
  adviseOn(new AuthkeepError(code, detail), { ...situation, ...changes })
const work = { provider: 'acme', account: 'work' }
const path = '/home/u/auth.json'
const scopeMissing = { ...work, missing: ['files:write'], granted: ['files:read'], obtainable: true, alternatives: [] }

describe('the exit code', () => {
  it.each([
    ['4 when a login is needed', 4, advise('authorization_required', { ...work, reason: 'no_credential' })],
    ['4 when a login for more is needed', 4, advise('scope_missing', scopeMissing)],
    ['4 when the grant was revoked', 4, advise('grant_revoked', { ...work, generation: 1 })],
    ['75 when the store is busy', 75, advise('store_busy', { path })],
    [
      '75 when the server does not answer',
      75,
      advise('server_unavailable', { provider: 'acme', cause: 'x', sent: false }),
    ],
    ['1 when an account must be chosen', 1, advise('account_ambiguous', { provider: 'acme', accounts: ['a', 'b'] })],
    ['1 when something must be changed', 1, advise('host_not_bound', { host: 'h', provider: 'acme', declared: [] })],
    ['1 for a wrong command line', 1, adviseOn(new UsageError('No.'), situation)],
    ['1 for a bug', 1, adviseOn(new RangeError('x'), situation)],
    [
      '2 when the person cancelled, whatever came of it',
      2,
      adviseOn(new RangeError('x'), { ...situation, cancelled: true }),
    ],
  ])('is %s', (_, code, advice) => expect(advice.exitCode).toBe(code))
})

describe('what to do next', () => {
  it.each([
    [
      'names the login',
      advise('authorization_required', { ...work, reason: 'no_credential' }),
      'authkeep login acme --account work',
    ],
    [
      'leaves the default account out',
      advise('grant_revoked', { provider: 'acme', account: 'default', generation: 1 }),
      'Log in again: authkeep login acme',
    ],
    [
      'names the resource',
      advise('authorization_required', { ...work, reason: 'resource_not_granted', resource: 'https://api.example/x' }),
      'authkeep login acme --account work --resource https://api.example/x',
    ],
    [
      'names the scopes',
      advise('scope_missing', scopeMissing),
      'authkeep login acme --account work --scope files:write',
    ],
    [
      'keeps the home directory',
      advise('scope_missing', scopeMissing, { homeOption: ['--home', '/my home'] }),
      "--scope files:write --home '/my home'",
    ],
    [
      'does not send a person to a login that cannot help',
      advise('scope_missing', { ...scopeMissing, obtainable: false }),
      'No login can bring this',
    ],
    [
      'chooses an account for example',
      advise('account_ambiguous', { provider: 'acme', accounts: ['home', 'work'] }),
      'authkeep token https://api.example/files --account home',
    ],
    [
      'waits as long as the server asks',
      advise('server_unavailable', { provider: 'acme', cause: 'x', sent: false, retryAfterMs: 1_500 }),
      'Try again in 2 s: authkeep token',
    ],
    [
      'looks at the proxy',
      advise('server_unavailable', { provider: 'acme', cause: 'proxy_407', sent: false, proxy: 'p:1' }),
      'Check HTTPS_PROXY and NO_PROXY, or try again: authkeep token',
    ],
    ...['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'SELF_SIGNED_CERT_IN_CHAIN', 'proxy_DEPTH_ZERO_SELF_SIGNED_CERT'].map(
      (cause): [string, Advice, string] => [
        `names the authority of a certificate (${cause})`,
        advise('server_unavailable', { provider: 'acme', cause, sent: false }),
        'in NODE_EXTRA_CA_CERTS, then: authkeep token',
      ],
    ),
    ['repeats what was typed', advise('store_busy', { path }), 'Try again: authkeep token https://api.example/files'],
    [
      'frees the disk',
      advise('store_failed', { path, operation: 'write', errno: 'ENOSPC', unspent: true }),
      'Free some disk space',
    ],
    [
      'says where the damaged file is kept',
      advise('store_corrupt', { path, what: 'x', quarantine: '/q' }),
      'kept in /q',
    ],
    [
      'confines a damaged entry',
      advise('store_corrupt', { path, what: 'x', key: 'acme:work' }),
      'no other entry is affected',
    ],
    [
      'points a wrong command line to its help',
      adviseOn(new UsageError('No.'), situation),
      'See authkeep token --help',
    ],
  ])('%s', (_, advice, text) => expect(advice.next).toContain(text))
})

describe('advice', () => {
  it('says nothing of what an unknown error carries: neither its message nor its stack', () => {
    const advice = adviseOn(new SyntaxError('Unexpected token in "at_secret"'), situation)
    expect(JSON.stringify(advice)).not.toContain('at_secret')
    expect(advice.message).toBe('Something unexpected happened (SyntaxError).')
    for (const thrown of ['at_secret', { token: 'at_secret' }, null, undefined]) {
      expect(JSON.stringify(adviseOn(thrown, situation))).not.toContain('at_secret')
    }
  })

  it('is a sentence and a line', () => {
    const advice = advise('scope_missing', scopeMissing)
    expect(advice.message).toMatch(/\.$/)
    expect(advice.message + advice.next).not.toContain('\n')
  })
})

describe('an advised command', () => {
  it('survives a shell', () => {
    expect(commandLine(['login', 'acme', '--account', "o'brien; rm -rf ~"])).toBe(
      String.raw`authkeep login acme --account 'o'\''brien; rm -rf ~'`,
    )
    expect(commandLine(['token', 'https://api.example/?a=1&b=$HOME'])).toBe(
      "authkeep token 'https://api.example/?a=1&b=$HOME'",
    )
    expect(commandLine(['token', ''])).toBe("authkeep token ''")
    expect(loginCommand({ provider: 'acme', account: 'a@b.example', scopes: ['a', 'b'] })).toBe(
      'authkeep login acme --account a@b.example --scope a --scope b',
    )
  })
})
