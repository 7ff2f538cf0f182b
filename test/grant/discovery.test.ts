import { afterEach, describe, expect, it } from 'vitest'
import { configure } from '../../src/grant/configuration.ts'
import { discover } from '../../src/grant/discovery.ts'
import type { Provider } from '../../src/provider.ts'
import { json, nobody, rejection, type Stub, stub } from './setup.ts'

let server: Stub | undefined
afterEach(async () => {
  await server?.stop()
  server = undefined
})

const provider = (issuer: string, more: Partial<Provider> = {}): Provider => ({
  id: 'acme',
  issuer,
  client: { id: 'cli' },
  ...more,
})
const never: typeof fetch = () => {
  throw new Error('the network must not be used')
}

describe('discovery', () => {
  it('asks nobody when the provider declares a token endpoint', async () => {
    const metadata = { token_endpoint: 'https://as.example/token', extra: 1 }
    const found = await discover(provider('https://as.example', { metadata }), { fetch: never })
    expect(found).toEqual({ ...metadata, issuer: 'https://as.example' })
  })

  it('asks for the OpenID location, then for the RFC 8414 one', async () => {
    server = await stub((request, response) => {
      const there = request.url === '/.well-known/oauth-authorization-server/tenant'
      json(response, there ? 200 : 404, {
        issuer: `${server?.origin ?? ''}/tenant`,
        token_endpoint: 'https://as.example/t',
        jwks_uri: 'https://a/j',
      })
    })
    const issuer = `${server.origin}/tenant`
    const found = await discover(provider(issuer, { metadata: { jwks_uri: 'https://as.example/mine' } }), { fetch })
    expect(server.requests.map(({ path }) => path)).toEqual([
      '/tenant/.well-known/openid-configuration',
      '/.well-known/oauth-authorization-server/tenant',
    ])
    expect(found).toEqual({ issuer, token_endpoint: 'https://as.example/t', jwks_uri: 'https://as.example/mine' })
  })

  it.each([
    ['another host', () => 'https://evil.example'],
    ['a trailing slash more (RFC 8414 §3.3 wants identical strings)', (origin: string) => `${origin}/`],
  ])('refuses metadata of another issuer: %s', async (_, issuerOf) => {
    server = await stub((_request, response) => {
      json(response, 200, { issuer: issuerOf(server?.origin ?? ''), token_endpoint: 'https://evil.example/token' })
    })
    const error = await rejection(discover(provider(server.origin), { fetch }))
    expect(error).toMatchObject({ code: 'response_invalid', detail: { provider: 'acme', status: 200 } })
    expect((error as Error).message).toContain('another issuer')
  })

  it('refuses a web page in place of metadata', async () => {
    server = await stub((_, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html>'))
    const error = await rejection(discover(provider(server.origin), { fetch }))
    expect(error).toMatchObject({ code: 'response_invalid', detail: { status: 200 } })
  })

  it('says that there is no metadata when no location has any', async () => {
    server = await stub((_, response) => json(response, 404, {}))
    const error = await rejection(discover(provider(server.origin), { fetch }))
    expect(error).toMatchObject({ code: 'response_invalid', detail: { status: 404 } })
  })

  it('says that the server is unavailable for 5xx, and asks no further location', async () => {
    server = await stub((_, response) => json(response, 500, {}))
    const error = await rejection(discover(provider(server.origin), { fetch }))
    const detail = { provider: 'acme', status: 500, cause: 'http_500', sent: false }
    expect(error).toMatchObject({ code: 'server_unavailable', detail })
    expect(server.requests).toHaveLength(1)
  })

  it('says that the server is unavailable when nobody listens', async () => {
    const error = await rejection(discover(provider(await nobody()), { fetch }))
    const detail = { provider: 'acme', cause: 'ECONNREFUSED', sent: false }
    expect(error).toMatchObject({ code: 'server_unavailable', detail })
  })

  it('gives up after its time-out', async () => {
    server = await stub(() => undefined)
    const error = await rejection(discover(provider(server.origin), { fetch, timeoutMs: 30 }))
    expect(error).toMatchObject({ code: 'server_unavailable', detail: { cause: 'timeout', sent: false } })
  })

  it('rejects with the reason of the signal', async () => {
    const abort = new AbortController()
    const reason = new Error('never mind')
    server = await stub(() => abort.abort(reason))
    expect(await rejection(discover(provider(server.origin), { fetch, signal: abort.signal }))).toBe(reason)
  })
})

describe('the configuration of openid-client', () => {
  it('refuses endpoints that are neither https nor on this machine', async () => {
    const metadata = { issuer: 'http://127.0.0.1:1', token_endpoint: 'http://as.example/token' }
    const error = await rejection(configure(provider('http://127.0.0.1:1'), metadata, never))
    expect(error).toMatchObject({ code: 'response_invalid' })
  })
})
