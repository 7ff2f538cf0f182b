import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type AuthkeepError, isAuthkeepError } from '../src/errors.ts'
import { nearestName } from '../src/nearest.ts'
import type { Provider } from '../src/provider.ts'
import { loadProvider, loadProviders, parseProvider, saveProvider } from '../src/provider-files.ts'

const minimal: Provider = { id: 'acme', issuer: 'https://as.example', client: { id: 'cli' } }

const complete: Provider = {
  id: 'acme',
  issuer: 'https://as.example',
  metadata: { token_endpoint: 'https://as.example/token', grant_types_supported: ['refresh_token'] },
  client: { id: 'cli', secret: 's3cr3t-value', authentication: 'client_secret_basic' },
  scopes: ['files:read', 'mail:read'],
  redirect: { host: 'localhost', ports: [1455, 0], path: '/auth/callback' },
  authorization: { prompt: 'consent' },
  endpoints: [
    {
      url: 'https://api.example/files/*',
      scopes: ['files:read'],
      resource: 'https://api.example/files',
      accepts: ['oauth', 'api_key'],
      headers: { 'x-account': '{claims.account}' },
      cookies: ['__cf_bm', 'cf_chl_*'],
    },
  ],
  refresh: { encoding: 'json', rotation: { graceMs: 30_000 }, narrowing: 'honoured' },
  optionalScopes: ['files:read'],
  implies: { 'files:write': ['files:read'] },
  apiKeyExchange: { provider: 'keys', subject: 'id_token', parameters: { requested_token: 'api-key' } },
  deviceLogin: {
    codeEndpoint: 'https://as.example/device/code',
    pollEndpoint: 'https://login.example/device/poll',
    verificationUri: 'https://as.example/device',
    redirectUri: 'https://as.example/device/callback',
    origins: ['https://login.example'],
    encoding: 'json',
    codeParameters: ['client_id'],
    pollParameters: ['device_code', 'user_code'],
    members: { user_code: ['user_code', 'usercode'], code: ['authorization_code'] },
    pendingStatuses: [403, 404],
    disabledStatuses: [404],
    lifetimeMs: 900_000,
  },
}

async function refusal(promise: Promise<unknown>): Promise<AuthkeepError<'provider_invalid'>> {
  const error: unknown = await promise.then(
    () => null,
    (reason: unknown) => reason,
  )
  if (!isAuthkeepError(error, 'provider_invalid')) throw new Error(`not provider_invalid: ${inspect(error)}`)
  return error
}
const problems = async (data: unknown): Promise<readonly string[]> =>
  (await refusal(parseProvider(data))).detail.problems
/** The complete provider with one member at a path set to something else. */
function having(path: string, value: unknown): unknown {
  const copy = structuredClone(complete) as unknown as Record<string, unknown>
  const steps = path.split('.')
  let place = copy
  for (const step of steps.slice(0, -1)) place = place[step] as Record<string, unknown>
  place[steps.at(-1) ?? ''] = value
  return copy
}

describe('a provider', () => {
  it.each([
    ['with nothing but what it needs', minimal],
    ['with every member', complete],
    ['on loopback', { ...minimal, issuer: 'http://127.0.0.1:8080', endpoints: [{ url: 'http://localhost:9000/*' }] }],
    ['with rotation by name', { ...minimal, refresh: { rotation: 'none' } }],
  ])('%s comes back as it went in', async (_, provider) => {
    expect(await parseProvider(JSON.parse(JSON.stringify(provider)))).toEqual(provider)
  })

  it.each([
    ['id', 'acme:work', /^id: must be a word without a colon$/],
    ['issuer', 'http://as.example', /^issuer: must be an https URL/],
    ['issuer', 'as.example', /^issuer: must be an https URL/],
    ['client', 'cli', /^client: must be an object$/],
    ['client.id', '', /^client.id: must be a non-empty string$/],
    ['client.authentication', 'basic', /^client.authentication: must be one of none, client_secret_post/],
    ['scopes', 'files:read', /^scopes: must be a list$/],
    ['scopes', ['files:read mail:read'], /^scopes.0: must be one scope, without spaces$/],
    ['redirect.host', '0.0.0.0', /^redirect.host: must be one of/],
    ['redirect.ports', [], /^redirect.ports: must name a port$/],
    ['redirect.ports', [70_000], /^redirect.ports.0: must be a port$/],
    ['redirect.ports', ['80'], /^redirect.ports.0: must be a port$/],
    ['redirect.path', 'callback', /^redirect.path: must begin with \//],
    ['authorization', { state: 'mine' }, /^authorization.state: is set by the login itself$/],
    [
      'authorization',
      { redirect_uri: 'https://evil.test' },
      /^authorization.redirect_uri: is set by the login itself$/,
    ],
    ['endpoints', {}, /^endpoints: must be a list$/],
    ['endpoints', [null], /^endpoints.0: must be an object$/],
    ['endpoints.0.url', 'https://*.com/', /^endpoints.0.url: may have a star only/],
    ['endpoints.0.accepts', ['password'], /^endpoints.0.accepts.0: must be one of oauth, api_key, token$/],
    ['endpoints.0.resource', 'files', /^endpoints.0.resource: must be an absolute URL/],
    ['endpoints.0.headers', { 'x-a': 'b\r\nx-c: d' }, /^endpoints.0.headers.x-a: must be one line$/],
    ['endpoints.0.headers', { 'x a': 'b' }, /^endpoints.0.headers.x a: is not a header name$/],
    ['endpoints.0.cookies', ['*'], /^endpoints.0.cookies.0: must be the name of a cookie/],
    ['endpoints.0.cookies', ['a*b'], /^endpoints.0.cookies.0: must be the name of a cookie/],
    ['apiKeyExchange.parameters', { grant_type: 'x' }, /^apiKeyExchange.parameters.grant_type: is set by the exchange/],
    ['apiKeyExchange.subject', 'code', /^apiKeyExchange.subject: must be one of id_token, access_token$/],
    ['refresh.rotation', 'sometimes', /^refresh.rotation: must be none, strict or/],
    ['refresh.rotation', { graceMs: -1 }, /^refresh.rotation.graceMs: must be milliseconds$/],
    ['refresh.rotation', { graceMS: 1 }, /^refresh.rotation: must be none, strict or/],
    ['refresh.narrowing', 'maybe', /^refresh.narrowing: must be one of/],
    ['deviceLogin', 'https://as.example/device', /^deviceLogin: must be an object$/],
    ['deviceLogin.codeEndpoint', 'http://as.example/c', /^deviceLogin.codeEndpoint: must be an https URL/],
    [
      'deviceLogin.codeEndpoint',
      'https://evil.test/c',
      /^deviceLogin.codeEndpoint: must be on the origin of the issuer/,
    ],
    [
      'deviceLogin.verificationUri',
      'https://as.example.evil.test',
      /^deviceLogin.verificationUri: must be on the origin/,
    ],
    ['deviceLogin.origins', [], /^deviceLogin.pollEndpoint: must be on the origin of the issuer or on one of/],
    ['deviceLogin.origins', ['https://login.example/x'], /^deviceLogin.origins.0: must be an origin, without a path$/],
    [
      'deviceLogin.codeParameters',
      ['client_secret'],
      /^deviceLogin.codeParameters.0: must be one of client_id, scope$/,
    ],
    ['deviceLogin.members.code', [], /^deviceLogin.members.code: must have a name$/],
    ['deviceLogin.pendingStatuses', [42], /^deviceLogin.pendingStatuses.0: must be an HTTP status$/],
    ['implies', { a: 'b' }, /^implies.a: must be a list$/],
    ['metadata', { token_endpoint: 'http://as.example/token' }, /^metadata.token_endpoint: must be an https URL/],
    ['metadata', { device_authorization_endpoint: 'http://as.example/d' }, /^metadata.device_authorization_endpoint: /],
  ])('whose %s is %j is told which rule it breaks', async (path, value, problem) => {
    const found = await problems(having(path, value))
    expect(found).toHaveLength(1)
    expect(found[0]).toMatch(problem)
  })

  it.each([
    ['issuers', /^issuers: is not a member, did you mean issuer\?$/],
    ['client.clientSecret', /^client.clientSecret: is not a member/],
    ['client.secrets', /^client.secrets: is not a member, did you mean secret\?$/],
    ['redirect.port', /^redirect.port: is not a member, did you mean ports\?$/],
    ['refresh.narowing', /^refresh.narowing: is not a member, did you mean narrowing\?$/],
    ['endpoints.0.resourse', /^endpoints.0.resourse: is not a member, did you mean resource\?$/],
    ['endpoints.0.accept', /^endpoints.0.accept: is not a member, did you mean accepts\?$/],
    ['deviceLogin.pollEndpont', /^deviceLogin.pollEndpont: is not a member, did you mean pollEndpoint\?$/],
    ['deviceLogin.members.usercode', /^deviceLogin.members.usercode: is not a member, did you mean user_code\?$/],
    ['endpoints.0.zzzzzz', /^endpoints.0.zzzzzz: is not a member \(known: url, scopes,/],
  ])('with a member %s is refused, because nobody would read it', async (path, problem) => {
    const found = await problems(having(path, 'x'))
    expect(found).toHaveLength(1)
    expect(found[0]).toMatch(problem)
  })

  it('with a member __proto__ is refused too', async () => {
    const data: unknown = JSON.parse('{"id":"a","issuer":"https://a.example","client":{"id":"c"},"__proto__":{"x":1}}')
    expect(await problems(data)).toEqual([expect.stringMatching(/^__proto__: is not a member/)])
  })

  it('with several mistakes hears of all of them', async () => {
    const found = await problems({ issuer: 'x', client: {}, endpoint: [] })
    expect(found.map((each) => each.slice(0, each.indexOf(':')))).toEqual(['id', 'issuer', 'client.id', 'endpoint'])
  })

  it('that authenticates with a secret must have one', async () => {
    const data = { ...minimal, client: { id: 'cli', authentication: 'client_secret_post' } }
    expect(await problems(data)).toEqual(['client.secret: is needed for client_secret_post'])
  })

  it.each([null, undefined, 7, 'acme', [], [minimal]])('is not %j', async (data) => {
    expect(await problems(data)).toEqual(['provider: must be an object'])
  })

  it('never hears its client secret back, whatever is wrong', async () => {
    const secret = 's3cr3t-value'
    const wrong = [
      having('client.secret', [secret]),
      having('client.secret', { value: secret }),
      having('client', secret),
      having('client', [secret]),
      having('issuer', null),
      having('client.authentication', secret),
    ]
    for (const data of wrong) {
      const error = await refusal(parseProvider(data, 'acme.json'))
      expect(inspect(error, { depth: Infinity, showHidden: true }) + JSON.stringify(error)).not.toContain(secret)
    }
  })

  it('is accepted or refused with provider_invalid, whatever the data', async () => {
    await fc.assert(
      fc.asyncProperty(fc.anything({ withNullPrototype: true }), async (data) => {
        await refusal(parseProvider(data))
        await refusal(parseProvider({ ...minimal, endpoints: [data] }))
        await refusal(parseProvider({ ...minimal, client: data }))
      }),
      { numRuns: 200 },
    )
  })
})

describe('the nearest name', () => {
  it.each([
    ['acne', 'acme'],
    ['ACME', 'acme'],
    ['goggle', 'google'],
    ['x', undefined],
    ['', undefined],
    ['completely-else', undefined],
  ])('to %j is %j', (word, name) => expect(nearestName(word, ['google', 'acme', 'openai'])).toBe(name))
})

describe('provider files', () => {
  let home: string
  let dir: string
  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'authkeep-providers-'))
    dir = join(home, 'providers')
  })
  afterEach(() => rm(home, { recursive: true, force: true }))
  const put = async (name: string, text: string): Promise<string> => {
    await mkdir(dir, { recursive: true })
    await writeFile(join(dir, name), text)
    return join(dir, name)
  }

  it('are written privately and read back the same', async () => {
    expect(await saveProvider(dir, complete)).toBe(true)
    expect((await stat(dir)).mode & 0o777).toBe(0o700)
    expect((await stat(join(dir, 'acme.json'))).mode & 0o777).toBe(0o600)
    expect(await loadProvider(join(dir, 'acme.json'))).toEqual(complete)
    expect(await loadProviders(dir)).toEqual({ providers: [complete], problems: [] })
    expect(await readdir(dir)).toEqual(['acme.json'])
  })

  it('become private again when a public one is replaced', async () => {
    await chmod(await put('acme.json', JSON.stringify(minimal)), 0o644)
    await saveProvider(dir, complete, { replace: true })
    expect((await stat(join(dir, 'acme.json'))).mode & 0o777).toBe(0o600)
  })

  it('are left alone by the same provider in another spelling', async () => {
    const text = JSON.stringify(minimal)
    await put('acme.json', text)
    expect(await saveProvider(dir, minimal)).toBe(false)
    expect(await readFile(join(dir, 'acme.json'), 'utf8')).toBe(text)
  })

  it('are not replaced by another provider of the same id unless told so', async () => {
    await saveProvider(dir, minimal)
    const other = { ...minimal, endpoints: [{ url: 'https://evil.test/*' }] }
    expect((await refusal(saveProvider(dir, other))).message).toMatch(/would get its tokens/)
    expect(await loadProvider(join(dir, 'acme.json'))).toEqual(minimal)
    expect(await saveProvider(dir, other, { replace: true })).toBe(true)
    expect(await loadProvider(join(dir, 'acme.json'))).toEqual(other)
  })

  it('do not let a second file claim an id, whatever the files are called', async () => {
    await put('zebra.json', JSON.stringify(complete))
    expect((await refusal(saveProvider(dir, minimal, { replace: true }))).message).toMatch(/zebra\.json is called acme/)
    await put('acme.json', JSON.stringify(minimal))
    const { providers, problems } = await loadProviders(dir)
    expect(providers).toEqual([minimal])
    expect(problems.map((each) => each.message)).toEqual([expect.stringMatching(/zebra\.json.*acme is another file's/)])
  })

  it.each(['../acme', 'a/b', '.acme', 'a\\b'])('are not written for an id like %j', async (id) => {
    await refusal(saveProvider(dir, { ...minimal, id }))
    await expect(readdir(home)).resolves.toEqual([])
  })

  it('do not hide one another when one is malformed', async () => {
    await put('a.json', '{"id": "a", "client": {"secret": "s3cr3t-value"')
    await put('b.json', 'null')
    await put('c.json', JSON.stringify({ ...minimal, endpoints: [null] }))
    await put('d.json', JSON.stringify({ ...minimal, issuer: 'http://as.example' }))
    await put('e.json', JSON.stringify(minimal))
    await put('f.txt', 'not ours')
    await put('.g.json', 'an editor wrote this')
    await mkdir(join(dir, 'h.json'))
    await symlink('/nonexistent', join(dir, 'i.json'))
    const { providers, problems } = await loadProviders(dir)
    expect(providers).toEqual([minimal])
    expect(problems.map((each) => (each as AuthkeepError<'provider_invalid'>).detail.problems[0])).toEqual([
      'file: is not JSON',
      'provider: must be an object',
      'endpoints: must be objects',
      'issuer: must be an https URL (http only on loopback)',
      'file: cannot be read (EISDIR)',
      'file: does not exist',
    ])
    expect(inspect(problems, { depth: Infinity })).not.toContain('s3cr3t-value')
  })

  it('come in the order of their names, and none from a directory that does not exist', async () => {
    expect(await loadProviders(dir)).toEqual({ providers: [], problems: [] })
    for (const id of ['zebra', 'acme', 'middle']) await saveProvider(dir, { ...minimal, id })
    expect((await loadProviders(dir)).providers.map((each) => each.id)).toEqual(['acme', 'middle', 'zebra'])
  })

  it('are checked for unknown members only on request', async () => {
    await put('acme.json', JSON.stringify({ ...minimal, scope: ['x'] }))
    expect((await loadProviders(dir)).problems).toEqual([])
    expect((await loadProviders(dir, { full: true })).problems[0]?.message).toMatch(
      /scope: is not a member, did you mean scopes/,
    )
  })

  it('may begin with a byte order mark', async () => {
    const path = await put('acme.json', `\uFEFF${JSON.stringify(minimal)}`)
    expect(await loadProvider(path)).toEqual(minimal)
  })

  it('that cannot be read or are not JSON say so and quote nothing', async () => {
    const path = await put('acme.json', '{"client": {"secret": "s3cr3t-value}')
    const error = await refusal(loadProvider(path))
    expect(error.detail).toEqual({ source: path, problems: ['file: is not JSON'] })
    expect((await refusal(loadProvider(join(dir, 'none.json')))).detail.problems).toEqual(['file: does not exist'])
    expect((await refusal(loadProvider(dir))).detail.problems).toEqual(['file: cannot be read (EISDIR)'])
  })

  it('that cannot be written say why', async () => {
    await writeFile(dir, 'a file in the way')
    await expect(saveProvider(dir, minimal)).rejects.toMatchObject({ code: 'provider_invalid' })
    await rm(dir)
    await writeFile(join(home, 'blocked'), '')
    await expect(saveProvider(join(home, 'blocked', 'providers'), minimal)).rejects.toSatisfy(isAuthkeepError)
  })
})
