import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Provider } from '../../src/provider.ts'
import { json as answer, type Stub, stub } from '../grant/setup.ts'
import { ended, json, type Run, start } from './built.ts'

let home: string
let server: Stub
let registered: unknown[]
let metadata: object
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'authkeep-add-'))
  registered = []
  metadata = {}
  server = await stub((request, response, body) => {
    const { origin: issuer } = server
    if (request.url === '/register') {
      registered.push(JSON.parse(body))
      answer(response, 201, { client_id: 'given', redirect_uris: ['http://127.0.0.1/callback'] })
    } else if (request.url === '/.well-known/oauth-authorization-server') {
      answer(response, 200, {
        ...{ issuer, authorization_endpoint: `${issuer}/authorize`, token_endpoint: `${issuer}/token` },
        ...{ code_challenge_methods_supported: ['S256'], scopes_supported: ['offline_access', 'files:read'] },
        ...{ registration_endpoint: `${issuer}/register`, ...metadata },
      })
    } else if (request.url === '/.well-known/oauth-protected-resource/mcp') {
      answer(response, 200, { resource: `${issuer}/mcp`, authorization_servers: [issuer], scopes_supported: ['x'] })
    } else answer(response, 404, {})
  })
})
afterEach(async () => {
  await server.stop()
  await rm(home, { recursive: true })
})

const add = (...args: readonly string[]): Promise<Run> => ended(start(home, ['providers', 'add', '--json', ...args]))
const added = async (id: string): Promise<Provider> =>
  JSON.parse(await readFile(join(home, 'providers', `${id}.json`), 'utf8')) as Provider

describe('a server by its URL', () => {
  it('is an issuer where endpoints are named: read, registered at, and kept', async () => {
    const run = await add(server.origin, '--id', 'acme', '--endpoint', 'https://api.acme.example/*')
    expect(json(run)).toMatchObject({ provider: 'acme', hosts: ['api.acme.example'], changed: true })
    await expect(added('acme')).resolves.toMatchObject({
      ...{ id: 'acme', issuer: server.origin, client: { id: 'given' }, scopes: ['offline_access'] },
      ...{ authorization: { prompt: 'consent' }, endpoints: [{ url: 'https://api.acme.example/*' }] },
    })
    expect(registered).toMatchObject([{ client_name: 'authkeep' }])
  })

  it('takes the client that is named, and registers none', async () => {
    await add(server.origin, '--id', 'acme', '--endpoint', 'https://api.acme.example/*', '--client-id', 'mine')
    await expect(added('acme')).resolves.toMatchObject({ client: { id: 'mine' } })
    expect(registered).toEqual([])
  })

  it('is a resource where none is: it says itself where to log in', async () => {
    const run = await add(`${server.origin}/mcp`, '--id', 'mcp')
    expect(json(run)).toMatchObject({ provider: 'mcp', changed: true })
    await expect(added('mcp')).resolves.toMatchObject({ issuer: server.origin, client: { id: 'given' } })
  })

  it.each([
    ['without PKCE', { code_challenge_methods_supported: ['plain'] }, 'response_invalid'],
    ['that is another issuer', { issuer: 'https://other.example' }, 'response_invalid'],
    ['that registers nobody', { registration_endpoint: undefined }, 'provider_invalid'],
  ])('%s is refused, and nothing is added', async (_, changes, code) => {
    metadata = changes
    const run = await add(server.origin, '--id', 'acme', '--endpoint', 'https://api.acme.example/*')
    expect(json(run)).toMatchObject({ error: { code } })
    expect(registered).toEqual([])
    await expect(readdir(home)).resolves.not.toContain('providers')
  })

  it.each([
    [['--endpoint', 'http://api.acme.example/*'], 'provider_invalid'],
    [['--endpoint', 'https://*/x'], 'provider_invalid'],
  ])('with %j is refused before the server is asked', async (args, code) => {
    const run = await add(server.origin, ...args)
    expect(json(run)).toMatchObject({ error: { code } })
    expect(registered).toEqual([])
  })

  it('a file takes no options of a URL', async () => {
    const run = await add('acme.json', '--id', 'acme')
    expect(json(run)).toMatchObject({ error: { code: 'usage', message: expect.stringContaining('--id') as string } })
  })
})
