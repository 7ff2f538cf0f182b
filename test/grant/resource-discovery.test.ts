import { afterEach, describe, expect, it } from 'vitest'
import { discoverResource } from '../../src/grant/resource-discovery.ts'
import { json, nobody, rejection, type Stub, stub } from './setup.ts'

let api: Stub | undefined
afterEach(async () => {
  await api?.stop()
  api = undefined
})

/** An API whose metadata documents are these, by path; a number is a status without a document. */
async function start(documents: (origin: string) => Readonly<Record<string, object | number>>): Promise<string> {
  api = await stub((request, response) => {
    const document = documents(api?.origin ?? '')[request.url ?? ''] ?? 404
    if (typeof document === 'number') json(response, document, {})
    else json(response, 200, document)
  })
  return api.origin
}
const asked = (): readonly string[] => api?.requests.map(({ path }) => path) ?? []

const wellKnown = '/.well-known/oauth-protected-resource'

describe('the metadata of a protected resource (RFC 9728)', () => {
  it('is at the well-known location of the URL', async () => {
    const document = (origin: string): object => ({
      resource: `${origin}/mcp`,
      authorization_servers: ['https://as.example', 'http://evil.example', 7],
      scopes_supported: ['b', 'a'],
    })
    const origin = await start((origin) => ({ [`${wellKnown}/mcp`]: document(origin) }))
    expect(await discoverResource(`${origin}/mcp?session=1#top`, { fetch })).toEqual({
      kind: 'found',
      resource: {
        resource: `${origin}/mcp`,
        authorizationServers: ['https://as.example'],
        scopes: ['a', 'b'],
        metadata: document(origin),
      },
    })
    expect(asked()).toEqual([`${wellKnown}/mcp`])
  })

  it.each(['', '/', '/mcp'])('may be at that of the host, about the host or the URL: resource %j', async (path) => {
    const origin = await start((origin) => ({ [wellKnown]: { resource: `${origin}${path}` } }))
    const found = { kind: 'found', resource: { resource: `${origin}${path}`, authorizationServers: [], scopes: [] } }
    expect(await discoverResource(`${origin}/mcp`, { fetch })).toMatchObject(found)
    expect(asked()).toEqual([`${wellKnown}/mcp`, wellKnown])
  })

  it('is where a challenge says it is, and nowhere else', async () => {
    const origin = await start((origin) => ({ '/about': { resource: `${origin}/mcp` } }))
    const found = await discoverResource(`${origin}/mcp`, { fetch, resourceMetadata: `${origin}/about` })
    expect(found).toMatchObject({ kind: 'found' })
    expect(await discoverResource(`${origin}/mcp`, { fetch, resourceMetadata: `${origin}/gone` })).toEqual({
      kind: 'none',
    })
    expect(asked()).toEqual(['/about', '/gone'])
  })

  it.each([
    ['/mcp', `${wellKnown}/mcp`, '/mcp/'],
    ['/mcp', `${wellKnown}/mcp`, '/other'],
    ['/mcp', `${wellKnown}/mcp`, ''],
    ['/mcp', wellKnown, '/other'],
    ['/mcp', '/about', ''],
    ['/mcp', `${wellKnown}/other`, '/other'],
    ['/mcpx', `${wellKnown}/mcp`, '/mcp'],
  ])('must be about the resource: asked for %s, at %s, about %j', async (path, place, about) => {
    const origin = await start((origin) => ({ [place]: { resource: `${origin}${about}` } }))
    const outcome = await discoverResource(`${origin}${path}`, { fetch, resourceMetadata: `${origin}${place}` })
    expect(outcome).toMatchObject({ kind: 'invalid' })
  })

  it('must not be about another host, wherever it is', async () => {
    const origin = await start(() => ({ [wellKnown]: { resource: 'https://api.example' }, '/none': {} }))
    expect(await discoverResource(origin, { fetch })).toMatchObject({ kind: 'invalid' })
    expect(await discoverResource(origin, { fetch, resourceMetadata: `${origin}/none` })).toMatchObject({
      kind: 'invalid',
    })
    for (const resourceMetadata of ['http://api.example/x', 'file:///etc/passwd', 'nothing'])
      expect(await discoverResource(origin, { fetch, resourceMetadata })).toMatchObject({ kind: 'invalid' })
  })

  it('must not be about the host that it is at, if that is another', async () => {
    const origin = await start((origin) => ({ [wellKnown]: { resource: origin } }))
    const asked = origin.replace('127.0.0.1', 'localhost')
    const outcome = await discoverResource(asked, { fetch, resourceMetadata: `${origin}${wellKnown}` })
    expect(outcome).toMatchObject({ kind: 'invalid' })
  })

  it('may cover a longer path than its own, at whole segments', async () => {
    const origin = await start((origin) => ({ [`${wellKnown}/mcp`]: { resource: `${origin}/mcp` } }))
    const resourceMetadata = `${origin}${wellKnown}/mcp`
    expect(await discoverResource(`${origin}/mcp/files`, { fetch, resourceMetadata })).toMatchObject({ kind: 'found' })
  })

  it('may not be there, or not for now', async () => {
    let status = 404
    const origin = await start(() => ({ [wellKnown]: status }))
    expect(await discoverResource(origin, { fetch })).toEqual({ kind: 'none' })
    status = 503
    expect(await discoverResource(origin, { fetch })).toEqual({ kind: 'unavailable', status: 503, cause: 'http_503' })
    const gone = await discoverResource(await nobody(), { fetch })
    expect(gone).toEqual({ kind: 'unavailable', cause: 'ECONNREFUSED' })
    const reason = new Error('never mind')
    expect(await rejection(discoverResource(origin, { fetch, signal: AbortSignal.abort(reason) }))).toBe(reason)
  })
})
