import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, statSync, symlinkSync } from 'node:fs'
import { chmod, chown, cp, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Configuration } from 'oidc-provider'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { type AuthorizationServer, startAuthorizationServer } from '../../examples/server/authorization-server.ts'
import { demoProvider } from '../../examples/server/demo-provider.ts'
import { type ResourceServer, startResourceServer } from '../../examples/server/resource-server.ts'
import { completeLogin } from '../../examples/server/robot.ts'
import { withDeviceCodes } from '../grant/device-server.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const page = readFileSync(join(root, 'docs/containers.md'), 'utf8')
/** The commands of the page that have not been run yet. */
const left = new Set(
  [...page.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].flatMap(([, code = '']) => code.trim().split('\n')),
)
const clientSecret = 'a secret of the service'

interface Run {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}
interface Entry {
  grant: { generation: number; refreshToken: string }
  tokens: { expiresAt: number; accessToken: string }[]
  lease?: { sentAt: number | null } | null
}

let server: AuthorizationServer
let api: ResourceServer
/** What the person who types the commands has: the directory that they are in, and volumes. */
let here: string
let box: string
const volume = (...names: readonly string[]): string => join(box, 'volumes/authkeep', ...names)

/** Runs a command as a shell does. */
async function sh(line: string, hear: (text: string) => void = () => undefined): Promise<Run> {
  const env = { ...process.env, PATH: `${join(box, 'bin')}:${process.env['PATH'] ?? ''}`, BOX: box }
  const child = spawn('sh', ['-c', line], { cwd: here, env, stdio: ['ignore', 'pipe', 'pipe'] })
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
    hear(stdout)
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, stdout, stderr }
}

/** Runs the one command of the page that begins so; its API is ours. */
async function shown(begin: string, wrap: (line: string) => string = (line) => line): Promise<Run> {
  return sh(wrap(find(begin)))
}
function find(begin: string): string {
  const lines = [...page.matchAll(/^docker .*$/gm)].map(([line]) => line).filter((line) => line.startsWith(begin))
  if (lines.length !== 1) throw new Error(`${lines.length} commands begin with ${begin}`)
  left.delete(lines[0]!)
  return lines[0]!.replace('https://api.acme.example/files/report.txt', `${api.origin}/files`)
}

const entryIn = async (path: string): Promise<Entry> =>
  (JSON.parse(await readFile(path, 'utf8')) as { credentials: { 'acme:default': Entry } }).credentials['acme:default']

/** As if time had passed. */
async function expire(path: string): Promise<void> {
  const document = JSON.parse(await readFile(path, 'utf8')) as { credentials: { 'acme:default': Entry } }
  const entry = document.credentials['acme:default']
  for (const token of entry.tokens)
    Object.assign(token, { expiresAt: Date.now() - 1_000, accessToken: `expired.${token.accessToken}` })
  await writeFile(path, JSON.stringify(document))
}

/** What the volume holds, for a container that gets it in another way. */
async function copyOut(): Promise<void> {
  for (const name of ['auth.json', 'providers']) {
    await rm(join(here, name), { recursive: true, force: true })
    await cp(volume(name), join(here, name), { recursive: true })
  }
  await chown(join(here, 'auth.json'), 1000, 1000)
  await chown(join(here, 'providers'), 1000, 1000)
  for (const name of await readdir(join(here, 'providers'))) await chown(join(here, 'providers', name), 1000, 1000)
}

/** SIGKILL to process 1 of that container, now: asking for it takes longer than a commit. */
function killOther(): void {
  const { pid } = JSON.parse(readFileSync(join(box, 'other.json'), 'utf8')) as { pid: number }
  const children = `/proc/${pid}/task/${pid}/children`
  const one = existsSync(children) ? Number(readFileSync(children, 'utf8')) : 0
  if (one > 1) process.kill(one, 'SIGKILL')
}

const running = 'docker run --rm -v authkeep:/authkeep --entrypoint'
const token = (): string => `authkeep worker token ${api.origin}/files`
const alone = '-v "$PWD/providers:/authkeep/providers:ro" -v "$PWD/auth.json:/authkeep/auth.json'

// Several seconds, root and Linux: run by `npm run test:container`.
describe('docs/containers.md', () => {
  beforeAll(async () => {
    box = await mkdtemp(join(tmpdir(), 'authkeep-box-'))
    here = join(box, 'here')
    await chmod(box, 0o755)
    await mkdir(join(box, 'bin'))
    const docker = `#!/bin/sh\nexec '${process.execPath}' '${join(root, 'test/container/docker.mjs')}' "$@"\n`
    await writeFile(join(box, 'bin/docker'), docker, { mode: 0o755 })
    await cp(join(root, 'examples/container'), join(here, 'examples/container'), { recursive: true })
    const configure = (configuration: Configuration): Configuration => {
      const service = {
        ...{ client_id: 'service', client_secret: clientSecret, grant_types: ['client_credentials'] },
        ...{ response_types: [], redirect_uris: [], scope: 'files:read mail:read' },
        token_endpoint_auth_method: 'client_secret_post' as const,
      }
      const { clients = [], features, scopes = [], ttl, ...rest } = withDeviceCodes(configuration)
      return {
        ...rest,
        clients: [...clients, service],
        scopes: [...scopes, 'files:read', 'mail:read'],
        ttl: { ...ttl, ClientCredentials: 300 },
        features: { ...features, clientCredentials: { enabled: true } },
      }
    }
    server = await startAuthorizationServer({ configure })
    api = await startResourceServer({ authorizationServer: server })
    const demo = demoProvider(server, { api: api.origin })
    await writeFile(join(here, 'acme.json'), JSON.stringify({ ...demo, id: 'acme' }))
    await writeFile(join(here, 'key.txt'), 'sk-secret\n')

    left.delete('npm pack --pack-destination examples/container')
    const packed = await sh(`cd '${root}' && npm pack --ignore-scripts --pack-destination "$OLDPWD/examples/container"`)
    expect(packed).toMatchObject({ code: 0 })
    expect(await shown('docker build')).toMatchObject({ code: 0 })
    const added = await shown('docker run --rm -v authkeep:/authkeep -v "$PWD/acme.json')
    expect(added).toMatchObject({ code: 0, stderr: '' })
  }, 300_000)
  afterAll(async () => {
    await sh('docker kill worker; docker kill other')
    await Promise.all([server.stop(), api.stop()])
    await rm(box, { recursive: true, force: true })
  })
  beforeEach(() => server.reset())

  it('a named volume: a worker, a login from outside while it runs, and the next container has it', async () => {
    await shown('docker run -d', (line) => line.replace('-e ', '-e EVERY_MS=200 -e '))
    const log = (): Promise<string> => readFile(join(box, 'worker.log'), 'utf8')
    await vi.waitFor(async () => expect(await log()).toContain('authorize: '), 20_000)
    expect(await sh('docker exec worker HEALTHCHECK')).toMatchObject({ code: 0 })
    expect(await sh('docker exec worker authkeep login acme')).toMatchObject({ code: 4 })

    let visit: Promise<unknown> | undefined
    const login = await sh(`script -qec '${find('docker exec -it')}' /dev/null`, (text) => {
      const [, uri = '', code = ''] = /open (\S+)\s+and enter the code\s+(\S+)/.exec(text) ?? []
      if (code !== '') visit ??= completeLogin(new URL(`${uri}?user_code=${code}`))
    })
    await visit
    expect(login.stdout).toContain('Logged in to acme')
    expect(login.code).toBe(0)
    await vi.waitFor(async () => expect(await log()).toMatch(/^200$/m), 20_000)
    expect((await shown('docker exec worker')).stdout).toContain('acme')
    expect(await sh('docker exec worker HEALTHCHECK')).toMatchObject({ code: 0 })
    expect(await shown('docker stop')).toMatchObject({ code: 0 })
    expect((await sh(`${running} authkeep worker status`)).stdout).toContain('acme')
  })

  it('what is on it is private to the user of the image', async () => {
    const modes = [volume(), volume('auth.json'), volume('auth.json.bak')].map((path) => {
      const { uid, gid, mode } = statSync(path)
      return [uid, gid, (mode & 0o777).toString(8)]
    })
    expect(modes).toEqual([
      [1000, 1000, '700'],
      [1000, 1000, '600'],
      [1000, 1000, '600'],
    ])
  })

  it('three containers need a token: one refresh', async () => {
    await expire(volume('auth.json'))
    server.setTokenDelay(500)
    const runs = await Promise.all(Array.from({ length: 3 }, () => sh(`${running} ${token()}`)))
    server.setTokenDelay(0)
    expect(runs.map(({ code }) => code)).toEqual([0, 0, 0])
    expect(new Set(runs.map(({ stdout }) => stdout)).size).toBe(1)
    expect(server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
  })

  it.each([
    ['the command line', () => `--entrypoint ${token()}`, 2],
    ['the worker', () => `-e API_URL=${api.origin}/files worker`, 0],
  ])('SIGTERM to process 1 in a refresh, %s: it is finished and saved', async (_, program, code) => {
    await expire(volume('auth.json'))
    const { generation } = (await entryIn(volume('auth.json'))).grant
    server.fault({ slowMs: 2_000 })
    const run = sh(`docker run --name other -v authkeep:/authkeep ${program()}`)
    await vi.waitFor(
      async () => expect((await entryIn(volume('auth.json'))).lease?.sentAt).toBeTypeOf('number'),
      20_000,
    )
    expect(await sh('docker stop other')).toMatchObject({ code: 0 })
    expect(await run).toMatchObject({ code })
    const after = await entryIn(volume('auth.json'))
    expect([after.grant.generation, after.lease ?? null]).toEqual([generation + 1, null])
    expect(await sh(`${running} ${token()}`)).toMatchObject({ code: 0 })
    expect(server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
  })

  it('a read-only root: a refresh needs nothing but the volume', async () => {
    await expire(volume('auth.json'))
    const run = await shown('docker run --rm --read-only')
    expect(run).toMatchObject({ code: 0, stderr: '' })
    expect(server.counts()).toMatchObject({ token: { refresh_token: 1 } })
    const other = `docker run --rm --read-only -v authkeep:/authkeep --entrypoint sh worker -c 'touch /x || touch /tmp/x'`
    expect((await sh(other)).stderr).toMatch(/Read-only[\s\S]*Read-only/)
  })

  it('a user without an entry or a home, on a directory of its own', async () => {
    await mkdir(join(here, 'state'))
    expect(await shown('docker run --rm --user')).toMatchObject({ code: 0 })
    const mine = 'docker run --rm --user 12345:12345 -v "$PWD/state:/authkeep" --entrypoint'
    await cp(join(here, 'acme.json'), join(here, 'state/acme.json'))
    const strange = await sh(`${mine} authkeep worker providers add /authkeep/acme.json`)
    expect(strange.code).toBe(1)
    await chown(join(here, 'state'), 12345, 12345)
    expect(await sh(`${mine} authkeep worker providers add /authkeep/acme.json`)).toMatchObject({ code: 0 })
    const identity = await sh(`${mine} sh worker -c 'id -u; echo $HOME; whoami'`)
    expect(identity.stdout).toBe('12345\n/\n')
    expect(identity.stderr).toContain('cannot find name')
    const home = await sh(`${mine} sh worker -c 'AUTHKEEP_HOME= authkeep status'`)
    expect(home.stdout).toContain('/.config/authkeep/auth.json')
    const key = await sh(`${mine} authkeep worker login acme --api-key-stdin < key.txt`.replace('--rm', '--rm -i'))
    expect(key).toMatchObject({ code: 0 })
    const { uid, mode } = await stat(join(here, 'state/auth.json'))
    expect([uid, mode & 0o777]).toEqual([12345, 0o600])
    const denied = await sh(
      'docker run --rm --user 12345 -v authkeep:/authkeep --entrypoint authkeep worker status --json',
    )
    expect(denied.code).toBe(1)
    expect(JSON.parse(denied.stdout)).toMatchObject({ error: { code: 'store_failed', detail: { errno: 'EACCES' } } })
  })

  it('the file alone: refreshed in place, and the inode stays', async () => {
    await copyOut()
    await expire(join(here, 'auth.json'))
    const { ino } = await stat(join(here, 'auth.json'))
    const run = await shown(`docker run --rm ${alone}" --entrypoint authkeep worker token`)
    expect(run).toMatchObject({ code: 0, stderr: '' })
    expect(server.counts()).toMatchObject({ token: { refresh_token: 1 } })
    const after = await stat(join(here, 'auth.json'))
    expect([after.ino, after.uid, after.mode & 0o777]).toEqual([ino, 1000, 0o600])
    expect((await readdir(here)).filter((name) => name.startsWith('auth.json'))).toEqual(['auth.json'])
    expect(await sh(`docker run --rm ${alone}" ${token().replace('authkeep', '--entrypoint authkeep')}`)).toMatchObject(
      {
        stdout: run.stdout,
      },
    )
    expect((await sh(`docker run --rm ${alone}" --entrypoint authkeep worker status --json`)).code).toBe(0)
    const doctor = await sh(`docker run --rm ${alone}" --entrypoint authkeep worker doctor --offline`)
    expect(doctor.code).toBe(0)
    expect(doctor.stdout).toMatch(/copy .*mounted/)
    // The volume's copy of the grant is spent now: the file is the newer one.
    await writeFile(volume('auth.json'), await readFile(join(here, 'auth.json')))
  })

  it('the file alone: writers that are killed lose nothing', async () => {
    await copyOut()
    const path = join(here, 'auth.json')
    const { grant } = await entryIn(path)
    const kept: string[] = []
    /** How often a journal was left. */
    let interrupted = 0
    for (let index = 0; index < 12; index++) {
      const account = `a${index}`
      const line = `docker run --rm -i --name other ${alone}" --entrypoint authkeep worker login acme --account ${account} --api-key-stdin < key.txt`
      const ended = new AbortController()
      const before = await stat(path)
      const run = sh(line).finally(() => ended.abort())
      // Until its first byte is in the file, and then a little, another time each.
      while (!ended.signal.aborted && (await stat(path)).ctimeMs === before.ctimeMs) await sleep(0)
      for (const end = performance.now() + index / 4; performance.now() < end; );
      killOther()
      const { code } = await run
      const text = await readFile(path, 'utf8')
      const { credentials } = JSON.parse(text) as { credentials: Record<string, unknown> }
      if (code === 0) kept.push(`acme:${account}`)
      if (text.length % 4096 !== 0) interrupted++
      expect(Object.keys(credentials)).toEqual(expect.arrayContaining(['acme:default', ...kept]))
    }
    expect(interrupted).toBeGreaterThan(0)
    expect((await entryIn(path)).grant).toEqual(grant)
    expect((await sh(`docker run --rm ${alone}" --entrypoint authkeep worker status --json`)).code).toBe(0)
  }, 120_000)

  it('the file alone, replaced on the host: an error, and not a write that nobody sees', async () => {
    await copyOut()
    await sh(`docker run -d --name other ${alone}" -e API_URL=${api.origin}/files worker`)
    await vi.waitFor(async () => expect(await readFile(join(box, 'other.log'), 'utf8')).toMatch(/^200$/m), 20_000)
    await cp(join(here, 'auth.json'), join(here, 'new.json'))
    await rename(join(here, 'new.json'), join(here, 'auth.json'))
    const run = await sh('docker exec -i other authkeep login acme --account b --api-key-stdin --json < key.txt')
    expect(JSON.parse(run.stdout)).toMatchObject({ error: { code: 'store_failed', detail: { errno: 'ESTALE' } } })
    expect(await sh('docker stop other')).toMatchObject({ code: 0 })
  })

  it('read-only: what lives is used, and a refresh that cannot be stored is not begun', async () => {
    await copyOut()
    const path = join(here, 'auth.json')
    expect((await shown(`docker run --rm ${alone}:ro" --entrypoint authkeep worker status`)).stdout).toContain('acme')
    const ways = [`${alone}:ro"`, '-v authkeep:/authkeep:ro']
    for (const way of ways) {
      const line = `docker run --rm ${way} --entrypoint ${token()} --json`
      expect(await sh(line)).toMatchObject({ code: 0 })
      const store = way.startsWith('-v authkeep') ? volume('auth.json') : path
      const living = await readFile(store)
      await expire(store)
      const expired = await readFile(store)
      const refused = await sh(line)
      expect(JSON.parse(refused.stdout)).toMatchObject({ error: { code: 'store_failed', detail: { errno: 'EROFS' } } })
      expect(refused.code).toBe(1)
      expect(await readFile(store)).toEqual(expired)
      await writeFile(store, living)
    }
    expect(server.counts()).toMatchObject({ arrived: 0 })
  })

  it('an API key through stdin; a client secret from a file of a secret volume', async () => {
    const models = { ...demoProvider(server, { api: api.origin }), id: 'models' }
    const service = { ...models, id: 'service', client: { id: 'service' }, scopes: ['files:read'], authorization: {} }
    for (const provider of [models, service]) {
      await writeFile(join(here, 'more.json'), JSON.stringify(provider))
      const line = `docker run --rm -v authkeep:/authkeep -v "$PWD/more.json:/more.json:ro" --entrypoint authkeep worker providers add /more.json`
      expect(await sh(line)).toMatchObject({ code: 0 })
    }
    expect(await shown('docker run --rm -i')).toMatchObject({ code: 0 })
    // As Kubernetes lays it out.
    await mkdir(join(here, 'secret/..2026'), { recursive: true })
    await writeFile(join(here, 'secret/..2026/client'), `${clientSecret}\n`)
    symlinkSync('..2026', join(here, 'secret/..data'))
    symlinkSync('..data/client', join(here, 'secret/client'))
    const login = await shown('docker run --rm -v authkeep:/authkeep -v "$PWD/secret')
    expect(login).toMatchObject({ code: 0, stderr: '' })
    expect(await readFile(volume('auth.json'), 'utf8')).not.toContain(clientSecret)
  })

  it('a group-readable file and an auth.json behind links, as Kubernetes has them', async () => {
    await chmod(volume('auth.json'), 0o660)
    const doctor = await sh(`${running} authkeep worker doctor --offline`)
    expect(doctor.code).toBe(1)
    expect(doctor.stdout).toMatch(/!! +mode .*660/)
    await expire(volume('auth.json'))
    expect(await sh(`${running} ${token()} --account default`)).toMatchObject({ code: 0 })
    expect((await stat(volume('auth.json'))).mode & 0o777).toBe(0o600)
    await mkdir(join(here, 'linked/..2026'), { recursive: true })
    await cp(volume('auth.json'), join(here, 'linked/..2026/auth.json'))
    await chmod(join(here, 'linked/..2026/auth.json'), 0o644)
    symlinkSync('..2026', join(here, 'linked/..data'))
    symlinkSync('..data/auth.json', join(here, 'linked/auth.json'))
    const status = await sh('docker run --rm -v "$PWD/linked:/authkeep:ro" --entrypoint authkeep worker status --json')
    expect(status).toMatchObject({ code: 0 })
    expect(status.stdout).toContain('acme')
  })

  it('every command of the page has been run', () => {
    expect([...left]).toEqual([])
  })
})
