import { execFile, spawn, spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ended, json, type Run, start } from './built.ts'

let home: string
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'authkeep-helpers-'))
  await mkdir(join(home, 'providers'))
  await declare('acme', [
    { url: 'https://git.example/team/*' },
    { url: 'https://ghcr.example/*', username: 'oauth2' },
    { url: 'https://cluster.example/' },
  ])
  await login({ provider: 'acme', account: 'work' })
})
afterEach(() => rm(home, { recursive: true, force: true }))

async function declare(id: string, endpoints: readonly object[]): Promise<void> {
  const issuer = 'http://127.0.0.1:9'
  const metadata = { issuer, token_endpoint: `${issuer}/token` }
  const provider = { id, issuer, client: { id: 'cli' }, metadata, endpoints }
  await writeFile(join(home, `providers/${id}.json`), JSON.stringify(provider))
}

async function login(...entries: readonly { readonly provider: string; readonly account: string }[]): Promise<void> {
  const token = { type: 'token', token: 'at-secret', expiresAt: 4_102_542_245_678 }
  const credentials = Object.fromEntries(
    entries.map((entry) => [`${entry.provider}:${entry.account}`, { ...token, ...entry }]),
  )
  await writeFile(join(home, 'auth.json'), JSON.stringify({ version: 1, credentials }))
}

const authkeep = (args: readonly string[], input = '', env: Readonly<Record<string, string>> = {}): Promise<Run> =>
  ended(start(home, args, { env }), input)

describe('authkeep token --format', () => {
  const token = (...args: readonly string[]): Promise<Run> => authkeep(['token', 'https://cluster.example/', ...args])

  it.each([
    ['raw', 'at-secret\n'],
    ['header', 'Authorization: Bearer at-secret\n'],
    ['env', 'AUTHKEEP_TOKEN=at-secret\n'],
    ['git', 'username=x-access-token\npassword=at-secret\npassword_expiry_utc=4102542245\n'],
    ['docker', '{"ServerURL":"https://cluster.example/","Username":"x-access-token","Secret":"at-secret"}\n'],
  ])('%s', async (format, stdout) => {
    expect(await token('--format', format)).toEqual({ code: 0, stdout, stderr: '' })
  })

  it('json is what --json prints', async () => {
    expect((await token('--format', 'json')).stdout).toBe((await token('--json')).stdout)
  })

  it('env takes the name of the variable', async () => {
    expect((await token('--format', 'env', '--env', 'KUBE_TOKEN')).stdout).toBe('KUBE_TOKEN=at-secret\n')
  })

  it('k8s answers in the version that is asked for', async () => {
    const apiVersion = 'client.authentication.k8s.io/v1beta1'
    const env = { KUBERNETES_EXEC_INFO: JSON.stringify({ apiVersion, kind: 'ExecCredential', spec: {} }) }
    const run = await authkeep(['token', 'https://cluster.example/', '--format', 'k8s'], '', env)
    expect(json(run)).toMatchObject({ apiVersion, status: { expirationTimestamp: '2100-01-02T03:04:05Z' } })
    const other = { KUBERNETES_EXEC_INFO: '{"apiVersion":"client.authentication.k8s.io/v9"}' }
    const refused = await authkeep(['token', 'https://cluster.example/', '--format', 'k8s'], '', other)
    expect(refused).toMatchObject({ code: 1, stdout: '' })
    expect(refused.stderr).toContain('client.authentication.k8s.io/v9')
    expect(refused.stderr).not.toContain('at-secret')
  })

  it.each([
    [['--format', 'xml'], '--format takes one of raw, header, json, env, k8s, git, docker, aws, google.'],
    [['--format', 'toString'], '--format takes one of'],
    [['--env', 'X'], '--env is for --format env.'],
    [['--format', 'env', '--env', 'a=b'], '--env takes the name of an environment variable.'],
  ])('%j is refused', async (args, sentence) => {
    const run = await token(...args)
    expect(run).toMatchObject({ code: 1, stdout: '' })
    expect(run.stderr).toContain(sentence)
  })

  it('and --json exclude each other', async () => {
    expect(json(await token('--format', 'k8s', '--json'))).toMatchObject({ error: { code: 'usage' } })
  })

  it.each(['aws', 'google'])('%s says why a bearer token is of no use', async (format) => {
    const run = await token('--format', format)
    expect(run.stdout + run.stderr).toMatch(/AWS keys|opaque token/)
    expect(run.stdout + run.stderr).not.toContain('at-secret')
    if (format === 'google') expect(json(run)).toMatchObject({ version: 1, success: false, code: 'not_supported' })
    else expect(run).toMatchObject({ code: 1, stdout: '' })
  })

  it('google tells of a login that is needed as Google wants it, and ends with 0', async () => {
    await login()
    const run = await token('--format', 'google')
    expect(run).toMatchObject({ code: 0, stderr: '' })
    expect(json(run)).toMatchObject({ version: 1, success: false, code: 'authorization_required' })
  })
})

/** A folder with `authkeep`, and the helpers by the names under which others look for them, as npm links them. */
async function binaries(): Promise<string> {
  const manifest = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8')) as {
    bin: Readonly<Record<string, string>>
  }
  const folder = join(home, 'bin')
  await mkdir(folder)
  for (const [name, path] of Object.entries(manifest.bin)) {
    await symlink(fileURLToPath(new URL(`../../${path}`, import.meta.url)), join(folder, name))
  }
  return `${folder}:${process.env['PATH'] ?? ''}`
}

describe('authkeep git-credential', () => {
  const get = (lines: readonly string[], ...args: readonly string[]): Promise<Run> =>
    authkeep(['git-credential', 'get', ...args], `${lines.join('\n')}\n\n`)
  const nothing = { code: 0, stdout: '', stderr: '' }

  it('serves what an endpoint declares', async () => {
    expect(await get(['protocol=https', 'host=git.example', 'path=team/a.git'])).toEqual({
      ...nothing,
      stdout: 'username=x-access-token\npassword=at-secret\npassword_expiry_utc=4102542245\n',
    })
  })

  it.each([
    ['another host', ['protocol=https', 'host=evil.example', 'path=team/a.git']],
    ['a host that begins alike', ['protocol=https', 'host=git.example.evil.example', 'path=team/a.git']],
    ['another port', ['protocol=https', 'host=git.example:444', 'path=team/a.git']],
    ['another path', ['protocol=https', 'host=git.example', 'path=other/a.git']],
    ['a path that leads elsewhere', ['protocol=https', 'host=git.example', 'path=team/../other/a.git']],
    ['a path that leads elsewhere, encoded', ['protocol=https', 'host=git.example', 'path=team/%2e%2e%2fother/a.git']],
    ['plain http', ['protocol=http', 'host=git.example', 'path=team/a.git']],
    ['ssh', ['protocol=ssh', 'host=git.example', 'path=team/a.git']],
    ['a user in the host', ['protocol=https', 'host=me@git.example', 'path=team/a.git']],
    ['a host as a user', ['protocol=https', 'host=git.example@evil.example', 'path=team/a.git']],
    ['a backslash', ['protocol=https', 'host=git.example\\@evil.example', 'path=team/a.git']],
    ['a second host in a line of its own', ['protocol=https', 'host=git.example', 'host=evil.example', 'path=team/a']],
    ['a NUL', ['protocol=https', 'host=git.example\0', 'path=team/a.git']],
    ['no host at all', ['protocol=https']],
  ])('says nothing for %s', async (_, lines) => {
    expect(await get(lines)).toEqual(nothing)
  })

  it.each(['store', 'erase', 'capability', 'frobnicate'])('%s is done by doing nothing', async (action) => {
    const before = await readFile(join(home, 'auth.json'), 'utf8')
    const lines = 'protocol=https\nhost=git.example\npath=team/a\nusername=u\npassword=at-secret\n'
    expect(await authkeep(['git-credential', action], lines)).toEqual(nothing)
    expect(await readFile(join(home, 'auth.json'), 'utf8')).toBe(before)
  })

  it('says on stderr which login is needed, and nothing on stdout, so that git asks on', async () => {
    await login()
    const run = await get(['protocol=https', 'host=git.example', 'path=team/a.git'])
    expect(run).toMatchObject({ code: 4, stdout: '' })
    expect(run.stderr).toContain('authkeep login acme')
  })

  it('asks which account is meant, and takes the answer', async () => {
    await login({ provider: 'acme', account: 'work' }, { provider: 'acme', account: 'home' })
    const lines = ['protocol=https', 'host=git.example', 'path=team/a.git']
    expect(await get(lines)).toMatchObject({ code: 1, stdout: '' })
    expect((await get(lines, '--account', 'home')).stdout).toContain('password=at-secret')
  })
})

const gitVersion = /(\d+)\.(\d+)/.exec(String(spawnSync('git', ['--version']).stdout))
const hasGit = gitVersion !== null
const sendsSchemes = hasGit && Number(gitVersion[1]) * 100 + Number(gitVersion[2]) >= 246

describe.runIf(hasGit)('the real git', () => {
  let server: Server
  let origin: string
  let seen: (string | undefined)[]
  /** How the server asks, and what it takes. */
  let realm: 'Basic' | 'Bearer'
  let env: NodeJS.ProcessEnv
  const accepted = {
    Basic: `Basic ${Buffer.from('oauth2:at-secret').toString('base64')}`,
    Bearer: 'Bearer at-secret',
  }

  beforeEach(async () => {
    seen = []
    realm = 'Basic'
    env = {
      PATH: await binaries(),
      HOME: home,
      AUTHKEEP_HOME: home,
      GIT_CONFIG_NOSYSTEM: '1',
      GIT_TERMINAL_PROMPT: '0',
    }
    const root = join(home, 'served')
    server = createServer((request, response) => {
      const { url = '/', headers } = request
      seen.push(headers.authorization)
      if (headers.authorization !== accepted[realm]) {
        response.writeHead(401, { 'www-authenticate': `${realm} realm="git"` }).end()
        return
      }
      readFile(join(root, normalize(new URL(url, 'http://x').pathname))).then(
        (content) => response.end(content),
        () => response.writeHead(404).end(),
      )
    }).listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    await declare('forge', [{ url: `${origin}/*`, username: 'oauth2' }])
    await login({ provider: 'forge', account: 'default' })
    const work = join(home, 'work')
    const identity = ['-c', 'user.name=a', '-c', 'user.email=a@b.example', '-c', 'init.defaultBranch=main']
    await git([...identity, 'init', '-q', work])
    await writeFile(join(work, 'file'), 'content\n')
    await git(['-C', work, 'add', 'file'])
    await git(['-C', work, ...identity, 'commit', '-q', '-m', 'one'])
    await git(['clone', '-q', '--bare', work, join(root, 'team/a.git')])
    await git(['-C', join(root, 'team/a.git'), 'update-server-info'])
  })
  afterEach(() => void server.close())

  const git = async (args: readonly string[]): Promise<string> =>
    (await promisify(execFile)('git', [...args], { env })).stdout
  const fill = async (lines: readonly string[]): Promise<string> => {
    const child = spawn('git', ['-c', 'credential.helper=authkeep', 'credential', 'fill'], { env })
    return (await ended(child, `${lines.join('\n')}\n\n`)).stdout
  }

  it.each([
    ['authkeep', 'the name of the helper'],
    ['!authkeep git-credential', 'a command line'],
  ])('clones with credential.helper = %s, %s', async (helper) => {
    await git(['-c', `credential.helper=${helper}`, 'clone', '-q', `${origin}/team/a.git`, join(home, 'clone')])
    expect(await readFile(join(home, 'clone/file'), 'utf8')).toBe('content\n')
    expect(new Set(seen)).toEqual(new Set([undefined, accepted.Basic]))
  })

  it('is refused without the helper: the server is a real test', async () => {
    await expect(git(['ls-remote', `${origin}/team/a.git`])).rejects.toThrow()
  })

  it('goes on to the next helper for a host that nobody declares', async () => {
    const other = '!f() { test "$1" = get && printf \'username=u\\npassword=p\\n\'; }; f'
    const args = ['-c', 'credential.helper=authkeep', '-c', `credential.helper=${other}`, 'credential', 'fill']
    const child = spawn('git', args, { env })
    const { stdout } = await ended(child, 'protocol=https\nhost=evil.example\n\n')
    expect(stdout).toContain('username=u\npassword=p\n')
    expect(stdout).not.toContain('at-secret')
  })

  it('fills a user and a password for an application that knows no schemes', async () => {
    const host = new URL(origin).host
    expect(await fill(['protocol=http', `host=${host}`])).toMatch(/^username=oauth2\npassword=at-secret$/m)
  })

  it.runIf(sendsSchemes)('shows a server that wants a bearer token one', async () => {
    realm = 'Bearer'
    const refs = await git(['-c', 'credential.helper=authkeep', 'ls-remote', `${origin}/team/a.git`, 'main'])
    expect(refs).toMatch(/^[0-9a-f]{40}\trefs\/heads\/main$/m)
    expect(new Set(seen)).toEqual(new Set([undefined, accepted.Bearer]))
  })

  it.runIf(sendsSchemes)('fills a scheme and a credential for an application that knows them', async () => {
    const host = new URL(origin).host
    const lines = ['capability[]=authtype', 'protocol=http', `host=${host}`, 'wwwauth[]=Bearer realm="git"']
    expect(await fill(lines)).toMatch(/^authtype=Bearer\ncredential=at-secret\nephemeral=1$/m)
  })
})

describe('authkeep docker-credential', () => {
  const docker = (action: string, input = ''): Promise<Run> => authkeep(['docker-credential', action], input)
  const notFound = { code: 1, stdout: 'credentials not found in native keychain\n', stderr: '' }

  it('get is what docker decodes', async () => {
    for (const input of ['ghcr.example', 'https://ghcr.example\n']) {
      const run = await docker('get', input)
      expect(run).toMatchObject({ code: 0, stderr: '' })
      expect(json(run)).toEqual({ ServerURL: input.trim(), Username: 'oauth2', Secret: 'at-secret' })
    }
  })

  it('is found by the name that docker looks for', async () => {
    const env = { PATH: await binaries(), HOME: home, AUTHKEEP_HOME: home }
    const name = 'docker-credential-authkeep'
    const run = await ended(spawn(name, ['get'], { env }), 'ghcr.example')
    expect(json(run)).toMatchObject({ Secret: 'at-secret' })
  })

  it.each([
    'evil.example',
    'ghcr.example.evil.example',
    'ghcr.example:444',
    'http://ghcr.example',
    'evil@ghcr.example',
    'ghcr.example@evil.example',
    'ghcr.example\\@evil.example',
    'ghcr.example\nevil.example',
    'ghcr.example\0',
    '',
  ])('get of %j is not found, exactly as docker wants it said', async (server) => {
    expect(await docker('get', server)).toEqual(notFound)
  })

  it('get says which login is needed, where docker and where a person looks', async () => {
    await login()
    const run = await docker('get', 'ghcr.example')
    expect(run.code).toBe(4)
    expect(run.stdout).toContain('acme')
    expect(run.stderr).toContain('authkeep login acme')
  })

  it('list is what a login is there for, where a user name is declared', async () => {
    expect(json(await docker('list', 'unused'))).toEqual({ 'ghcr.example': 'oauth2' })
    await login()
    expect(json(await docker('list', 'unused'))).toEqual({})
  })

  it.each(['store', 'erase', 'frobnicate'])('%s is refused in a sentence, and changes nothing', async (action) => {
    const before = await readFile(join(home, 'auth.json'), 'utf8')
    const run = await docker(action, '{"ServerURL":"ghcr.example","Username":"u","Secret":"at-other"}')
    expect(run.code).toBe(1)
    expect(run.stdout).toMatch(/authkeep login|can get, store/)
    expect(run.stdout + run.stderr).not.toContain('at-')
    expect(await readFile(join(home, 'auth.json'), 'utf8')).toBe(before)
  })
})

describe('authkeep secret-ref', () => {
  const secretRef = (request: unknown): Promise<Run> =>
    authkeep(['secret-ref'], typeof request === 'string' ? request : JSON.stringify(request))
  const url = 'https://git.example/team/x'

  it('answers each id: a URL, a provider, an account', async () => {
    const ids = [url, 'acme', 'acme:work', 'acme:home', 'https://evil.example/', 'nobody', 'https://', '__proto__']
    const run = await secretRef({ protocolVersion: 1, provider: 'authkeep', ids })
    expect(run.code).toBe(0)
    expect(json(run)).toEqual({
      protocolVersion: 1,
      values: { [url]: 'at-secret', acme: 'at-secret', 'acme:work': 'at-secret' },
      errors: Object.fromEntries(
        ['acme:home', 'https://evil.example/', 'nobody', 'https://', '__proto__'].map((id) => [
          id,
          { code: id === 'https://' ? 'INVALID_ID' : 'NOT_FOUND', message: expect.any(String) as string },
        ]),
      ),
    })
    expect(run.stderr).not.toContain('at-secret')
    expect(run.stderr.trimEnd().split('\n')).toHaveLength(5)
  })

  it.each(['', 'no', 'null', '{}', '{"protocolVersion":2,"ids":[]}', '{"protocolVersion":1,"ids":[1]}'])(
    'refuses %j',
    async (request) => {
      const run = await secretRef(request)
      expect(run).toMatchObject({ code: 1, stdout: '' })
      expect(run.stderr).toContain('stdin')
    },
  )
})
