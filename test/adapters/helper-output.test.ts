import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  awsKeys,
  dockerAnswer,
  environmentLine,
  execCredential,
  gitAnswer,
  googleSubject,
  headerLines,
  readGitRequest,
  registryUrls,
} from '../../src/adapters/helper-output.ts'
import type { AccessToken } from '../../src/broker/access-token.ts'
import { TokenBroker } from '../../src/broker/broker.ts'
import { Secret } from '../../src/credential.ts'
import type { Endpoint } from '../../src/endpoint.ts'
import type { Provider } from '../../src/provider.ts'
import { memoryBackend } from '../../src/store/backend.ts'
import { openStore } from '../../src/store/store.ts'

const later = Date.UTC(2100, 0, 2, 3, 4, 5, 678)

/** A token as the broker hands it out for a stored one. */
async function tokenOf(
  secret: string,
  { endpoint = {}, provider = {}, expiresAt = null }: Changes = {},
): Promise<AccessToken> {
  const key = { provider: 'acme', account: 'default' }
  const store = await openStore({ backend: memoryBackend() })
  const isKey = provider.apiKeyHeader !== undefined
  await store.update(key, () =>
    isKey
      ? { ...key, type: 'api_key', key: new Secret(secret) }
      : { ...key, type: 'token', token: new Secret(secret), expiresAt },
  )
  const endpoints = [{ url: 'https://api.example/*', accepts: ['token', 'api_key'] as const, ...endpoint }]
  const acme = { id: 'acme', issuer: 'https://as.example', client: { id: 'c' }, endpoints, ...provider }
  return new TokenBroker({ store, providers: [acme], environment: {} }).getToken('https://api.example/x')
}
interface Changes {
  readonly endpoint?: Partial<Endpoint>
  readonly provider?: Partial<Provider>
  readonly expiresAt?: number | null
}

const dpop = { type: 'DPoP', expiresAt: null, reveal: () => 'at-secret' } as AccessToken

describe('a token that is proven for each request', () => {
  it.each([
    ['header', headerLines],
    ['env', (token: AccessToken) => environmentLine(token, 'T')],
    ['k8s', (token: AccessToken) => execCredential(token, undefined)],
    ['git', (token: AccessToken) => gitAnswer(token)],
    ['docker', (token: AccessToken) => dockerAnswer(token, 'ghcr.example')],
    ['aws', awsKeys],
    ['google', googleSubject],
  ])('is not printed as %s', async (_, print) => {
    await expect((async () => print(dpop))()).rejects.toMatchObject({ code: 'not_supported' })
  })
})

describe('a credential with a line break in it', () => {
  it.each([
    ['header', headerLines],
    ['env', (token: AccessToken) => environmentLine(token, 'T')],
    ['git', (token: AccessToken) => gitAnswer(token)],
  ])('begins no line of its own in %s', async (_, print) => {
    for (const secret of ['a\nhost=evil.example', 'a\rb', 'a\0b']) {
      const token = await tokenOf(secret)
      await expect((async () => print(token))()).rejects.toMatchObject({ code: 'not_supported' })
    }
  })
})

describe('header', () => {
  it('is every line that the endpoint wants, in the header that the provider names', async () => {
    expect(await headerLines(await tokenOf('t'))).toBe('Authorization: Bearer t\n')
    const headers = { 'Acme-Version': '1' }
    expect(await headerLines(await tokenOf('t', { endpoint: { headers } }))).toBe(
      'Authorization: Bearer t\nAcme-Version: 1\n',
    )
    expect(await headerLines(await tokenOf('t', { provider: { apiKeyHeader: 'x-api-key' } }))).toBe('x-api-key: t\n')
  })
})

describe('env', () => {
  it('is unquoted where nothing needs it', async () => {
    expect(environmentLine(await tokenOf('eyJ.a-b_c+/='), 'TOKEN')).toBe('TOKEN=eyJ.a-b_c+/=\n')
  })

  it('is read back by a shell as it was, whatever it is', async () => {
    const secrets = fc
      .sample(fc.string({ unit: 'grapheme', minLength: 1 }), 60)
      .filter((each) => !/[\r\n\0]/.test(each))
    const hostile = [
      "'; echo evil; '",
      '$(echo evil)',
      '`echo evil`',
      '\\',
      '"',
      '!!',
      '~',
      'a:~',
      '=ls',
      '*',
      '# x',
      "a'b''c",
    ]
    for (const secret of [...hostile, ...secrets.map((each) => Buffer.from(each).toString())]) {
      const line = environmentLine(await tokenOf(secret), 'TOKEN')
      const script = `export ${line}printf %s "$TOKEN"`
      expect(execFileSync('sh', ['-c', script], { encoding: 'utf8' })).toBe(secret)
    }
  })
})

describe('k8s', () => {
  const info = (apiVersion: string): string =>
    JSON.stringify({ apiVersion, kind: 'ExecCredential', spec: { interactive: false } })

  it.each(['client.authentication.k8s.io/v1', 'client.authentication.k8s.io/v1beta1'])(
    'answers %s',
    async (version) => {
      const token = await tokenOf('t', { expiresAt: later })
      expect(JSON.parse(execCredential(token, info(version)))).toEqual({
        apiVersion: version,
        kind: 'ExecCredential',
        status: { token: 't', expirationTimestamp: '2100-01-02T03:04:05Z' },
      })
    },
  )

  it('says no time where none is known, or none that RFC 3339 can say', async () => {
    for (const expiresAt of [null, 1e15, 1e17]) {
      const { status } = JSON.parse(execCredential(await tokenOf('t', { expiresAt }), undefined)) as { status: object }
      expect(status).toEqual({ token: 't' })
    }
  })

  it.each(['{}', 'no', 'null', info('client.authentication.k8s.io/v1alpha1'), info('v1')])(
    'refuses what it does not know: %s',
    async (given) => {
      const token = await tokenOf('t')
      expect(() => execCredential(token, given)).toThrow(expect.objectContaining({ code: 'not_supported' }))
    },
  )
})

describe('what git asks', () => {
  const ask = (...lines: readonly string[]): ReturnType<typeof readGitRequest> =>
    readGitRequest(`${lines.join('\n')}\n\n`)

  it('is a URL, and what it can send', () => {
    expect(ask('protocol=https', 'host=git.example:8443', 'path=team/a.git', 'username=me')).toMatchObject({
      url: new URL('https://git.example:8443/team/a.git'),
      ...{ username: 'me', takesScheme: false, schemes: null },
    })
    expect(
      ask(
        'capability[]=authtype',
        'capability[]=state',
        'protocol=https',
        'host=a.example',
        'wwwauth[]=Basic realm="x"',
      ),
    ).toMatchObject({ takesScheme: true, schemes: ['basic'] })
    expect(ask('capability[]=authtype', 'capability[]=', 'protocol=https', 'host=a.example')).toMatchObject({
      takesScheme: false,
    })
  })

  it.each([
    ['another protocol', 'ssh', 'git.example', ''],
    ['no host', 'https', '', ''],
    ['a user in the host', 'https', 'evil@git.example', ''],
    ['a password in the host', 'https', 'a:b@git.example', ''],
    ['a path in the host', 'https', 'git.example/x', ''],
    ['a backslash', 'https', 'git.example\\.evil.example', ''],
    ['a fragment', 'https', 'git.example#.evil.example', ''],
    ['a query', 'https', 'git.example?.evil.example', ''],
    ['a blank', 'https', 'git.example evil.example', ''],
    ['a tab', 'https', 'git.exam\tple', ''],
    ['a carriage return', 'https', 'git.example\r', ''],
    ['an escape', 'https', '%67it.example', ''],
    ['letters that only look Latin', 'https', 'g\u0456t.example', ''],
    ['wide letters', 'https', '\uFF47it.example', ''],
    ['a NUL', 'https', 'git.example\0', ''],
    ['a NUL in the path', 'https', 'git.example', 'a\0b'],
    ['a backslash in the path', 'https', 'git.example', 'team\\..\\other'],
  ])('is nothing with %s', (_, protocol, host, path) => {
    expect(ask(`protocol=${protocol}`, `host=${host}`, `path=${path}`)).toBeNull()
  })

  it('is nothing with a line that is not key=value', () => {
    expect(ask('protocol=https', 'host=git.example', 'evil')).toBeNull()
    expect(ask('protocol=https', 'host=git.example', '=evil')).toBeNull()
  })

  it('keeps a path in its place', () => {
    expect(ask('protocol=https', 'host=git.example', 'path=a?b#c')?.url.pathname).toBe('/a%3Fb%23c')
  })
})

describe('what git is told', () => {
  const request = (...lines: readonly string[]): NonNullable<ReturnType<typeof readGitRequest>> => {
    const read = readGitRequest(['protocol=https', 'host=api.example', ...lines, ''].join('\n'))
    if (read === null) throw new Error('no request')
    return read
  }
  const scheme = 'capability[]=authtype'
  const bearer = 'capability[]=authtype\nauthtype=Bearer\ncredential=t\nephemeral=1\n'

  it.each([
    ['an old git', [], {}, 'username=x-access-token\npassword=t\n'],
    ['an old git, at a host with a user name', [], { username: 'oauth2' }, 'username=oauth2\npassword=t\n'],
    ['a user who is named', ['username=me'], {}, 'username=me\npassword=t\n'],
    ['a git that sends schemes', [scheme], {}, bearer],
    ['a server that wants Bearer', [scheme, 'wwwauth[]=Basic x', 'wwwauth[]=bearer realm="y"'], {}, bearer],
    ['a server that wants Basic', [scheme, 'wwwauth[]=Basic realm="x"'], {}, 'username=x-access-token\npassword=t\n'],
    ['a host with a user name', [scheme], { username: 'oauth2' }, 'username=oauth2\npassword=t\n'],
    ['one that wants Bearer all the same', [scheme, 'wwwauth[]=Bearer'], { username: 'oauth2' }, bearer],
  ])('%s', async (_, lines, endpoint, expected) => {
    expect(await gitAnswer(await tokenOf('t', { endpoint }), request(...lines))).toBe(expected)
  })

  it('says when it expires, in seconds', async () => {
    expect(await gitAnswer(await tokenOf('t', { expiresAt: later }))).toContain('\npassword_expiry_utc=4102542245\n')
  })

  it('a key that goes into a header of its own is no bearer token', async () => {
    const token = await tokenOf('t', { provider: { apiKeyHeader: 'x-api-key' } })
    expect(await gitAnswer(token, request(scheme))).toBe('username=x-access-token\npassword=t\n')
  })
})

describe('docker', () => {
  it.each([
    ['ghcr.example', ['https://ghcr.example/v2/']],
    ['https://index.docker.example/v1/', ['https://index.docker.example/v1/']],
    ['ghcr.example:5000/team', ['https://ghcr.example:5000/team']],
    ['localhost:5000', ['https://localhost:5000/v2/', 'http://localhost:5000/v2/']],
    ['127.0.0.1:5000', ['https://127.0.0.1:5000/v2/', 'http://127.0.0.1:5000/v2/']],
    ['http://ghcr.example', ['http://ghcr.example/v2/']],
    ['127.0.0.1.evil.example', ['https://127.0.0.1.evil.example/v2/']],
    ['evil@ghcr.example', []],
    ['https://evil@ghcr.example', []],
    ['ghcr.example\\@evil.example', []],
    ['ghcr.example\nevil.example', []],
    ['ghcr.example/a\nb', []],
    ['ghcr.example\0', []],
    ['ghcr.example#evil', []],
    ['ftp://ghcr.example', []],
    ['', []],
  ])('%j is at %j', (server, urls) => {
    expect(registryUrls(server).map(({ href }) => href)).toEqual(urls)
  })

  it('is told server, user and secret', async () => {
    const token = await tokenOf('t', { endpoint: { username: 'oauth2accesstoken' } })
    expect(JSON.parse(dockerAnswer(token, 'ghcr.example'))).toEqual({
      ...{ ServerURL: 'ghcr.example', Username: 'oauth2accesstoken', Secret: 't' },
    })
  })
})

describe('aws', () => {
  const keys = { AccessKeyId: 'AKIA', SecretAccessKey: 's', SessionToken: 'st' }

  it('prints a stored credential that is keys', async () => {
    const token = await tokenOf(JSON.stringify({ ...keys, Else: 1 }), { expiresAt: later })
    expect(JSON.parse(awsKeys(token))).toEqual({ Version: 1, ...keys, Expiration: '2100-01-02T03:04:05Z' })
    const own = await tokenOf(JSON.stringify({ ...keys, Expiration: '2099-01-01T00:00:00Z' }), { expiresAt: later })
    expect(JSON.parse(awsKeys(own))).toMatchObject({ Expiration: '2099-01-01T00:00:00Z' })
  })

  it.each(['at-secret', 'null', '[]', '{"AccessKeyId":"AKIA"}', '{"AccessKeyId":1,"SecretAccessKey":2}'])(
    'says of %s that it is none',
    async (secret) => {
      const token = await tokenOf(secret)
      expect(() => awsKeys(token)).toThrow(expect.objectContaining({ code: 'not_supported' }))
    },
  )
})

describe('google', () => {
  const jwt = (claims: object): string =>
    ['{"alg":"none"}', JSON.stringify(claims), ''].map((part) => Buffer.from(part).toString('base64url')).join('.')

  it('is a JWT, and when it expires', async () => {
    const secret = jwt({ exp: 4_102_542_245 })
    for (const expiresAt of [null, later]) {
      expect(JSON.parse(googleSubject(await tokenOf(secret, { expiresAt })))).toEqual({
        ...{ version: 1, success: true, token_type: 'urn:ietf:params:oauth:token-type:jwt', id_token: secret },
        expiration_time: 4_102_542_245,
      })
    }
  })

  it('is no opaque token', async () => {
    const token = await tokenOf('at-secret')
    expect(() => googleSubject(token)).toThrow(expect.objectContaining({ code: 'not_supported' }))
  })
})
