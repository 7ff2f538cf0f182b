import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { Secret } from '../../src/credential.ts'
import { clientCredentialsFlow } from '../../src/grant/client-credentials.ts'
import { requestClientCredentials } from '../../src/grant/client-credentials-request.ts'
import { exchangeToken } from '../../src/grant/token-exchange.ts'
import type { TokenOutcome } from '../../src/grant/token-request.ts'
import type { Provider } from '../../src/provider.ts'
import { type FullServer, serviceSecret, startFullServer } from './full-server.ts'
import { expectNoSecret, grantRequest, nobody, oauth, rejection } from './setup.ts'

let server: FullServer
let files: string
let mail: string
beforeAll(async () => {
  server = await startFullServer()
  ;[files = '', mail = ''] = server.resourceList
})
afterEach(() => server.reset())
afterAll(() => server.stop())

const as = (id: string, client: Partial<Provider['client']>): Provider => ({
  ...server.service,
  client: { id, ...client },
})

async function requested(provider: Provider, more: object = {}): Promise<TokenOutcome> {
  const request = { provider, metadata: server.metadata, scopes: ['files:read'], resource: files, fetch, now: Date.now }
  const outcome = await requestClientCredentials({ ...request, timeoutMs: 5000, ...more })
  expectNoSecret(outcome, [serviceSecret, encodeURIComponent(serviceSecret)])
  return outcome
}

describe('client credentials', () => {
  it.each<[string, () => Provider]>([
    ['a secret in the body', () => server.service],
    [
      'a secret in the header',
      () => as('service-basic', { secret: serviceSecret, authentication: 'client_secret_basic' }),
    ],
    ['a key', () => as('service-key', { privateKey: server.privateKey })],
  ])('are a token for the client itself, shown with %s', async (_, provider) => {
    expect(await requested(provider())).toMatchObject({
      kind: 'served',
      answer: {
        scopes: ['files:read'],
        evidence: 'response',
        resource: files,
        tokenType: 'Bearer',
        refreshToken: null,
      },
    })
    expect(server.counts()).toMatchObject({ arrived: 1, token: { client_credentials: 1 } })
  })

  it('go into the header where the server knows no other place', async () => {
    const places: string[] = []
    const watched: typeof fetch = (input, init) => {
      places.push(new Headers(init?.headers).has('authorization') ? 'header' : 'body')
      return fetch(input, init)
    }
    for (const methods of [undefined, ['client_secret_basic'], ['client_secret_basic', 'client_secret_post'], 'none']) {
      const metadata = { ...server.metadata, token_endpoint_auth_methods_supported: methods }
      expect(await requested(server.service, { metadata, fetch: watched })).toMatchObject({ kind: 'served' })
    }
    expect(places).toEqual(['body', 'header', 'body', 'body'])
  })

  it('can be asked for again as often as one likes', async () => {
    const outcomes = [await requested(server.service), await requested(server.service)]
    expect(outcomes).toMatchObject([{ kind: 'served' }, { kind: 'served' }])
  })

  it('are refused, or come to nothing, as every token request', async () => {
    const wrong = as('service', { secret: 'wrong' })
    expect(await requested(wrong)).toMatchObject({ kind: 'refused', status: 401, error: 'invalid_client' })
    expect(await requested(server.service, { scopes: ['mail:send'], resource: mail })).toMatchObject({
      kind: 'refused',
      error: 'invalid_scope',
    })
    server.fault('html', 'lost', { status: 429, retryAfter: '7' })
    expect(await requested(server.service)).toMatchObject({ kind: 'ambiguous', cause: 'html' })
    expect(await requested(server.service)).toMatchObject({ kind: 'ambiguous', cause: 'UND_ERR_SOCKET' })
    expect(await requested(server.service)).toMatchObject({ kind: 'limited', retryAfterMs: 7000 })
    const gone = { ...server.metadata, token_endpoint: await nobody() }
    expect(await requested(server.service, { metadata: gone })).toEqual({ kind: 'not_sent', cause: 'ECONNREFUSED' })
    server.mutateResponse(() => ({ error: 'invalid_client', error_description: serviceSecret }))
    expect(await requested(server.service)).toEqual({ kind: 'refused', status: 200, error: 'invalid_client' })
  })

  it('need a key that can sign, and do not quote it', async () => {
    const { d, ...publicKey } = server.privateKey
    for (const privateKey of [publicKey, { ...publicKey, d: 'AAAA' }, { kty: 'oct', k: d, d }, undefined]) {
      const client = { authentication: 'private_key_jwt', ...(privateKey === undefined ? {} : { privateKey }) } as const
      const error = await rejection(requested(as('service-key', client)))
      expect(error).toMatchObject({ code: 'provider_invalid' })
      expectNoSecret(error, [String(d)])
    }
    expect(server.counts().arrived).toBe(0)
  })

  it('are a login without a person', async () => {
    const request = { scopes: ['files:read', 'mail:read'], resources: [files, mail] }
    const answer = oauth(await clientCredentialsFlow().run(grantRequest(server.service, request)))
    expect(answer).toMatchObject({
      // What the answer says is the share of the first resource; about the other nobody has said anything.
      ...{ scopes: ['files:read', 'mail:read'], evidence: 'assumed', resources: [files, mail] },
      token: { scopes: ['files:read'], evidence: 'response', resource: files, refreshToken: null },
    })
  })

  it('are a login that fails with an error, and ends with its signal', async () => {
    const wrong = as('service', { secret: 'wrong' })
    const error = await rejection(clientCredentialsFlow().run(grantRequest(wrong)))
    expect(error).toMatchObject({ code: 'server_rejected', detail: { status: 401, error: 'invalid_client' } })
    const reason = new Error('never mind')
    const signal = AbortSignal.abort(reason)
    expect(await rejection(clientCredentialsFlow().run(grantRequest(server.service, { signal })))).toBe(reason)
  })

  it('may need parameters of the server', async () => {
    const flow = clientCredentialsFlow({ parameters: { scope: 'mail:read', resource: mail } })
    const answer = oauth(await flow.run(grantRequest(server.service, { scopes: [] })))
    expect(answer.token.scopes).toEqual(['mail:read'])
  })
})

describe('token exchange (RFC 8693)', () => {
  const provider = (): Provider => ({ ...server.service, tokenExchange: true })
  const exchanged = async (subjectToken: Secret, more: object = {}): Promise<TokenOutcome> => {
    const request = { provider: provider(), metadata: server.metadata, subjectToken, scopes: ['files:read'] }
    const rest = { resource: null, fetch, now: Date.now, timeoutMs: 5000 }
    const outcome = await exchangeToken({ ...request, ...rest, ...more })
    expectNoSecret(outcome, [subjectToken.reveal(), serviceSecret])
    return outcome
  }
  const wide = async (): Promise<Secret> => {
    const outcome = await requested(server.service, { scopes: ['files:read', 'files:write'] })
    if (outcome.kind !== 'served') throw new Error(`expected a token, not ${outcome.kind}`)
    return outcome.answer.accessToken
  }

  it('brings a narrower token, and leaves the other as it was', async () => {
    const subject = await wide()
    const outcome = await exchanged(subject)
    expect(outcome).toMatchObject({ kind: 'served', answer: { scopes: ['files:read'], evidence: 'response' } })
    expect(outcome.kind === 'served' && outcome.answer.accessToken.reveal()).not.toBe(subject.reveal())
    expect(await exchanged(subject, { scopes: ['files:write'] })).toMatchObject({ answer: { scopes: ['files:write'] } })
  })

  it('says where the token is for', async () => {
    const bodies: URLSearchParams[] = []
    const watched: typeof fetch = (input, init) => {
      bodies.push(new URLSearchParams(init?.body as string))
      return fetch(input, init)
    }
    await exchanged(await wide(), { fetch: watched, resource: 'https://api.example/', audience: 'api' })
    expect(Object.fromEntries(bodies[0] ?? [])).toMatchObject({
      ...{ resource: 'https://api.example/', audience: 'api', scope: 'files:read' },
      subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      requested_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    })
  })

  it('is refused for more than the subject has, and for a subject that is unknown', async () => {
    expect(await exchanged(await wide(), { scopes: ['mail:read'] })).toMatchObject({
      ...{ kind: 'refused', error: 'invalid_scope' },
    })
    expect(await exchanged(new Secret('unknown'))).toMatchObject({ kind: 'ambiguous', error: 'invalid_request' })
  })

  it.each([
    [{ issued_token_type: 'urn:ietf:params:oauth:token-type:refresh_token' }],
    [{ issued_token_type: 'urn:ietf:params:oauth:token-type:saml2', token_type: 'N_A' }],
    [{ token_type: 'N_A' }],
  ])('is invalid when it brings something else: %j', async (members) => {
    const subject = await wide()
    server.mutateResponse((body) => ({ ...body, ...members }))
    expect(await exchanged(subject)).toMatchObject({ kind: 'invalid', status: 200 })
  })

  it('is not tried where the provider does not declare it', async () => {
    const error = await rejection(exchanged(new Secret('t'), { provider: server.service }))
    expect(error).toMatchObject({ code: 'not_supported' })
    expect(server.counts().arrived).toBe(0)
  })
})
