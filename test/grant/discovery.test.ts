import type { ServerResponse } from 'node:http'
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

  it.each([
    '/.well-known/oauth-authorization-server/tenant',
    '/.well-known/openid-configuration/tenant',
    '/tenant/.well-known/openid-configuration',
  ])('finds the document wherever it may be: %s', async (place) => {
    server = await stub((request, response) => {
      json(response, request.url === place ? 200 : 404, {
        issuer: `${server?.origin ?? ''}/tenant`,
        token_endpoint: 'https://as.example/t',
        jwks_uri: 'https://a/j',
      })
    })
    const issuer = `${server.origin}/tenant`
    const found = await discover(provider(issuer, { metadata: { jwks_uri: 'https://as.example/mine' } }), { fetch })
    expect(server.requests.at(-1)?.path).toBe(place)
    expect(found).toEqual({ issuer, token_endpoint: 'https://as.example/t', jwks_uri: 'https://as.example/mine' })
  })

  it('asks the locations of RFC 8414, then those of OpenID Connect, each once', async () => {
    server = await stub((_, response) => json(response, 404, {}))
    const asked = async (issuer: string): Promise<readonly string[]> => {
      server?.requests.splice(0)
      await rejection(discover(provider(issuer), { fetch }))
      return server?.requests.map(({ path }) => path) ?? []
    }
    const atRoot = ['/.well-known/oauth-authorization-server', '/.well-known/openid-configuration']
    expect(await asked(server.origin)).toEqual(atRoot)
    expect(await asked(`${server.origin}/`)).toEqual(atRoot)
    expect(await asked(`${server.origin}/a/b/`)).toEqual([
      '/.well-known/oauth-authorization-server/a/b',
      '/.well-known/openid-configuration/a/b',
      '/a/b/.well-known/openid-configuration',
    ])
  })

  it('goes past what is no metadata of this issuer', async () => {
    const issuer = (): string => `${server?.origin ?? ''}/tenant`
    const answers: ((response: ServerResponse) => void)[] = [
      (response) => json(response, 500, {}),
      (response) => json(response, 200, { issuer: `${issuer()}/`, token_endpoint: 'https://evil.example/t' }),
      (response) => json(response, 200, { issuer: issuer(), token_endpoint: 'https://as.example/t' }),
    ]
    server = await stub((_, response) => answers.shift()?.(response))
    const found = await discover(provider(issuer()), { fetch })
    expect(found).toEqual({ issuer: issuer(), token_endpoint: 'https://as.example/t' })
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

  it.each([
    [500, 'http_500', 2],
    [429, 'rate_limited', 1],
  ])('says that the server is unavailable for HTTP %i', async (status, cause, requests) => {
    server = await stub((_, response) => json(response, status, {}))
    const error = await rejection(discover(provider(server.origin), { fetch }))
    expect(error).toMatchObject({
      ...{ code: 'server_unavailable', detail: { provider: 'acme', status, cause, sent: false } },
    })
    expect(server.requests).toHaveLength(requests)
  })

  it('follows nobody elsewhere', async () => {
    server = await stub((request, response) => {
      if (request.url === '/elsewhere') json(response, 200, { issuer: server?.origin, token_endpoint: 'https://a/t' })
      else response.writeHead(302, { location: '/elsewhere' }).end()
    })
    const error = await rejection(discover(provider(server.origin), { fetch }))
    expect(error).toMatchObject({ code: 'response_invalid', detail: { status: 302 } })
  })

  it('refuses metadata without a token endpoint', async () => {
    server = await stub((_, response) => json(response, 200, { issuer: server?.origin }))
    const error = await rejection(discover(provider(server.origin), { fetch }))
    expect(error).toMatchObject({ detail: { what: 'the authorization server metadata names no token_endpoint' } })
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
