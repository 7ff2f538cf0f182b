import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type DiscoverProviderOptions, discoverProvider } from '../../src/grant/discover-provider.ts'
import type { Provider } from '../../src/provider.ts'
import { json, rejection, type Stub, stub } from './setup.ts'

/** One server that is both the resource, at `/mcp`, and its authorization server, at `/as`. */
let server: Stub
let url: string
let resource: Record<string, unknown>
let metadata: Record<string, unknown>
let registered: Record<string, unknown>

beforeEach(async () => {
  server = await stub((request, response) => {
    const documents: Record<string, unknown> = {
      '/.well-known/oauth-protected-resource/mcp': resource,
      '/.well-known/oauth-authorization-server/as': metadata,
      '/register': registered,
    }
    const document = documents[request.url ?? '']
    json(response, document === undefined ? 404 : request.method === 'POST' ? 201 : 200, document ?? {})
  })
  const { origin } = server
  url = `${origin}/mcp`
  resource = { resource: url, authorization_servers: [`${origin}/as`] }
  registered = { client_id: 'registered' }
  metadata = {
    issuer: `${origin}/as`,
    authorization_endpoint: `${origin}/authorize`,
    token_endpoint: `${origin}/token`,
    registration_endpoint: `${origin}/register`,
    response_types_supported: ['code'],
    code_challenge_methods_supported: ['S256'],
    token_endpoint_auth_methods_supported: ['none'],
  }
})
afterEach(() => server.stop())

const client = { id: 'mine' }
const challenged = (header: string): Pick<DiscoverProviderOptions, 'challenge'> => ({
  challenge: new Headers({ 'www-authenticate': header }),
})
const registrations = (): number => server.requests.filter(({ path }) => path === '/register').length

describe('the provider of an unknown URL', () => {
  it('is plain data: issuer, client, and the resource with what is below it', async () => {
    const provider = await discoverProvider(url, { client, id: 'acme' })
    const issuer = `${server.origin}/as`
    expect(provider).toEqual({
      ...{ id: 'acme', issuer, client },
      endpoints: [
        { url, resource: url },
        { url: `${url}/*`, resource: url },
      ],
    })
    expect(JSON.parse(JSON.stringify(provider))).toEqual(provider)
  })

  it('is called by the resource, and otherwise for every issuer', async () => {
    const first = await discoverProvider(url, { client })
    expect(first.id).toMatch(/^127\.0\.0\.1-\d+-mcp-[0-9a-f]{8}$/)
    expect((await discoverProvider(url, { client })).id).toBe(first.id)
    resource['authorization_servers'] = [server.origin]
    const issuer = server.origin
    const providers: readonly Provider[] = [{ id: 'x', issuer, client, metadata: { ...metadata, issuer } }]
    expect((await discoverProvider(url, { client, providers })).id).not.toBe(first.id)
  })

  it('needs the scopes of the challenge, and then asks for no others', async () => {
    resource['scopes_supported'] = ['other']
    const provider = await discoverProvider(url, { client, ...challenged('Bearer scope="b a"') })
    expect(provider.scopes).toBeUndefined()
    expect(provider.endpoints?.map(({ scopes }) => scopes)).toEqual([
      ['a', 'b'],
      ['a', 'b'],
    ])
  })

  it('asks for scopes_supported where the challenge names none, and needs none of them', async () => {
    resource['scopes_supported'] = ['b', 'a']
    const provider = await discoverProvider(url, { client, ...challenged('Bearer') })
    expect(provider.scopes).toEqual(['a', 'b'])
    expect(provider.endpoints?.some((endpoint) => 'scopes' in endpoint)).toBe(false)
  })

  it('asks for offline_access with other scopes, where the authorization server has it', async () => {
    metadata['scopes_supported'] = ['a', 'offline_access']
    const provider = await discoverProvider(url, { client, ...challenged('Bearer scope="a"') })
    // OpenID Connect Core §11: granted only together with the prompt.
    expect(provider).toMatchObject({ scopes: ['offline_access'], authorization: { prompt: 'consent' } })
    expect((await discoverProvider(url, { client })).scopes).toBeUndefined()
  })

  it('binds tokens to a key where the resource takes nothing else and the server can', async () => {
    metadata['dpop_signing_alg_values_supported'] = ['ES256']
    expect((await discoverProvider(url, { client, ...challenged('DPoP') })).dpop).toBe('required')
    expect((await discoverProvider(url, { client, ...challenged('DPoP, Bearer') })).dpop).toBeUndefined()
    expect((await discoverProvider(url, { client, ...challenged('Bearer') })).dpop).toBeUndefined()
    resource['dpop_bound_access_tokens_required'] = true
    expect((await discoverProvider(url, { client })).dpop).toBe('required')
    metadata['dpop_signing_alg_values_supported'] = ['RS256']
    expect((await discoverProvider(url, { client, ...challenged('DPoP') })).dpop).toBeUndefined()
  })
})

describe('the client', () => {
  it('that was registered before is used as it is', async () => {
    const mine = { id: 'mine', secret: 's' }
    expect((await discoverProvider(url, { client: mine, registration: { clientName: 'x' } })).client).toBe(mine)
    expect(registrations()).toBe(0)
  })

  it('is our metadata document where the server reads such, before a registration', async () => {
    const clientIdUrl = 'https://client.example/metadata.json'
    const registration = { clientIdUrl, clientName: 'My program' }
    expect((await discoverProvider(url, { registration })).client).toEqual({ id: 'registered' })
    metadata['client_id_metadata_document_supported'] = true
    expect((await discoverProvider(url, { registration })).client).toMatchObject({ id: clientIdUrl })
    expect(registrations()).toBe(1)
  })

  it('is registered once: a known provider of the issuer has one', async () => {
    const first = await discoverProvider(url)
    const again = await discoverProvider(url, { providers: [first] })
    expect(again).toEqual(first)
    expect(registrations()).toBe(1)
  })
})

describe('a registration', () => {
  const said = (): unknown => JSON.parse(server.requests.find(({ path }) => path === '/register')?.body ?? 'null')

  it('names the redirects of a login, and what we are called', async () => {
    const redirect = { host: 'localhost', ports: [8765, 8766], path: '/back' } as const
    const provider = await discoverProvider(url, { redirect, registration: { clientName: 'My program' } })
    const redirect_uris = ['http://localhost:8765/back', 'http://localhost:8766/back']
    expect(said()).toMatchObject({ client_name: 'My program', redirect_uris, token_endpoint_auth_method: 'none' })
    expect(provider.redirect).toEqual(redirect)
  })

  it('asks for a secret where the server takes no client without, and the provider has it', async () => {
    metadata['token_endpoint_auth_methods_supported'] = ['client_secret_basic', 'client_secret_post']
    Object.assign(registered, { client_secret: 's', token_endpoint_auth_method: 'client_secret_basic' })
    const { client } = await discoverProvider(url)
    expect(said()).toMatchObject({
      redirect_uris: ['http://127.0.0.1/callback'],
      token_endpoint_auth_method: 'client_secret_post',
    })
    expect(client).toEqual({ id: 'registered', secret: 's', authentication: 'client_secret_basic' })
  })

  it('that the server does not take is said to be missing', async () => {
    metadata['registration_endpoint'] = undefined
    expect(await rejection(discoverProvider(url))).toMatchObject({ code: 'provider_invalid' })
  })
})

describe('a known provider', () => {
  const known = (): Provider => ({
    id: 'acme',
    issuer: `${server.origin}/as`,
    client: { id: 'known' },
    scopes: ['old'],
    refresh: { rotation: 'none' },
    endpoints: [{ url: 'https://api.example/', resource: 'https://api.example/' }],
  })

  it('lends its client to another resource, and neither its name nor its scopes', async () => {
    const provider = await discoverProvider(url, { providers: [known()], ...challenged('Bearer scope="a"') })
    expect(provider).toMatchObject({ issuer: known().issuer, client: { id: 'known' }, refresh: { rotation: 'none' } })
    expect(provider.id).not.toBe('acme')
    expect(provider.scopes).toBeUndefined()
    expect(provider.endpoints?.map((endpoint) => endpoint.url)).toEqual([url, `${url}/*`])
  })

  it('of the resource learns its scopes and keeps the rest', async () => {
    const mine = { url, resource: url, scopes: ['a'], headers: { 'x-mine': '1' } }
    const before = { ...known(), endpoints: [...(known().endpoints ?? []), mine] }
    const provider = await discoverProvider(url, { providers: [before], ...challenged('Bearer scope="b"') })
    expect(provider).toMatchObject({ id: 'acme', scopes: ['old'] })
    expect(provider.endpoints).toEqual([
      known().endpoints?.[0],
      { ...mine, scopes: ['a', 'b'] },
      { url: `${url}/*`, resource: url, scopes: ['b'] },
    ])
  })

  it('of an issuer that the resource no longer names is left alone', async () => {
    const moved: Provider = { ...known(), issuer: 'https://old.example', endpoints: [{ url, resource: url }] }
    const provider = await discoverProvider(url, { providers: [moved] })
    expect(provider).toMatchObject({ issuer: `${server.origin}/as`, client: { id: 'registered' } })
    expect(provider.id).not.toBe('acme')
  })
})

describe('nobody is registered with', () => {
  it.each([
    ['metadata of another resource', () => Object.assign(resource, { resource: 'https://evil.example/mcp' })],
    ['a resource without an authorization server', () => Object.assign(resource, { authorization_servers: [] })],
    ['metadata of another issuer', () => Object.assign(metadata, { issuer: 'https://evil.example' })],
    ['a server without PKCE', () => Object.assign(metadata, { code_challenge_methods_supported: undefined })],
    [
      'a server with the plain method only',
      () => Object.assign(metadata, { code_challenge_methods_supported: ['plain'] }),
    ],
  ])('for %s', async (_, spoil) => {
    spoil()
    expect(await rejection(discoverProvider(url))).toMatchObject({ code: 'response_invalid' })
    expect(registrations()).toBe(0)
  })

  it('under a name that no provider can have', async () => {
    expect(await rejection(discoverProvider(url, { id: 'a:b' }))).toMatchObject({ code: 'provider_invalid' })
    expect(registrations()).toBe(0)
  })
})
