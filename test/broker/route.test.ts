import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { TokenBroker } from '../../src/broker/broker.ts'
import { type Credential, type OAuthCredential, Secret } from '../../src/credential.ts'
import type { Provider } from '../../src/provider.ts'
import { memoryBackend } from '../../src/store/backend.ts'
import { openStore } from '../../src/store/store.ts'
import { setStage } from './stage.ts'

// Two ways to one service, as they are at the vendor whose sign-in and whose API are two things: a login that can never
// be given the scope of the public API, and a key for that.
const signIn: Provider = {
  id: 'signin',
  issuer: 'https://auth.example',
  client: { id: 'app', scopes: ['openid', 'offline_access', 'connect'] },
  scopes: ['openid', 'offline_access', 'connect'],
  endpoints: [
    { url: 'https://chat.example/backend/*', service: 'responses', headers: { 'Chat-Account': '{metadata.account}' } },
    {
      url: 'https://api.example/v1/responses',
      scopes: ['responses.write'],
      service: 'responses',
      baseUrl: 'https://api.example/v1',
    },
  ],
}
const keys: Provider = {
  id: 'keys',
  issuer: 'https://auth.example',
  client: { id: 'none' },
  endpoints: [{ url: 'https://api.example/v1/*', accepts: ['api_key'], service: 'responses' }],
}
const providers = [signIn, keys]
const publicUrl = 'https://api.example/v1/responses'

function login(changes: Partial<OAuthCredential> = {}, scopes: readonly string[] = ['openid', 'connect']): Credential {
  return {
    ...{ type: 'oauth', provider: 'signin', account: 'me', issuer: signIn.issuer, clientId: 'app', subject: 'u' },
    grant: {
      ...{ scopes, evidence: 'response', resources: [], refreshToken: new Secret('rt'), refreshExpiresAt: null },
      ...{ generation: 1, obtainedAt: 0, state: 'live', replays: 0 },
    },
    tokens: [
      {
        ...{ accessToken: new Secret('at-secret'), tokenType: 'Bearer', scopes, resource: null },
        ...{ expiresAt: Date.now() + 3_600_000, obtainedAt: Date.now(), evidence: 'response' },
      },
    ],
    lease: null,
    metadata: { account: 'team-1' },
    ...changes,
  }
}
const apiKey: Credential = { type: 'api_key', provider: 'keys', account: 'default', key: new Secret('sk-secret') }

/** Whatever is sent is a failure: all of this is decided before any request. */
async function brokerWith(
  credentials: readonly Credential[],
  options: { readonly providers?: readonly Provider[]; readonly fetch?: typeof fetch } = {},
): Promise<TokenBroker> {
  const store = await openStore({ backend: memoryBackend() })
  for (const credential of credentials) await store.update(credential, () => credential)
  const refuse = (): never => {
    throw new Error('a request was made')
  }
  return new TokenBroker({ store, providers, fetch: refuse, ...options })
}

describe('a route to a service', () => {
  test('is the first whose requirement a stored credential meets', async () => {
    const broker = await brokerWith([login(), apiKey])
    const route = await broker.route({ service: 'responses' })
    expect(route).toMatchObject({
      ...{ provider: 'signin', account: 'me', kind: 'oauth', baseUrl: 'https://chat.example/backend', passedOver: [] },
    })
    await expect(route.headers({ method: 'POST', url: 'https://chat.example/backend/responses' })).resolves.toEqual({
      authorization: 'Bearer at-secret',
      'Chat-Account': 'team-1',
    })
    expect(inspect(route, { depth: 9 })).not.toMatch(/at-secret|sk-secret/)
    expect(JSON.stringify(route)).not.toMatch(/at-secret|sk-secret/)
  })

  test('passes over what does not serve, and says why', async () => {
    const broker = await brokerWith([login({ tokens: [], grant: { ...oauth(login()).grant, state: 'dead' } }), apiKey])
    const route = await broker.route({ service: 'responses' })
    expect(route).toMatchObject({ provider: 'keys', kind: 'api_key', baseUrl: 'https://api.example/v1' })
    expect(route.passedOver).toMatchObject(
      [
        { provider: 'signin', account: 'me', endpoint: 'https://chat.example/backend/*', reason: /no longer accepts/ },
        { provider: 'signin', account: 'me', endpoint: publicUrl, reason: /lacks responses\.write/ },
      ].map((one) => ({ ...one, reason: expect.stringMatching(one.reason) as string })),
    )
  })

  test('takes the public API for a login that really has the scope', async () => {
    const wide = login({}, ['openid', 'responses.write'])
    const other: Provider = { ...signIn, endpoints: (signIn.endpoints ?? []).slice(1) }
    const broker = await brokerWith([wide, apiKey], { providers: [other, keys] })
    await expect(broker.route({ service: 'responses' })).resolves.toMatchObject({
      ...{ provider: 'signin', baseUrl: 'https://api.example/v1', endpoint: publicUrl },
    })
  })

  test('is chosen among those that have the model', async () => {
    const [chat, open] = signIn.endpoints ?? []
    if (chat === undefined || open === undefined) throw new Error('two endpoints')
    const some: Provider = { ...signIn, endpoints: [{ ...chat, models: ['codex-*', 'o.9'] }, open] }
    const broker = await brokerWith([login(), apiKey], { providers: [some, keys] })
    const providerOf = async (model: string): Promise<string> =>
      (await broker.route({ service: 'responses', model })).provider
    await expect(providerOf('codex-5-mini')).resolves.toBe('signin')
    await expect(providerOf('o.9')).resolves.toBe('signin')
    await expect(providerOf('o-9')).resolves.toBe('keys')
    await expect(providerOf('my-codex-5')).resolves.toBe('keys')
    const only = await brokerWith([login()], { providers: [{ ...some, endpoints: some.endpoints?.slice(0, 1) ?? [] }] })
    await expect(only.route({ service: 'responses', model: 'o-9' })).rejects.toMatchObject({ code: 'endpoint_unknown' })
  })

  test('that nobody offers is an error with the nearest name', async () => {
    const broker = await brokerWith([])
    await expect(broker.route({ service: 'response' })).rejects.toMatchObject({
      ...{ code: 'endpoint_unknown', detail: { asked: 'response', nearest: 'responses' } },
    })
  })

  test('without any credential names the first login that could help', async () => {
    const broker = await brokerWith([])
    await expect(broker.route({ service: 'responses' })).rejects.toMatchObject({
      ...{ code: 'authorization_required', detail: { provider: 'signin', reason: 'no_credential' } },
    })
  })

  test('asks which of several accounts is meant', async () => {
    const broker = await brokerWith([
      login(),
      login({ account: 'other', grant: { ...oauth(login()).grant, refreshToken: null } }),
    ])
    await expect(broker.route({ service: 'responses' })).rejects.toMatchObject({
      ...{ code: 'account_ambiguous', detail: { provider: 'signin', accounts: ['me', 'other'] } },
    })
    await expect(broker.route({ service: 'responses', account: 'other' })).resolves.toMatchObject({ account: 'other' })
  })
})

describe('a base URL of the caller', () => {
  test('is honoured, and leaves the routes that may go there', async () => {
    const broker = await brokerWith([login(), apiKey])
    const route = await broker.route({ service: 'responses', baseUrl: 'https://api.example/v1/' })
    expect(route).toMatchObject({ provider: 'keys', baseUrl: 'https://api.example/v1' })
    const deeper = await broker.route({ service: 'responses', baseUrl: 'https://chat.example/backend/eu' })
    expect(deeper).toMatchObject({ provider: 'signin', baseUrl: 'https://chat.example/backend/eu' })
  })

  test('for which only a login without the scope is there: the error of the public API, not another route', async () => {
    const broker = await brokerWith([login()])
    await expect(broker.route({ service: 'responses', baseUrl: 'https://api.example/v1' })).rejects.toMatchObject({
      code: 'scope_missing',
    })
  })

  const foreign = 'https://relay.corp.example/openai'

  test('that no provider declares gets no credential', async () => {
    const broker = await brokerWith([login(), apiKey])
    await expect(broker.route({ service: 'responses', baseUrl: foreign })).rejects.toMatchObject({
      code: 'host_not_bound',
      detail: { host: 'relay.corp.example', declared: ['chat.example', 'api.example'] },
    })
  })

  test('that is trusted gets it, and nothing beside it does', async () => {
    const broker = await brokerWith([login(), apiKey])
    const route = await broker.route({ service: 'responses', baseUrl: foreign, trustBaseUrl: true })
    expect(route).toMatchObject({ provider: 'signin', baseUrl: foreign })
    const headersFor = (url: string): Promise<object> => route.headers({ method: 'POST', url })
    await expect(headersFor(`${foreign}/responses`)).resolves.toHaveProperty('authorization')
    for (const url of [
      'https://relay.corp.example/other',
      `${foreign}-evil/x`,
      'https://relay.corp.example.evil/openai/x',
    ]) {
      await expect(headersFor(url)).rejects.toMatchObject({ code: 'host_not_bound' })
    }
    // Trust is the call's, not the credential's.
    const again = await broker.route({ service: 'responses' })
    await expect(again.headers({ method: 'POST', url: `${foreign}/responses` })).rejects.toMatchObject({
      code: 'host_not_bound',
    })
  })

  test.each([
    'http://relay.example/v1',
    'https://*.example/v1',
    'https://u:p@api.example/v1',
    'https://api.example/v1?x',
    'nonsense',
  ])('%s is refused even when it is trusted', async (baseUrl) => {
    const broker = await brokerWith([login(), apiKey])
    await expect(broker.route({ service: 'responses', baseUrl, trustBaseUrl: true })).rejects.toBeInstanceOf(TypeError)
  })
})

describe('a token for a URL that two providers declare', () => {
  test('is of the one whose credential serves', async () => {
    const broker = await brokerWith([login(), apiKey])
    const token = await broker.getToken(publicUrl)
    expect(token.reveal()).toBe('sk-secret')
    await expect(broker.explain(publicUrl)).resolves.toMatchObject({ verdict: 'use', alternatives: [] })
  })

  test('that no login of the client can bring: said before any request, with what would work', async () => {
    const broker = await brokerWith([login()])
    const alternatives = [
      'https://chat.example/backend with the signin login "me"',
      'https://api.example/v1 after authkeep login keys --flow api-key',
    ]
    await expect(broker.getToken(publicUrl)).rejects.toMatchObject({
      code: 'scope_missing',
      message: expect.stringContaining('no login of its client can bring it') as string,
      detail: { missing: ['responses.write'], obtainable: false, alternatives },
      loginCommand: undefined,
    })
    const explanation = await broker.explain(publicUrl)
    expect(explanation).toMatchObject({
      verdict: 'authorize',
      requirement: { scopes: ['responses.write'] },
      candidates: [
        {
          granted: ['openid', 'connect'],
          never: { scopes: ['responses.write'], clientId: 'app', obtainable: ['openid', 'offline_access', 'connect'] },
        },
      ],
      alternatives: [
        { provider: 'signin', isReady: true, text: alternatives[0] },
        { provider: 'keys', isReady: false, command: 'authkeep login keys --flow api-key', text: alternatives[1] },
      ],
    })
  })

  test('of which nothing is stored names the login that could bring it', async () => {
    const broker = await brokerWith([])
    await expect(broker.getToken(publicUrl)).rejects.toMatchObject({ detail: { provider: 'keys' } })
  })
})

test('callers that wait for one refresh share the token, and not the trust of one of them', async () => {
  const stage = await setStage()
  try {
    await stage.login()
    await stage.expire()
    stage.server.reset()
    const trusted = 'http://127.0.0.1:9/relay'
    const [trusting, ordinary] = await Promise.all([
      stage.broker.route({ service: 'files', baseUrl: trusted, trustBaseUrl: true }),
      stage.broker.route({ service: 'files' }),
    ])
    const request = { method: 'GET', url: `${trusted}/files` }
    await expect(trusting.headers(request)).resolves.toHaveProperty('authorization')
    await expect(ordinary.headers(request)).rejects.toMatchObject({ code: 'host_not_bound' })
    expect(trusting.token.reveal() === ordinary.token.reveal()).toBe(true)
    expect(stage.server.counts().arrived).toBe(1)
  } finally {
    await stage.stop()
  }
})

function oauth(credential: Credential): OAuthCredential {
  if (credential.type !== 'oauth') throw new Error('no OAuth credential')
  return credential
}
