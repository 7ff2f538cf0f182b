import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generate } from 'selfsigned'
import { EnvHttpProxyAgent, fetch as undiciFetch } from 'undici'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type AuthorizationServer, startAuthorizationServer } from '../../examples/server/authorization-server.ts'
import { demoProvider } from '../../examples/server/demo-provider.ts'
import { completeLogin } from '../../examples/server/robot.ts'
import { openWeb } from '../../src/cli/proxy.ts'
import { classifyFailure } from '../../src/grant/classify.ts'
import { rejection } from '../grant/setup.ts'
import { ended, json, type Run, start } from './built.ts'
import { type ConnectProxy, startProxy } from './connect-proxy.ts'

const origin = 'https://as.authkeep.test'
const target = 'as.authkeep.test:443'
const password = 'pr0xy-s3cret'
const basic = `Basic ${Buffer.from(`me:${password}`).toString('base64')}`

let dir: string
let server: AuthorizationServer
let proxy: ConnectProxy
/** The robot's, so that what it asks is not counted. */
let browserProxy: ConnectProxy
let browser: EnvHttpProxyAgent
let authority: { readonly private: string; readonly cert: string }

const certified = async (by: typeof authority, extensions: Parameters<typeof generate>[1]) =>
  generate([{ name: 'commonName', value: 'a server of a test' }], {
    ...{ keyType: 'ec', algorithm: 'sha256', ca: { key: by.private, cert: by.cert } },
    ...extensions,
  })

const newAuthority = (value: string): Promise<typeof authority> =>
  generate([{ name: 'commonName', value }], {
    ...{ keyType: 'ec', algorithm: 'sha256' },
    extensions: [
      { name: 'basicConstraints', cA: true, critical: true },
      { name: 'keyUsage', keyCertSign: true, critical: true },
    ],
  })

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'authkeep-proxy-'))
  authority = await newAuthority('the authority of a test')
  await writeFile(join(dir, 'ca.pem'), authority.cert)
  const altNames = [{ type: 2 as const, value: 'as.authkeep.test' }]
  const leaf = await certified(authority, { extensions: [{ name: 'subjectAltName', altNames }] })
  server = await startAuthorizationServer({ tls: { key: leaf.private, cert: leaf.cert, origin } })
  proxy = await startProxy({ [target]: server.port })
  browserProxy = await startProxy({ [target]: server.port })
  const httpsProxy = `http://127.0.0.1:${browserProxy.port}`
  browser = new EnvHttpProxyAgent({ httpsProxy, httpProxy: '', noProxy: '', requestTls: { ca: authority.cert } })
})
afterAll(async () => {
  await browser.destroy()
  await Promise.all([server.stop(), proxy.stop(), browserProxy.stop()])
  await rm(dir, { recursive: true })
})

let home: string
beforeEach(async () => {
  proxy.answer = 200
  proxy.asked.length = 0
  server.reset({ everything: true })
  home = await mkdtemp(join(dir, 'home-'))
  await writeFile(join(home, 'demo.json'), JSON.stringify(demoProvider(server)))
  expect(await authkeep({}, 'providers', 'add', join(home, 'demo.json'))).toMatchObject({ code: 0 })
})

type Env = Readonly<Record<string, string>>

/** With nothing but these variables; nothing that is printed shows the password of the proxy, in whatever spelling. */
async function authkeep(env: Env, ...args: readonly string[]): Promise<Run> {
  const run = await ended(start(home, args, { env }))
  for (const secret of [password, basic]) expect(run.stdout + run.stderr).not.toContain(secret)
  return run
}

const trusting = (): Env => ({ NODE_EXTRA_CA_CERTS: join(dir, 'ca.pem') })
const through = (name = 'HTTPS_PROXY'): Env => ({ ...trusting(), [name]: `http://127.0.0.1:${proxy.port}` })

/** The robot's `fetch`. */
const browse = (async (url: URL, init: object) => {
  const response = await undiciFetch(url, { ...init, dispatcher: browser })
  return new Response(await response.text(), { status: response.status, headers: [...response.headers] })
}) as typeof fetch

async function login(env: Env): Promise<Run> {
  const child = start(home, ['login', 'demo', '--no-browser'], { env })
  let visit: Promise<unknown> | undefined
  let shown = ''
  child.stderr.on('data', (chunk: Buffer) => {
    shown += chunk.toString()
    const address = /^(https\S+)\n/m.exec(shown)?.[1]
    if (address === undefined || visit !== undefined) return
    visit = completeLogin(new URL(address), { fetch: browse })
  })
  const run = await ended(child)
  await visit
  return run
}

const error = (run: Run) =>
  (json(run) as { error: { code: string; message: string; next: string; detail: object } }).error
const targets = () => proxy.asked.map((each) => each.target)
const refreshed = () => server.counts().token['refresh_token'] ?? 0
/** What is stored of the login, as far as a refresh that was not sent must leave it alone. */
async function stored(): Promise<unknown> {
  interface Document {
    readonly credentials: Readonly<Record<string, { readonly grant: object; readonly lease: unknown }>>
  }
  const document = JSON.parse(await readFile(join(home, 'auth.json'), 'utf8')) as Document
  const { grant, lease } = document.credentials['demo:default'] ?? {}
  return { grant, lease: lease ?? null }
}

describe('through a proxy that alone knows the server', () => {
  it('a login, refreshes and a logout go, with its user and password, and nothing twice', async () => {
    // What makes Node 24 take the proxy by itself must not send anything through it once more.
    const env = { ...trusting(), NODE_USE_ENV_PROXY: '1', https_proxy: `http://me:${password}@127.0.0.1:${proxy.port}` }
    expect(await login(env)).toMatchObject({ code: 0 })
    for (const path of ['/mail', '/files']) {
      const run = await authkeep(env, 'token', `${origin}${path}`, '--min-ttl', '1000')
      expect(run).toMatchObject({ code: 0 })
    }
    expect(server.counts()).toMatchObject({ token: { authorization_code: 1, refresh_token: 2 }, reuse: 0 })
    expect(json(await authkeep(env, 'logout', 'demo', '--json'))).toMatchObject({ revoked: true, forgotten: true })
    expect(server.counts().revoked).toBe(1)
    expect(new Set(targets())).toEqual(new Set([target]))
    expect(new Set(proxy.asked.map(({ authorization }) => authorization))).toEqual(new Set([basic]))
  })

  it.each(['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy'])('of %s, doctor says which', async (name) => {
    const env = { ...trusting(), [name]: `http://me:${password}@127.0.0.1:${proxy.port}` }
    const { checks } = json(await authkeep(env, 'doctor', '--json')) as { checks: object[] }
    const finding = `${name} sends requests through 127.0.0.1:${proxy.port}`
    expect(checks).toContainEqual({ name: 'proxy', ok: true, finding })
    expect(checks).toContainEqual({
      ...{ name: 'network', ok: true },
      finding: expect.stringMatching(
        `^demo: as.authkeep.test answers in \\d+ ms, through the proxy 127.0.0.1:`,
      ) as string,
    })
    expect(targets()).toEqual([target])
  })

  it('that speaks TLS itself, if its authority is known', async () => {
    const altNames = [{ type: 7 as const, ip: '127.0.0.1' }]
    const known = await certified(authority, { extensions: [{ name: 'subjectAltName', altNames }] })
    const strange = await certified(await newAuthority('another one'), {
      extensions: [{ name: 'subjectAltName', altNames }],
    })
    const findings = []
    for (const { private: key, cert } of [known, strange]) {
      const secure = await startProxy({ [target]: server.port }, { key, cert })
      const env = { ...trusting(), HTTPS_PROXY: `https://127.0.0.1:${secure.port}` }
      // In one line again, however it was wrapped.
      findings.push((await authkeep(env, 'doctor')).stdout.replaceAll(/\n +/g, ' '))
      await secure.stop()
    }
    expect(findings[0]).toMatch(/ok {2}network .* through the proxy 127\.0\.0\.1:\d+/)
    expect(findings[1]).toMatch(/cannot be reached: the proxy 127\.0\.0\.1:\d+ failed with .*NODE_EXTRA_CA_CERTS/)
  })
})

describe('without the proxy', () => {
  it('the name is not known, and nothing else is wrong', async () => {
    expect(await login(through())).toMatchObject({ code: 0, stderr: expect.stringMatching(/^To log in/) as string })
    const run = await authkeep(trusting(), 'token', `${origin}/mail`, '--json')
    expect(run.code).toBe(75)
    expect(error(run)).toMatchObject({
      code: 'server_unavailable',
      detail: { cause: expect.stringMatching(/^(ENOTFOUND|EAI_AGAIN)$/) as string, sent: false },
    })
    expect(error(run).detail).not.toHaveProperty('proxy')
  })

  it.each(['as.authkeep.test', '.authkeep.test', 'other.test, as.authkeep.test:443', '*'])(
    'because NO_PROXY is %s, neither',
    async (except) => {
      const { checks } = json(await authkeep({ ...through(), NO_PROXY: except }, 'doctor', '--json')) as {
        checks: object[]
      }
      expect(checks).toContainEqual({
        ...{ name: 'network', ok: false },
        finding: expect.stringMatching(/as\.authkeep\.test cannot be reached: (ENOTFOUND|EAI_AGAIN)$/) as string,
      })
      expect(targets()).toEqual([])
    },
  )

  it('a server on this machine is asked, whatever the variables say', async () => {
    const local = await startAuthorizationServer()
    await writeFile(join(home, 'local.json'), JSON.stringify({ ...demoProvider(local), id: 'local' }))
    const env = { ...through(), HTTP_PROXY: `http://127.0.0.1:${proxy.port}`, NODE_USE_ENV_PROXY: '1' }
    await authkeep(env, 'providers', 'add', join(home, 'local.json'))
    const { stdout } = await authkeep(env, 'doctor')
    await local.stop()
    expect(stdout).toMatch(/ok {2}network +local: 127\.0\.0\.1:\d+ answers in \d+ ms\n/)
    expect(targets()).toEqual([target])
  })

  it('a stored token is printed, and undici is not loaded', async () => {
    expect(await login(through())).toMatchObject({ code: 0, stderr: expect.stringMatching(/^To log in/) as string })
    await writeFile(
      join(dir, 'loaded.mjs'),
      `import { createRequire } from 'node:module'
       const { cache } = createRequire(import.meta.url)
       process.on('exit', () => process.stderr.write(String(Object.keys(cache).some((each) => each.includes('undici')))))`,
    )
    const env = { ...through(), NODE_OPTIONS: `--import=${join(dir, 'loaded.mjs')}` }
    proxy.asked.length = 0
    expect(await authkeep(env, 'token', `${origin}/files`)).toMatchObject({ code: 0, stderr: 'false' })
    expect(targets()).toEqual([])
    // That this would be seen, if it were so.
    expect(await authkeep(env, 'token', `${origin}/mail`)).toMatchObject({ code: 0, stderr: 'true' })
  })
})

describe('a refresh that', () => {
  /** What `authkeep token` says where the way is blocked; the refresh token is as good as before. */
  async function blocked(env: Env, answer: ConnectProxy['answer'] = 200): Promise<ReturnType<typeof error>> {
    expect(await login(through())).toMatchObject({ code: 0, stderr: expect.stringMatching(/^To log in/) as string })
    const before = await stored()
    proxy.answer = answer
    const run = await authkeep(env, 'token', `${origin}/mail`, '--json')
    expect(run.code).toBe(75)
    expect(error(run)).toMatchObject({ code: 'server_unavailable', detail: { sent: false } })
    expect(refreshed()).toBe(0)
    expect(await stored()).toEqual(before)
    proxy.answer = 200
    expect(await authkeep(through(), 'token', `${origin}/mail`)).toMatchObject({ code: 0 })
    expect(server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
    return error(run)
  }

  /** The metadata is known, so that nothing but the refresh itself is on its way. */
  const declareMetadata = async (): Promise<void> => {
    const metadata = {
      token_endpoint: `${origin}/token`,
      authorization_endpoint: `${origin}/auth`,
      jwks_uri: `${origin}/jwks`,
      id_token_signing_alg_values_supported: ['ES256'],
    }
    await writeFile(join(home, 'demo.json'), JSON.stringify({ ...demoProvider(server), metadata }))
    await authkeep({}, 'providers', 'add', join(home, 'demo.json'), '--replace')
  }

  it.each([407, 502, 'hang up'] as const)('the proxy refuses (%s) was not sent', async (answer) => {
    for (const prepare of [async () => undefined, declareMetadata]) {
      await prepare()
      server.reset({ everything: true })
      const env = { ...through(), HTTPS_PROXY: `http://me:${password}@127.0.0.1:${proxy.port}` }
      const { message, next, detail } = await blocked(env, answer)
      const cause = answer === 'hang up' ? 'proxy_UND_ERR_SOCKET' : `proxy_${answer}`
      expect(detail).toMatchObject({ cause, proxy: `127.0.0.1:${proxy.port}` })
      const said = answer === 'hang up' ? 'failed with UND_ERR_SOCKET' : `refused with HTTP ${answer}`
      expect(message).toContain(`did not answer: the proxy 127.0.0.1:${proxy.port} ${said}.`)
      expect(next).toContain('HTTPS_PROXY')
    }
  })

  it('finds nobody where the proxy should be was not sent', async () => {
    const gone = await startProxy({})
    await gone.stop()
    const { message, detail } = await blocked({
      ...trusting(),
      HTTPS_PROXY: `http://me:${password}@127.0.0.1:${gone.port}`,
    })
    expect(detail).toMatchObject({ cause: 'proxy_ECONNREFUSED', proxy: `127.0.0.1:${gone.port}` })
    expect(message).toContain(`the proxy 127.0.0.1:${gone.port} failed with ECONNREFUSED`)
  })

  it('finds a server of an unknown authority was not sent, and what helps is named', async () => {
    await declareMetadata()
    const { message, next, detail } = await blocked({ HTTPS_PROXY: `http://127.0.0.1:${proxy.port}` })
    expect(detail).toMatchObject({ cause: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', proxy: `127.0.0.1:${proxy.port}` })
    expect(message).toContain(`UNABLE_TO_VERIFY_LEAF_SIGNATURE, through the proxy 127.0.0.1:${proxy.port}`)
    expect(next).toContain('NODE_EXTRA_CA_CERTS')
  })

  it('waits in a proxy that says nothing is not waited for, and was not sent', async () => {
    proxy.answer = 'say nothing'
    const web = openWeb({ HTTPS_PROXY: `http://127.0.0.1:${proxy.port}` }, { tunnelMs: 50 })
    const failure = classifyFailure(await rejection(web.fetch(`${origin}/token`, { method: 'POST', body: 'a=b' })))
    await web.close()
    const cause = 'proxy_UND_ERR_HEADERS_TIMEOUT'
    expect(failure).toEqual({ sent: false, cause, proxy: `127.0.0.1:${proxy.port}` })
    expect(targets()).toEqual([target])
  })
})

it.each([
  `http://me:${password}@proxy.example:nonsense`,
  `socks5://me:${password}@127.0.0.1:1`,
  `http://${password}%zz@127.0.0.1:1`,
])('what is no address of a proxy is a wrong use, and is not repeated', async (address) => {
  const run = await authkeep({ HTTPS_PROXY: address }, 'token', `${origin}/files`, '--json')
  expect(run.code).toBe(1)
  expect(error(run)).toMatchObject({ code: 'usage', message: expect.stringMatching(/^HTTPS_PROXY is not/) as string })
  const { checks } = json(await authkeep({ HTTPS_PROXY: address }, 'doctor', '--json')) as { checks: object[] }
  expect(checks).toContainEqual(expect.objectContaining({ name: 'proxy', ok: false }))
})
