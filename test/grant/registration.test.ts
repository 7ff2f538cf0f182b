import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { completeLogin } from '../../examples/server/robot.ts'
import { Secret } from '../../src/credential.ts'
import { loopbackFlow } from '../../src/grant/loopback.ts'
import {
  clientMetadataDocument,
  type RegistrationOutcome,
  type RegistrationRequest,
  registerClient,
} from '../../src/grant/registration.ts'
import type { Provider } from '../../src/provider.ts'
import { type FullServer, startFullServer } from './full-server.ts'
import { expectNoSecret, grantRequest, json, nobody, oauth, rejection, type Stub, stub } from './setup.ts'

const redirectUris = ['http://127.0.0.1/callback']

describe('dynamic registration (RFC 7591)', () => {
  let server: FullServer
  beforeAll(async () => {
    server = await startFullServer()
  })
  afterAll(() => server.stop())

  const registered = async (request: Partial<RegistrationRequest> = {}) => {
    const outcome = await registerClient(server.metadata, { redirectUris, ...request })
    if (outcome.kind !== 'registered') throw new Error(`expected a client, not ${JSON.stringify(outcome)}`)
    return outcome.client
  }

  it('brings a client that can log in', async () => {
    const client = await registered({ clientName: 'authkeep', scopes: ['openid', 'offline_access'] })
    expect(client).toMatchObject({ secret: null, secretExpiresAt: null, authentication: 'none' })
    const provider: Provider = { ...server.person, client: { id: client.id }, scopes: ['openid', 'offline_access'] }
    const answer = await loopbackFlow({ openBrowser: (url) => void completeLogin(url) }).run(grantRequest(provider))
    expect(oauth(answer).token.subject).toBe('alice')
  })

  it('may bring a secret, which does not print', async () => {
    const client = await registered({ authentication: 'client_secret_post' })
    expect(client.authentication).toBe('client_secret_post')
    expectNoSecret(client, [client.secret?.reveal() ?? 'missing', client.management?.token.reveal() ?? 'missing'])
  })

  it('says what kind of program it is (OpenID Connect Registration §2)', async () => {
    const web = { redirectUris: ['https://app.example/callback'], authentication: 'client_secret_basic' } as const
    expect(await registered(web)).toMatchObject({ authentication: 'client_secret_basic' })
    expect(await registered({ redirectUris: ['com.example.app:/callback'] })).toMatchObject({ secret: null })
  })

  it('is refused by the server', async () => {
    const outcome = await registerClient(server.metadata, { redirectUris: ['https://app.example/#fragment'] })
    expect(outcome).toMatchObject({ kind: 'refused', status: 400, error: 'invalid_redirect_uri' })
  })
})

describe('an answer to a registration', () => {
  let api: Stub | undefined
  afterEach(async () => {
    await api?.stop()
    api = undefined
  })
  const answered = async (
    status: number,
    body: unknown,
    request: Partial<RegistrationRequest> = {},
    headers: Record<string, string> = {},
  ): Promise<RegistrationOutcome> => {
    api = await stub((_, response) => {
      if (typeof body === 'string') response.writeHead(status, headers).end(body)
      else json(response, status, body, headers)
    })
    const metadata = { issuer: api.origin, registration_endpoint: `${api.origin}/register` }
    return registerClient(metadata, { redirectUris, ...request })
  }

  it.each([200, 201])('may come with HTTP %i', async (status) => {
    const outcome = await answered(status, {
      ...{ client_id: 'c', client_secret: 's3cr3t', client_secret_expires_at: 1_790_000_000 },
      ...{ registration_client_uri: 'https://as.example/c', registration_access_token: 't0ken' },
    })
    expectNoSecret(outcome, ['s3cr3t', 't0ken'])
    expect(outcome).toMatchObject({
      kind: 'registered',
      client: { id: 'c', secretExpiresAt: 1_790_000_000_000, authentication: undefined },
    })
    const { client } = outcome as Extract<RegistrationOutcome, { kind: 'registered' }>
    expect([client.secret?.reveal(), client.management?.url, client.management?.token.reveal()]).toEqual([
      ...['s3cr3t', 'https://as.example/c', 't0ken'],
    ])
  })

  it.each<[number, unknown, object]>([
    [201, {}, { kind: 'invalid', what: 'it names no client_id' }],
    [201, { client_id: 'c', redirect_uris: [] }, { kind: 'invalid', what: 'it leaves out a redirect URI' }],
    [201, { client_id: 'c', token_endpoint_auth_method: 'client_secret_post' }, { what: 'it names no client_secret' }],
    [201, { client_id: 'c', token_endpoint_auth_method: 'tls_client_auth' }, { kind: 'invalid' }],
    [201, '<html>', { kind: 'invalid', what: 'it is no JSON object' }],
    [302, '', { kind: 'invalid' }],
    [200, { error: 'invalid_client_metadata' }, { kind: 'refused', status: 200, error: 'invalid_client_metadata' }],
    [400, { error: 'invalid_grant' }, { kind: 'refused', error: 'invalid_grant' }],
    [401, '', { kind: 'refused', status: 401, error: 'http_401' }],
    [500, {}, { kind: 'unavailable', status: 500, cause: 'http_500', sent: true }],
  ])('is an outcome: %i %j', async (status, body, outcome) => {
    expect(await answered(status, body)).toMatchObject(outcome)
  })

  it('may ask for patience', async () => {
    const outcome = { kind: 'unavailable', cause: 'rate_limited', sent: true, retryAfterMs: 3000 }
    expect(await answered(429, {}, {}, { 'retry-after': '3' })).toMatchObject(outcome)
  })

  it('may never come', async () => {
    const metadata = { issuer: 'https://as.example', registration_endpoint: await nobody() }
    const outcome = await registerClient(metadata, { redirectUris })
    expect(outcome).toEqual({ kind: 'unavailable', cause: 'ECONNREFUSED', sent: false })
  })

  it('does not repeat the initial access token', async () => {
    const initialAccessToken = new Secret('initial-token')
    const error = { error: 'invalid_token', error_description: 'no initial-token' }
    const outcome = await answered(401, error, { initialAccessToken })
    expect(outcome).toEqual({ kind: 'refused', status: 401, error: 'invalid_token' })
  })
})

describe('a request to register', () => {
  it('says what the client is, and what the caller wants said besides', async () => {
    const bodies: unknown[] = []
    const api = await stub((_, response, body) => {
      bodies.push(JSON.parse(body))
      json(response, 201, { client_id: 'c' })
    })
    const metadata = { issuer: api.origin, registration_endpoint: `${api.origin}/register` }
    await registerClient(metadata, { redirectUris, scopes: ['a', 'b'], members: { software_id: 'x' } })
    await registerClient(metadata, { redirectUris: ['https://app.example/cb'], grantTypes: ['client_credentials'] })
    expect(bodies).toEqual([
      {
        redirect_uris: redirectUris,
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
        token_endpoint_auth_method: 'none',
        application_type: 'native',
        scope: 'a b',
        software_id: 'x',
      },
      {
        redirect_uris: ['https://app.example/cb'],
        grant_types: ['client_credentials'],
        response_types: [],
        token_endpoint_auth_method: 'none',
        application_type: 'web',
      },
    ])
    await api.stop()
  })

  it('is made to a safe place only', async () => {
    const never = (): never => {
      throw new Error('must not be called')
    }
    for (const endpoint of ['http://as.example/register', 'register', 7]) {
      const metadata = { issuer: 'https://as.example', registration_endpoint: endpoint }
      expect(await registerClient(metadata, { redirectUris, fetch: never })).toMatchObject({ kind: 'invalid' })
    }
    expect(await registerClient({ issuer: 'https://as.example' }, { redirectUris })).toEqual({ kind: 'not_supported' })
  })
})

describe('a client whose id is the URL of its document', () => {
  const clientIdUrl = 'https://app.example/client.json'
  const issuer = 'https://as.example'

  it('is registered nowhere, where the server reads such documents', async () => {
    const metadata = { issuer, client_id_metadata_document_supported: true, registration_endpoint: await nobody() }
    expect(await registerClient(metadata, { redirectUris, clientIdUrl })).toEqual({
      kind: 'registered',
      client: { id: clientIdUrl, secret: null, secretExpiresAt: null, authentication: 'none', management: null },
    })
    const without = { ...metadata, client_id_metadata_document_supported: undefined }
    expect(await registerClient(without, { redirectUris, clientIdUrl })).toMatchObject({ kind: 'unavailable' })
  })

  it('has a document that says what it is', () => {
    expect(clientMetadataDocument(clientIdUrl, { redirectUris, clientName: 'App' })).toMatchObject({
      ...{
        client_id: clientIdUrl,
        client_name: 'App',
        redirect_uris: redirectUris,
        token_endpoint_auth_method: 'none',
      },
    })
  })

  it.each([
    'http://127.0.0.1/client.json',
    'https://app.example',
    'https://app.example/',
    'https://app.example/a/../client.json',
    'https://user@app.example/client.json',
    'https://app.example/client.json#',
    'HTTPS://app.example/client.json',
    'client.json',
  ])('has a URL that can be compared as text, unlike %s', async (url) => {
    expect(() => clientMetadataDocument(url, { redirectUris })).toThrow(TypeError)
    const request = registerClient({ issuer }, { redirectUris, clientIdUrl: url })
    expect(await rejection(request)).toBeInstanceOf(TypeError)
  })
})
