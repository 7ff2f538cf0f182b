import { afterEach, beforeEach, expect, it } from 'vitest'
import { deviceFlow } from '../../src/grant/device-code.ts'
import { loopbackFlow } from '../../src/grant/loopback.ts'
import type { Provider } from '../../src/provider.ts'
import { openaiCodex } from '../../src/providers/openai-codex.ts'
import { rejection } from '../grant/setup.ts'
import { createSigner } from './signer.ts'
import { type Asked, challengeOf, type Desk, movedTo, openDesk, simulate, visit } from './simulated.ts'

const client = 'app_EMoamEEZ73f0CkXaXp7hrann'
const claims = { 'https://api.openai.com/auth': { chatgpt_account_id: 'acc-1', chatgpt_account_is_fedramp: false } }

let server: Awaited<ReturnType<typeof start>>
let desk: Desk
beforeEach(async () => {
  server = await start()
  desk = await openDesk(await at())
})
afterEach(async () => {
  await desk.close()
  await server.stop()
})

/** The servers behind a sign-in with ChatGPT, as far as a client sees them. */
async function start() {
  const signer = await createSigner()
  const state = { claims: claims as Record<string, unknown>, refreshToken: 'rt-0', isApproved: false, polls: 0 }
  let login: URLSearchParams | undefined
  let count = 0
  const issue = (): object => {
    count++
    state.refreshToken = `rt-${count}`
    const [access_token, refresh_token] = [`at-${count}`, state.refreshToken]
    return { access_token, refresh_token, token_type: 'Bearer', expires_in: 864_000 }
  }
  const exchange = async ({ members }: Asked): Promise<[number, unknown]> => {
    const isDevice = members['code'] === 'ac-device'
    const challenge = isDevice ? challengeOf('from-the-server') : login?.get('code_challenge')
    const uri = isDevice ? `${simulated.origin}/deviceauth/callback` : login?.get('redirect_uri')
    if (members['client_id'] !== client || challengeOf(members['code_verifier']) !== challenge) return [400, {}]
    if (members['redirect_uri'] !== uri) return [400, {}]
    const nonce = isDevice ? null : login?.get('nonce')
    const more = { ...state.claims, ...(nonce == null ? {} : { nonce }) }
    return [200, { ...issue(), id_token: await signer.idToken(simulated.origin, client, more) }]
  }
  const simulated = await simulate({
    'GET /.well-known/jwks.json': () => [200, signer.jwks],
    'GET /oauth/authorize': ({ url }) => {
      login = url.searchParams
      const back = new URL(login.get('redirect_uri') ?? '')
      back.search = new URLSearchParams({ code: 'ac-1', state: login.get('state') ?? '' }).toString()
      return back
    },
    'POST /oauth/token': async (asked) => {
      if (asked.members['grant_type'] === 'authorization_code') return exchange(asked)
      if (asked.type !== 'application/json') return [400, { error: 'invalid_request' }]
      if (asked.members['refresh_token'] === state.refreshToken) return [200, issue()]
      return [401, { error: { code: 'refresh_token_reused', message: 'It has been used.' } }]
    },
    'POST /oauth/revoke': () => [200, {}],
    'POST /api/accounts/deviceauth/usercode': () => [
      200,
      { device_auth_id: 'd-1', usercode: 'ABCD-EFGH', interval: '5' },
    ],
    'POST /api/accounts/deviceauth/token': () => {
      state.polls++
      if (!state.isApproved) return [state.polls % 2 === 0 ? 403 : 404, {}]
      const verifier = 'from-the-server'
      return [200, { authorization_code: 'ac-device', code_challenge: challengeOf(verifier), code_verifier: verifier }]
    },
    'POST /backend-api/codex/responses': () => [200, { ok: true }],
  })
  const lastTo = (path: string): Asked | undefined => simulated.asked.findLast(({ url }) => url.pathname === path)
  return { ...simulated, state, lastTo }
}

/** The provider as shipped, but at the simulated servers; the port is free to choose, so that nothing else is in the way. */
const at = async (product?: string): Promise<Provider> => ({
  ...(await movedTo(server.origin, openaiCodex(product === undefined ? {} : { product }), [
    'auth.openai.com',
    'chatgpt.com',
  ])),
  redirect: { host: 'localhost', path: '/auth/callback' },
})
const browser = loopbackFlow({ openBrowser: visit })
const logIn = () => desk.broker.authorize({ provider: 'openai-codex' }, browser)
const respond = () => desk.broker.fetch(`${server.origin}/backend-api/codex/responses`, { method: 'POST' })

it('asks for what the server knows, under a name of our own', async () => {
  await logIn()
  const asked = server.lastTo('/oauth/authorize')?.url.searchParams
  expect(Object.fromEntries(asked ?? [])).toMatchObject({
    client_id: client,
    scope: 'api.connectors.invoke api.connectors.read email offline_access openid profile',
    redirect_uri: expect.stringMatching(/^http:\/\/localhost:\d+\/auth\/callback$/) as string,
    code_challenge_method: 'S256',
    id_token_add_organizations: 'true',
    codex_cli_simplified_flow: 'true',
    originator: 'authkeep',
  })
  expect(asked?.get('scope')).not.toContain('api.responses.write')
  expect(openaiCodex({ product: 'mine' }).authorization).toMatchObject({ originator: 'mine' })
  expect(openaiCodex().redirect?.ports).toEqual([1455, 1457])
})

it('knows that no login brings the scope of the public API', async () => {
  await logIn()
  const failed = await rejection(desk.broker.getToken({ provider: 'openai-codex', scopes: ['api.responses.write'] }))
  expect(failed).toMatchObject({ code: 'scope_missing', detail: { obtainable: false } })
})

it('sends the token and the account to the backend of ChatGPT, and nowhere else', async () => {
  await logIn()
  expect((await respond()).status).toBe(200)
  const headers = server.lastTo('/backend-api/codex/responses')?.request.headers
  expect(headers).toMatchObject({
    authorization: 'Bearer at-1',
    'chatgpt-account-id': 'acc-1',
    originator: 'authkeep',
  })
  expect(headers).not.toHaveProperty('x-openai-fedramp')
  const elsewhere = await rejection(desk.broker.fetch('https://api.openai.com/v1/responses'))
  expect(elsewhere).toMatchObject({ code: 'scope_missing', detail: { obtainable: false } })
})

it.each([
  [
    { 'https://api.openai.com/auth': { chatgpt_account_is_fedramp: true }, chatgpt_account_id: 'acc-2' },
    'acc-2',
    'true',
  ],
  [{ organizations: [{ id: 'org-1' }, { id: 'org-2' }] }, 'org-1', undefined],
  [{}, undefined, undefined],
])('finds the account of %j', async (told, account, fedramp) => {
  server.state.claims = told
  await logIn()
  await respond()
  const headers = server.lastTo('/backend-api/codex/responses')?.request.headers
  expect([headers?.['chatgpt-account-id'], headers?.['x-openai-fedramp']]).toEqual([account, fedramp])
})

it('refreshes in JSON, and keeps the ID token that no refresh brings again', async () => {
  await logIn()
  await desk.expire()
  await respond()
  expect(server.lastTo('/oauth/token')?.members).toEqual({
    ...{ client_id: client, grant_type: 'refresh_token', refresh_token: 'rt-1' },
  })
  const headers = server.lastTo('/backend-api/codex/responses')?.request.headers
  expect(headers).toMatchObject({ authorization: 'Bearer at-2', 'chatgpt-account-id': 'acc-1' })
})

it('knows a dead refresh token when it is told, and keeps the entry', async () => {
  await logIn()
  await desk.expire()
  server.state.refreshToken = 'somebody has refreshed'
  expect(await rejection(respond())).toMatchObject({ code: 'grant_revoked' })
  expect(await desk.store.list()).toMatchObject([{ state: 'dead' }])
})

it('revokes in JSON', async () => {
  await logIn()
  expect(await desk.broker.revoke({ provider: 'openai-codex', account: 'default' })).toEqual({ revoked: true })
  expect(server.lastTo('/oauth/revoke')).toMatchObject({
    type: 'application/json',
    members: { token: 'rt-1', token_type_hint: 'refresh_token', client_id: client },
  })
})

it('logs in on another device, the way of this server', async () => {
  const shown: unknown[] = []
  const flow = deviceFlow({
    show: (code) => void shown.push(code),
    sleep: async () => {
      server.state.isApproved = server.state.polls === 2
    },
  })
  await desk.broker.authorize({ provider: 'openai-codex' }, flow)
  expect(shown).toMatchObject([{ userCode: 'ABCD-EFGH', verificationUri: `${server.origin}/codex/device` }])
  expect(server.lastTo('/api/accounts/deviceauth/usercode')?.members).toEqual({ client_id: client })
  expect(server.lastTo('/api/accounts/deviceauth/token')?.members).toEqual({
    device_auth_id: 'd-1',
    user_code: 'ABCD-EFGH',
  })
  expect(server.state.polls).toBe(3)
  expect((await respond()).status).toBe(200)
})
