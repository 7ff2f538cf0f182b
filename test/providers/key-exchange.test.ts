import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from 'jose'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { TokenBroker } from '../../src/broker/broker.ts'
import type { OAuthCredential } from '../../src/credential.ts'
import { Secret } from '../../src/index.ts'
import { openai } from '../../src/providers/openai.ts'
import { openaiCodex } from '../../src/providers/openai-codex.ts'
import { memoryBackend } from '../../src/store/backend.ts'
import { type CredentialStore, openStore } from '../../src/store/store.ts'
import { ended, type Run, start } from '../cli/built.ts'
import { expectNoSecret, rejection } from '../grant/setup.ts'
import { createSigner, type Signer } from './signer.ts'
import { type Answer, type Asked, movedTo, simulate } from './simulated.ts'

const client = 'app_EMoamEEZ73f0CkXaXp7hrann'
const login = { provider: 'openai-codex', account: 'default' }
const keyOf = { provider: 'openai', account: 'default' }

let signer: Signer
let server: Awaited<ReturnType<typeof simulate>>
let store: CredentialStore
let broker: TokenBroker
/** What the server answers to an exchange that is right in every member. */
let answer: (token: string) => Answer
let refreshed: () => Promise<Record<string, unknown>>

beforeEach(async () => {
  signer = await createSigner()
  answer = () => [200, { access_token: 'sk-minted' }]
  refreshed = async () => ({ access_token: 'at-2', refresh_token: 'rt-2', token_type: 'Bearer', expires_in: 3_600 })
  server = await simulate({
    'GET /.well-known/jwks.json': () => [200, signer.jwks],
    'POST /oauth/token': async (asked) =>
      asked.members['grant_type'] === 'refresh_token' ? [200, await refreshed()] : exchange(asked),
  })
  const hosts = ['auth.openai.com', 'chatgpt.com']
  store = await openStore({ backend: memoryBackend() })
  broker = new TokenBroker({
    store,
    providers: [await movedTo(server.origin, openaiCodex(), hosts), openai()],
    environment: {},
  })
})
afterEach(async () => {
  await broker.close()
  await store.close()
  await server.stop()
})

/** RFC 8693 §2.1, as strictly as a server can be. */
async function exchange({ type, members }: Asked): Promise<Answer> {
  const { subject_token: token = '', ...others } = members
  expect(type).toMatch(/^application\/x-www-form-urlencoded/)
  expect(others).toEqual({
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    client_id: client,
    requested_token: 'openai-api-key',
    subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
  })
  await jwtVerify(token, createLocalJWKSet(signer.jwks as JSONWebKeySet), { issuer: server.origin, audience: client })
  return answer(token)
}

async function logIn(until?: string): Promise<void> {
  const now = Date.now()
  const idToken = new Secret(await signer.idToken(server.origin, client, {}, until))
  const scopes = ['openid']
  const token = { accessToken: new Secret('at-1'), tokenType: 'Bearer', scopes, resource: null, obtainedAt: now }
  const grant = {
    scopes,
    evidence: 'response',
    resources: [],
    refreshToken: new Secret('rt-1'),
    generation: 1,
  } as const
  const credential: OAuthCredential = {
    ...{ ...login, type: 'oauth', issuer: server.origin, clientId: client, subject: 'user-1', lease: null, idToken },
    grant: { ...grant, refreshExpiresAt: null, obtainedAt: now, state: 'live', replays: 0 },
    tokens: [{ ...token, expiresAt: now + 3_600_000, evidence: 'response' }],
  }
  await store.update(login, () => credential)
}

const exchanges = (): number => server.asked.filter(({ members }) => members['requested_token'] !== undefined).length
const refreshes = (): number => server.asked.filter(({ members }) => members['grant_type'] === 'refresh_token').length

it('exchanges the login for a key, stores it for the other provider, and leaves the login as it is', async () => {
  await logIn()
  const before = await store.read(login)
  const info = await broker.exchangeForKey(login)
  expect(info).toMatchObject({ ...keyOf, type: 'api_key' })
  expectNoSecret(info, ['sk-minted'])
  expect((await broker.getToken('https://api.openai.com/v1/models')).reveal()).toBe('sk-minted')
  expect(await store.read(login)).toEqual(before)
  expect([exchanges(), refreshes(), server.asked.length]).toEqual([1, 0, 1])
})

it('renews an ID token that has expired, by one refresh', async () => {
  await logIn('-1m')
  const fresh = await signer.idToken(server.origin, client, {})
  const bare = refreshed
  refreshed = async () => ({ ...(await bare()), id_token: fresh })
  await broker.exchangeForKey(login, { account: 'minted' })
  expect(await store.read({ ...keyOf, account: 'minted' })).not.toBeNull()
  expect([exchanges(), refreshes()]).toEqual([1, 1])
})

it('says so where no refresh renews the ID token, and asks for no key', async () => {
  await logIn('-1m')
  expect(await rejection(broker.exchangeForKey(login))).toMatchObject({
    code: 'authorization_required',
    detail: { reason: 'no_id_token' },
  })
  expect([exchanges(), refreshes()]).toEqual([0, 1])
  expect((await broker.getToken({ ...login })).reveal()).toBe('at-2')
})

it.each<[string, Answer, object]>([
  [
    'is not entitled',
    [401, { error: { code: 'invalid_subject_token' } }],
    { code: 'not_entitled', detail: { ...login, keyFor: 'openai', status: 401, error: 'invalid_subject_token' } },
  ],
  [
    'is not entitled, in the words of RFC 6749',
    [400, { error: 'invalid_grant', error_description: 'no organization' }],
    { code: 'not_entitled', detail: { description: 'no organization' } },
  ],
  ['is refused for its client', [401, { error: 'invalid_client' }], { code: 'server_rejected' }],
  [
    'meets a server in trouble',
    [503, { error: 'server_error' }],
    { code: 'server_unavailable', detail: { status: 503, sent: true } },
  ],
  ['gets an answer without a key', [200, { token_type: 'Bearer' }], { code: 'response_invalid' }],
])('a login that %s is told so, and nothing is stored', async (_, given, error) => {
  await logIn()
  const before = await store.read(login)
  answer = () => given
  const refused = await rejection(broker.exchangeForKey(login))
  expect(refused).toMatchObject(error)
  const idToken = before?.type === 'oauth' ? before.idToken?.reveal() : undefined
  expectNoSecret(refused, [idToken ?? 'none'])
  expect(await store.list()).toHaveLength(1)
  expect(await store.read(login)).toEqual(before)
  expect(exchanges()).toBe(1)
})

it('repeats no token that a server repeats', async () => {
  await logIn()
  let shown = 'none'
  answer = (token) => [400, { error: 'invalid_grant', error_description: `no: ${(shown = token)}` }]
  const refused = await rejection(broker.exchangeForKey(login))
  expectNoSecret(refused, [shown])
  expect(shown).not.toBe('none')
})

it('a network that fails is told so, and nothing is stored', async () => {
  await logIn()
  const before = await store.read(login)
  await server.stop()
  expect(await rejection(broker.exchangeForKey(login))).toMatchObject({
    code: 'server_unavailable',
    detail: { sent: false },
  })
  expect(await store.list()).toHaveLength(1)
  expect(await store.read(login)).toEqual(before)
})

it('replaces no key: before anything is sent, nor one that has come meanwhile', async () => {
  await logIn()
  const own = (key: string) => store.update(keyOf, () => ({ ...keyOf, type: 'api_key', key: new Secret(key) }))
  const taken = { code: 'account_ambiguous', detail: { accounts: ['default'], reason: 'other_key' } }
  await own('typed')
  expect(await rejection(broker.exchangeForKey(login))).toMatchObject(taken)
  expect(exchanges()).toBe(0)
  await store.update(keyOf, () => null)
  const bare = answer
  let typed: Promise<unknown> | undefined
  answer = (token) => {
    typed = own('typed meanwhile')
    return bare(token)
  }
  expect(await rejection(broker.exchangeForKey(login))).toMatchObject(taken)
  await typed
  expect((await broker.getToken({ ...keyOf })).reveal()).toBe('typed meanwhile')
})

it('is the last of what would work instead, and only with a login that can be exchanged', async () => {
  await logIn()
  const error = await rejection(broker.fetch('https://api.openai.com/v1/responses', { method: 'POST' }))
  const { detail } = error as { detail: { alternatives: string[] } }
  expect(detail.alternatives).toEqual([
    `${server.origin}/backend-api/codex with the openai-codex login "default"`,
    'https://api.openai.com/v1 after authkeep login openai --flow api-key',
    'https://api.openai.com/v1 after authkeep login openai --flow exchange --from openai-codex (best effort: many accounts are given no key)',
  ])
})

it('is there on the command line', async () => {
  await logIn()
  const home = await mkdtemp(join(tmpdir(), 'authkeep-exchange-'))
  await mkdir(join(home, 'providers'))
  const moved = await movedTo(server.origin, openaiCodex(), ['auth.openai.com', 'chatgpt.com'])
  await writeFile(join(home, 'providers', 'openai-codex.json'), JSON.stringify(moved), { mode: 0o600 })
  const file = await openStore({ path: join(home, 'auth.json') })
  const credential = await store.read(login)
  await file.update(login, () => credential)
  await file.close()
  const run = (...more: readonly string[]): Promise<Run> => ended(start(home, ['login', ...more]))
  const wrong = await run('anthropic', '--flow', 'exchange', '--from', 'openai-codex')
  expect(wrong.code).toBe(1)
  expect(wrong.stderr).toContain('A login to openai-codex is exchanged for an API key of openai, not of anthropic.')
  expect((await run('openai', '--flow', 'exchange')).stderr).toContain('--flow exchange and --from go together')
  const done = await run('openai', '--flow', 'exchange', '--from', 'openai-codex')
  expect([done.code, done.stdout]).toEqual([0, 'Stored the API key of openai as "default".\n'])
  expect(done.stdout + done.stderr).not.toContain('sk-minted')
  expect((await run('openai', '--flow', 'exchange', '--from', 'openai-codex')).stderr).toContain('is not replaced')
  answer = () => [403, { error: 'no_organization' }]
  const refused = await run('openai', '--account', 'b', '--flow', 'exchange', '--from', 'openai-codex')
  expect(refused.code).toBe(1)
  expect(refused.stderr).toContain('Many accounts are not entitled to one')
  expect(refused.stderr).toContain('authkeep login openai --flow api-key')
  expect(exchanges()).toBe(2)
  await rm(home, { recursive: true })
})
