import { inspect } from 'node:util'
import { describe, expect, it, vi } from 'vitest'
import { AuthkeepError, type ErrorCode, type ErrorDetails, errnoOf, isAuthkeepError } from '../src/errors.ts'

/** One of each; a new code does not compile until it is here. */
const samples: { readonly [C in ErrorCode]: ErrorDetails[C] } = {
  authorization_required: { provider: 'acme', account: 'work', reason: 'no_credential' },
  scope_missing: {
    provider: 'acme',
    account: 'work',
    endpoint: 'https://api.example/files',
    missing: ['files:write'],
    granted: ['files:read'],
    obtainable: true,
    alternatives: [],
  },
  scope_too_wide: {
    provider: 'acme',
    account: 'work',
    endpoint: 'https://api.example/files',
    needed: ['files:read'],
    excess: ['files:write'],
  },
  grant_revoked: { provider: 'acme', account: 'work', generation: 3 },
  refresh_interrupted: { provider: 'acme', account: 'work', since: 1_790_000_000_000, stage: 'sent' },
  flow_unavailable: { provider: 'acme', account: 'work', unavailable: 'device', alternatives: ['paste', 'browser'] },
  step_up_required: { provider: 'acme', account: 'work', maxAge: 300 },
  account_ambiguous: { provider: 'acme', accounts: ['home', 'work'] },
  account_resting: { provider: 'acme', account: 'work', reason: 'usage_limited', until: 1_790_000_000_000 },
  token_replaced: { provider: 'acme', account: 'work' },
  provider_unknown: { asked: 'acne', nearest: 'acme' },
  endpoint_unknown: { asked: 'https://api.example/other' },
  provider_invalid: { source: 'acme.json', problems: ['id: must be a word', 'client.id: must be a string'] },
  host_not_bound: { host: 'evil.test', provider: 'acme', declared: ['api.example'] },
  redirect_unavailable: { provider: 'acme', ports: [1455], errno: 'EADDRINUSE' },
  server_unavailable: { provider: 'acme', status: 503, cause: 'HTTP 503', sent: true },
  server_rejected: { provider: 'acme', status: 400, error: 'invalid_client', description: 'no such client' },
  not_entitled: { provider: 'signin', account: 'work', keyFor: 'acme', status: 401, error: 'no_organization' },
  response_invalid: { provider: 'acme', status: 200, what: 'no access_token' },
  edge_challenge: { host: 'as.example', vendor: 'Cloudflare', alternatives: [] },
  store_busy: { path: '/home/u/auth.json', owner: 'pid 7' },
  store_corrupt: { path: '/home/u/auth.json', what: 'not JSON', key: 'acme:work' },
  store_failed: { path: '/home/u/auth.json', operation: 'rename', errno: 'ENOSPC', unspent: true },
  write_indeterminate: { key: 'acme:work' },
  key_missing: { keyId: 'k1', keyProvider: 'keychain' },
  keychain_unavailable: { keyId: 'k1', keyProvider: 'keychain' },
  not_supported: { feature: 'Revocation' },
}
const codes = Object.keys(samples) as ErrorCode[]
const make = (code: ErrorCode): AuthkeepError => new AuthkeepError(code, samples[code])

describe.each(codes)('%s', (code) => {
  it('has a remedy and one plain sentence', () => {
    const error = make(code)
    expect(['authorize', 'choose', 'retry', 'fix']).toContain(error.remedy)
    expect(error.message).toMatch(/^[A-Za-z/][^\n]*[.?]$/)
    expect(error.message).not.toMatch(/undefined|null|\[object|NaN|\$\{/)
  })

  it('is one JSON object of code, remedy, message and detail', () => {
    const error = make(code)
    expect(JSON.parse(JSON.stringify(error))).toEqual({
      code,
      remedy: error.remedy,
      message: error.message,
      detail: samples[code],
    })
  })

  it('is recognised by its own code and no other', () => {
    for (const other of codes) expect(isAuthkeepError(make(code), other)).toBe(other === code)
  })
})

describe('an error', () => {
  it('is recognised across two copies of the package, both ways', async () => {
    vi.resetModules()
    const copy = await import('../src/errors.ts')
    expect(copy.AuthkeepError).not.toBe(AuthkeepError)
    const theirs = new copy.AuthkeepError('store_busy', samples.store_busy)
    expect(theirs).not.toBeInstanceOf(AuthkeepError)
    expect(isAuthkeepError(theirs, 'store_busy')).toBe(true)
    expect(copy.isAuthkeepError(make('store_busy'))).toBe(true)
  })

  it('is not taken for one because it looks like one', () => {
    const alike = Object.assign(new Error('x'), {
      name: 'AuthkeepError',
      code: 'store_busy',
      remedy: 'retry',
      detail: {},
    })
    for (const value of [alike, { code: 'store_busy' }, null, undefined, 'store_busy', 7]) {
      expect(isAuthkeepError(value)).toBe(false)
    }
  })

  it('is an Error with a stack, and without a cause that could carry what a lower layer saw', () => {
    const error = make('server_rejected')
    expect(error).toBeInstanceOf(Error)
    expect(error.name).toBe('AuthkeepError')
    expect(error.stack).toContain('errors.test.ts')
    expect('cause' in error).toBe(false)
    expect(inspect(error)).toContain("code: 'server_rejected'")
  })

  it('says whether the proxy has failed or what is behind it', () => {
    const why = (cause: string, proxy?: string) =>
      new AuthkeepError('server_unavailable', {
        ...{ provider: 'acme', cause, sent: false },
        ...(proxy === undefined ? {} : { proxy }),
      }).message.replace('The authorization server of acme did not answer: ', '')
    expect(why('proxy_407', 'p:1')).toBe('the proxy p:1 refused with HTTP 407.')
    expect(why('proxy_407')).toBe('the proxy refused with HTTP 407.')
    expect(why('proxy_ENOTFOUND', 'p:1')).toBe('the proxy p:1 failed with ENOTFOUND.')
    expect(why('CERT_HAS_EXPIRED', 'p:1')).toBe('CERT_HAS_EXPIRED, through the proxy p:1.')
    expect(why('ENOTFOUND')).toBe('ENOTFOUND.')
  })

  it('names what was probably meant', () => {
    expect(make('provider_unknown').message).toContain('Did you mean acme?')
    expect(make('endpoint_unknown').message).not.toContain('Did you mean')
  })
})

describe('an errno', () => {
  it('is the code of a system error', () => {
    expect(errnoOf(Object.assign(new Error('no space'), { code: 'ENOSPC' }))).toBe('ENOSPC')
  })

  it('is nothing for any other value, our own errors included', () => {
    for (const value of [make('store_busy'), new Error('x'), { code: 28 }, null, undefined, 'ENOSPC']) {
      expect(errnoOf(value)).toBeUndefined()
    }
  })
})

describe('the command that helps', () => {
  it('is the login that would bring what is missing, word for word', () => {
    const wanted = { ...samples.step_up_required, acrValues: ['urn:acr:two factors'] }
    expect(new AuthkeepError('step_up_required', wanted).loginCommand).toBe(
      "authkeep login acme --account work --acr 'urn:acr:two factors' --max-age 300",
    )
    expect(new AuthkeepError('scope_missing', samples.scope_missing).loginCommand).toBe(
      'authkeep login acme --account work --scope files:write',
    )
    expect(new AuthkeepError('flow_unavailable', samples.flow_unavailable).loginCommand).toBe(
      'authkeep login acme --account work --flow paste',
    )
  })

  it('is none where no login helps', () => {
    const unobtainable = { ...samples.scope_missing, obtainable: false }
    expect(new AuthkeepError('scope_missing', unobtainable).loginCommand).toBeUndefined()
    const nothingElse = { ...samples.flow_unavailable, alternatives: [] }
    expect(new AuthkeepError('flow_unavailable', nothingElse).loginCommand).toBeUndefined()
    expect(new AuthkeepError('store_busy', samples.store_busy).loginCommand).toBeUndefined()
  })
})
