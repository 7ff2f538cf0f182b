import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import type { RequestListener } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { selfSigned } from '../broker/certificate.ts'
import { ended, type Run } from './built.ts'

// The programs that helpers are for, where this machine has them, against a registry and a cluster on 127.0.0.1.
const has = (program: string): boolean => spawnSync(program, ['--help']).status === 0

const types = {
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
}
const digest = `sha256:${createHash('sha256').update('{}').digest('hex')}`
const config = { mediaType: types.config, digest, size: 2 }
const manifest = JSON.stringify({ schemaVersion: 2, mediaType: types.manifest, config, layers: [] })
const basic = `Basic ${Buffer.from('oauth2:at-secret').toString('base64')}`

let home: string
let host: string
let seen: Set<string | undefined>
let stop: () => void

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'authkeep-clients-'))
  seen = new Set()
  const hour = 3_600_000
  const times = { from: new Date(Date.now() - hour), to: new Date(Date.now() + hour) }
  const server = createServer(selfSigned('localhost', times), answer).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  stop = () => server.close().closeAllConnections()
  host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  const issuer = 'http://127.0.0.1:9'
  const endpoints = [{ url: `https://${host}/v2/*`, username: 'oauth2' }, { url: `https://${host}/` }]
  const acme = { id: 'acme', issuer, client: { id: 'c' }, metadata: { issuer, token_endpoint: issuer }, endpoints }
  const entry = { type: 'token', provider: 'acme', account: 'default', token: 'at-secret', expiresAt: null }
  await writeFile(join(home, 'auth.json'), JSON.stringify({ version: 1, credentials: { 'acme:default': entry } }))
  await mkdir(join(home, 'providers'))
  await writeFile(join(home, 'providers/acme.json'), JSON.stringify(acme))
  await mkdir(join(home, '.docker'))
  await writeFile(join(home, '.docker/config.json'), JSON.stringify({ credHelpers: { [host]: 'authkeep' } }))
  await mkdir(join(home, 'bin'))
  for (const [name, file] of [
    ['authkeep', 'main'],
    ['docker-credential-authkeep', 'docker-credential-authkeep'],
  ]) {
    await symlink(fileURLToPath(new URL(`../../dist/cli/${file}.js`, import.meta.url)), join(home, `bin/${name}`))
  }
})
afterEach(async () => {
  stop()
  await rm(home, { recursive: true, force: true })
})

const answer: RequestListener = (request, response) => {
  const { url = '', headers } = request
  seen.add(headers.authorization)
  const isRegistry = url.startsWith('/v2/')
  if (headers.authorization !== (isRegistry ? basic : 'Bearer at-secret')) {
    response.writeHead(401, { 'www-authenticate': `${isRegistry ? 'Basic' : 'Bearer'} realm="test"` }).end()
    return
  }
  const isManifest = url.includes('/manifests/')
  const version = { major: '1', minor: '32', gitVersion: 'v1.32.77' }
  response.writeHead(200, { 'content-type': isManifest ? types.manifest : 'application/json' })
  if (isManifest) response.end(manifest)
  else if (url.includes('/blobs/')) response.end('{}')
  else response.end(JSON.stringify(isRegistry ? { name: 'team/a', tags: ['latest'] } : version))
}

const run = (program: string, ...args: readonly string[]): Promise<Run> =>
  ended(
    spawn(program, args, {
      env: { PATH: `${join(home, 'bin')}:${process.env['PATH'] ?? ''}`, HOME: home, AUTHKEEP_HOME: home },
    }),
  )

describe.runIf(has('skopeo'))('the real skopeo', () => {
  it('reads an image of a registry that wants a login', async () => {
    const { code, stdout } = await run('skopeo', 'inspect', '--tls-verify=false', `docker://${host}/team/a:latest`)
    expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringContaining('"latest"') as string })
    expect(seen).toEqual(new Set([undefined, basic]))
  })
})

describe.runIf(has('docker'))('the real docker', () => {
  it('reads a manifest of a registry that wants a login', async () => {
    const { code, stdout } = await run('docker', 'manifest', 'inspect', '--insecure', `${host}/team/a:latest`)
    expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringContaining(digest) as string })
    expect(seen).toEqual(new Set([undefined, basic]))
  })
})

describe.runIf(has('kubectl'))('the real kubectl', () => {
  it('asks a cluster with the token', async () => {
    const exec = {
      ...{ apiVersion: 'client.authentication.k8s.io/v1', interactiveMode: 'Never', command: 'authkeep' },
      args: ['token', `https://${host}/`, '--format', 'k8s'],
    }
    const file = join(home, 'kubeconfig')
    const cluster = { server: `https://${host}`, 'insecure-skip-tls-verify': true }
    const kubeconfig = {
      ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'a' },
      contexts: [{ name: 'a', context: { cluster: 'a', user: 'a' } }],
      clusters: [{ name: 'a', cluster }],
      users: [{ name: 'a', user: { exec } }],
    }
    await writeFile(file, JSON.stringify(kubeconfig))
    const { stdout, stderr } = await run('kubectl', '--kubeconfig', file, 'version')
    expect(stdout + stderr).toContain('v1.32.77')
    expect([...seen].filter((each) => each !== undefined)).toEqual(['Bearer at-secret'])
  })
})
