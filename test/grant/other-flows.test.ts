import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type AuthorizationServer, startAuthorizationServer } from '../../examples/server/authorization-server.ts'
import { demoProvider } from '../../examples/server/demo-provider.ts'
import { startResourceServer } from '../../examples/server/resource-server.ts'
import { completeLogin } from '../../examples/server/robot.ts'
import { Secret } from '../../src/credential.ts'
import { apiKeyFlow } from '../../src/grant/api-key.ts'
import { discover } from '../../src/grant/discovery.ts'
import { loopbackFlow } from '../../src/grant/loopback.ts'
import { revokeToken } from '../../src/grant/revoke.ts'
import type { AuthorizationServerMetadata, Provider } from '../../src/provider.ts'
import { grantRequest, json, nobody, oauth, rejection, stub } from './setup.ts'

const acme: Provider = { id: 'acme', issuer: 'https://as.example', client: { id: 'cli' } }

describe('an API key', () => {
  it('is taken as it is, without white space around it', async () => {
    const answer = await apiKeyFlow({ key: ' key-1\n' }).run(grantRequest(acme))
    expect(answer.type === 'api_key' && answer.key.reveal()).toBe('key-1')
    const asked = await apiKeyFlow({ key: () => Promise.resolve('key-2') }).run(grantRequest(acme))
    expect(asked.type === 'api_key' && asked.key.reveal()).toBe('key-2')
  })

  it('must be there', async () => {
    expect(await rejection(apiKeyFlow({ key: () => ' ' }).run(grantRequest(acme)))).toBeInstanceOf(TypeError)
  })
})

describe('revocation', () => {
  let server: AuthorizationServer
  let provider: Provider
  let metadata: AuthorizationServerMetadata
  beforeAll(async () => {
    server = await startAuthorizationServer({ accessTokenFormat: 'jwt' })
    provider = demoProvider(server)
    metadata = await discover(provider, { fetch })
  })
  afterAll(() => server.stop())

  const revoke = (token: Secret, more: Partial<AuthorizationServerMetadata> = {}) =>
    revokeToken({ provider, metadata: { ...metadata, ...more }, token, hint: 'refresh_token', fetch, timeoutMs: 1000 })

  it('is confirmed by the server, also for a token that it does not know (RFC 7009 §2.2)', async () => {
    const flow = loopbackFlow({ openBrowser: (url) => void completeLogin(url) })
    const { token } = oauth(await flow.run(grantRequest(provider)))
    expect(await revoke(token.refreshToken ?? new Secret('none'))).toEqual({ kind: 'confirmed' })
    expect(server.counts().revoked).toBe(1)
    expect(await revoke(new Secret('unknown'))).toEqual({ kind: 'confirmed' })
  })

  it('is not supported without an endpoint, or for a kind of token', async () => {
    const { revocation_endpoint: _, ...without } = metadata
    const token = new Secret('token-1')
    const bare = { provider, metadata: without, token, hint: 'refresh_token', fetch, timeoutMs: 1000 } as const
    expect(await revokeToken(bare)).toEqual({ kind: 'not_supported' })
    const picky = await stub((_request, response) => json(response, 400, { error: 'unsupported_token_type' }))
    expect(await revoke(token, { revocation_endpoint: picky.origin })).toEqual({ kind: 'not_supported' })
    await picky.stop()
  })

  it('is unconfirmed without an answer, or with one that is no success (RFC 7009 §2.2.1)', async () => {
    const answers: Readonly<Record<string, readonly [number, string, Record<string, string>]>> = {
      '/503': [503, '', { 'retry-after': '7' }],
      '/400': [400, '{"error":"invalid_client"}', {}],
      '/404': [404, '', {}],
      '/201': [201, '{}', {}],
      '/error': [200, '{"error":"server_error"}', {}],
      '/portal': [200, '<html>Welcome', { 'content-type': 'text/html' }],
      '/text': [200, 'OK', {}],
    }
    const api = await stub((request, response) => {
      const [status, text, headers] = answers[request.url ?? ''] ?? [500, '', {}]
      response.writeHead(status, headers).end(text)
    })
    const at = (path: string) => revoke(new Secret('token-1'), { revocation_endpoint: `${api.origin}${path}` })
    const unconfirmed = { kind: 'unconfirmed' }
    expect(await at('/503')).toEqual({ ...unconfirmed, reason: 'http_503', status: 503, retryAfterMs: 7000 })
    expect(await at('/400')).toEqual({ ...unconfirmed, reason: 'invalid_client', status: 400 })
    expect(await at('/404')).toEqual({ ...unconfirmed, reason: 'empty', status: 404 })
    expect(await at('/201')).toEqual({ ...unconfirmed, reason: 'http_201', status: 201 })
    expect(await at('/error')).toEqual({ ...unconfirmed, reason: 'server_error', status: 200 })
    expect(await at('/portal')).toEqual({ ...unconfirmed, reason: 'html', status: 200 })
    expect(await at('/text')).toEqual({ kind: 'confirmed' })
    await api.stop()
    const gone = await revoke(new Secret('token-1'), { revocation_endpoint: await nobody() })
    expect(gone).toEqual({ ...unconfirmed, reason: 'ECONNREFUSED' })
  })
})

describe.each(['opaque', 'jwt'] as const)('the demo API with %s tokens', (accessTokenFormat) => {
  it('wants a live token for the right resource with the right scope (RFC 6750 §3)', async () => {
    const server = await startAuthorizationServer({ accessTokenFormat })
    const api = await startResourceServer({ authorizationServer: server })
    const flow = loopbackFlow({ openBrowser: (url) => void completeLogin(url) })
    const provider = demoProvider(server)
    const { token } = oauth(await flow.run(grantRequest(provider, { resources: Object.keys(server.resources) })))
    const call = async (method: string, path: string, bearer?: string): Promise<[number, string | null]> => {
      const headers: Record<string, string> = bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }
      const response = await fetch(`${api.origin}${path}`, { method, headers })
      return [response.status, response.headers.get('www-authenticate')]
    }
    const access = token.accessToken.reveal()
    expect(await call('GET', '/files', access)).toEqual([200, null])
    expect(await call('DELETE', '/files', access)).toEqual([
      403,
      'Bearer error="insufficient_scope", scope="files:delete"',
    ])
    expect((await call('GET', '/mail', access))[0]).toBe(401)
    expect((await call('GET', '/files', 'guess'))[1]).toContain('error="invalid_token"')
    expect(await call('GET', '/files')).toEqual([401, 'Bearer'])
    expect(api.counts()).toMatchObject({
      'GET /files 200': 1,
      'DELETE /files 403': 1,
      'GET /mail 401': 1,
      'GET /files 401': 2,
    })
    await Promise.all([api.stop(), server.stop()])
  })
})
