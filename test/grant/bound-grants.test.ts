import { decodeJwt } from 'jose'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { completeLogin } from '../../examples/server/robot.ts'
import type { Secret } from '../../src/credential.ts'
import { requestClientCredentials } from '../../src/grant/client-credentials-request.ts'
import { type DpopKey, dpopNonces, generateDpopKey } from '../../src/grant/dpop.ts'
import type { GrantAnswer } from '../../src/grant/flow.ts'
import { loopbackFlow } from '../../src/grant/loopback.ts'
import { type RefreshRequest, refresh, type TokenOutcome } from '../../src/grant/token-request.ts'
import type { Provider } from '../../src/provider.ts'
import { type FullServer, startFullServer } from './full-server.ts'
import { expectNoSecret, grantRequest, json, oauth, rejection, stub } from './setup.ts'

type Login = Extract<GrantAnswer, { type: 'oauth' }>

let server: FullServer
let provider: Provider
let files: string
beforeAll(async () => {
  server = await startFullServer()
  provider = { ...server.person, dpop: 'required' }
  ;[files = ''] = server.resourceList
})
afterEach(() => {
  server.requireNonce(false)
  server.reset()
})
afterAll(() => server.stop())

async function login(
  as = provider,
  more: object = {},
  visit = (url: URL): unknown => completeLogin(url),
): Promise<Login> {
  const openBrowser = (url: URL): void => void visit(url)
  return oauth(await loopbackFlow({ openBrowser }).run(grantRequest(as, { resources: [files], ...more })))
}

const keyOf = ({ dpopKey }: Login): DpopKey => {
  if (dpopKey === undefined) throw new Error('the login has no key')
  return dpopKey
}
const tokenOf = ({ token }: Login): Secret => {
  if (token.refreshToken === null) throw new Error('the login has no refresh token')
  return token.refreshToken
}

/** A `fetch` that keeps the claims of every proof it was given. */
function watching(): { proofs: Record<string, unknown>[]; fetch: typeof fetch } {
  const proofs: Record<string, unknown>[] = []
  return {
    proofs,
    fetch: (input, init) => {
      const proof = new Headers(init?.headers).get('dpop')
      if (proof !== null) proofs.push(decodeJwt(proof))
      return fetch(input, init)
    },
  }
}

function refreshed(refreshToken: Secret, more: Partial<RefreshRequest> = {}): Promise<TokenOutcome> {
  return refresh({
    ...{ provider, metadata: server.metadata, refreshToken, requestedScopes: ['files:read'], resource: files },
    ...{ expectedSubject: null, fetch, now: Date.now, timeoutMs: 5000, ...more },
    beforeSend: more.beforeSend ?? (() => undefined),
    onAnswer: more.onAnswer ?? (async () => undefined),
  })
}

describe('a login that is bound to a key (RFC 9449)', () => {
  it('brings tokens that are of use with that key only', async () => {
    const answer = await login()
    const dpopKey = keyOf(answer)
    expect(answer.token.tokenType).toBe('DPoP')
    expectNoSecret(answer, [dpopKey.privateJwk.reveal()])
    const { url, clientId, clientSecret } = server.introspection
    const body = new URLSearchParams({ token: answer.token.accessToken.reveal() })
    const authorization = `Basic ${btoa(`${clientId}:${clientSecret}`)}`
    const told = (await (await fetch(url, { method: 'POST', body, headers: { authorization } })).json()) as object
    expect(told).toMatchObject({ active: true, token_type: 'DPoP', cnf: { jkt: dpopKey.jkt } })
  })

  it('takes a key that there is already, and binds the code to it (RFC 9449 §10)', async () => {
    const dpopKey = await generateDpopKey()
    let jkt: string | null = null
    const visit = (url: URL): unknown => {
      jkt = url.searchParams.get('dpop_jkt')
      return completeLogin(url)
    }
    expect((await login(provider, { dpopKey }, visit)).dpopKey).toBe(dpopKey)
    expect(jkt).toBe(dpopKey.jkt)
  })

  it('has no key where the provider wants none, nor sends one that it is given', async () => {
    const watched = watching()
    const { dpop: _, ...plain } = provider
    const answer = await login(plain, { dpopKey: await generateDpopKey(), fetch: watched.fetch })
    expect(answer).toMatchObject({ token: { tokenType: 'Bearer' } })
    expect([answer.dpopKey, watched.proofs]).toEqual([undefined, []])
  })

  it('fails where the token is not bound and has to be, and is tolerated where it need not be', async () => {
    server.mutateResponse((body) => ({ ...body, token_type: 'Bearer' }))
    expect(await rejection(login())).toMatchObject({ code: 'response_invalid', detail: { status: 200 } })
    expect(await login({ ...provider, dpop: true })).toMatchObject({ token: { tokenType: 'Bearer' } })
  })

  it('fails where the token is bound to a key that we do not have', async () => {
    server.mutateResponse((body) => ({ ...body, token_type: 'DPoP' }))
    const { dpop: _, ...plain } = provider
    expect(await rejection(login(plain))).toMatchObject({ code: 'response_invalid' })
  })
})

describe('a bound refresh token', () => {
  let held: Login
  beforeEach(async () => {
    held = await login()
    server.reset()
  })

  it('is refreshed with a proof, and only with one by its key', async () => {
    expect(await refreshed(tokenOf(held), { dpopKey: await generateDpopKey() })).toMatchObject({ kind: 'rejected' })
    held = await login()
    const outcome = await refreshed(tokenOf(held), { dpopKey: keyOf(held) })
    expect(outcome).toMatchObject({ kind: 'served', answer: { tokenType: 'DPoP', resource: files } })
  })

  it('is sent a second time with the nonce that the server wants, and then with it at once', async () => {
    server.requireNonce(true)
    dpopNonces.keep(server.origin, new Headers({ 'dpop-nonce': 'stale' }))
    const watched = watching()
    const events: string[] = []
    const beforeSend = (): void => void events.push('beforeSend')
    const onAnswer = async (): Promise<void> => void events.push('onAnswer')
    const first = await refreshed(tokenOf(held), { dpopKey: keyOf(held), fetch: watched.fetch, beforeSend, onAnswer })
    expect(first).toMatchObject({ kind: 'served', answer: { tokenType: 'DPoP' } })
    expect(watched.proofs).toEqual([
      expect.objectContaining({ nonce: 'stale' }),
      expect.objectContaining({ nonce: dpopNonces.get(server.origin) }),
    ])
    expect(events).toEqual(['beforeSend', 'beforeSend', 'onAnswer'])
    expect(server.counts()).toMatchObject({ arrived: 2, reuse: 0 })
    if (first.kind !== 'served' || first.answer.refreshToken === null) throw new Error('unreachable')
    expect(await refreshed(first.answer.refreshToken, { dpopKey: keyOf(held) })).toMatchObject({ kind: 'served' })
    expect(server.counts().arrived).toBe(3)
  })

  it('is unspent when the second try was called off, or reached nobody', async () => {
    const asking = await stub((_, response) => json(response, 400, { error: 'use_dpop_nonce' }, { 'dpop-nonce': 'n' }))
    const metadata = { ...server.metadata, token_endpoint: `${asking.origin}/token` }
    let calls = 0
    const late = (): void => {
      if (++calls === 2) throw new Error('the lease is gone')
    }
    const dpopKey = keyOf(held)
    const limited = { kind: 'limited', status: 400, cause: 'use_dpop_nonce' }
    expect(await refreshed(tokenOf(held), { metadata, dpopKey, beforeSend: late })).toEqual(limited)
    const once: typeof fetch = async (input, init) => {
      const response = await fetch(input, init)
      await asking.stop()
      return response
    }
    expect(await refreshed(tokenOf(held), { metadata, dpopKey, fetch: once })).toEqual(limited)
    expect(asking.requests).toHaveLength(2)
    expect(await refreshed(tokenOf(held), { dpopKey })).toMatchObject({ kind: 'served' })
  })

  it('is sent no third time, nor a second time without a nonce or for another reason', async () => {
    let answer: { error: string; nonce?: string } = { error: 'use_dpop_nonce', nonce: 'n' }
    const asking = await stub((_, response) => {
      const { error, nonce } = answer
      json(response, 401, { error }, nonce === undefined ? {} : { 'dpop-nonce': nonce })
    })
    const metadata = { ...server.metadata, token_endpoint: `${asking.origin}/token` }
    const spend = () => refreshed(tokenOf(held), { metadata, dpopKey: keyOf(held) })
    expect(await spend()).toEqual({ kind: 'refused', status: 401, error: 'use_dpop_nonce' })
    expect(asking.requests).toHaveLength(2)
    answer = { error: 'use_dpop_nonce' }
    expect(await spend()).toEqual({ kind: 'refused', status: 401, error: 'use_dpop_nonce' })
    answer = { error: 'invalid_dpop_proof', nonce: 'n' }
    expect(await spend()).toEqual({ kind: 'refused', status: 401, error: 'invalid_dpop_proof' })
    answer = { error: 'temporarily_unavailable', nonce: 'n' }
    expect(await spend()).toMatchObject({ kind: 'ambiguous' })
    expect(asking.requests).toHaveLength(5)
    await asking.stop()
  })

  it("is proven by the server's clock, as the caller knows it", async () => {
    const watched = watching()
    await refreshed(tokenOf(held), { dpopKey: keyOf(held), fetch: watched.fetch, now: () => 1_790_000_000_000 })
    expect(watched.proofs[0]).toMatchObject({ iat: 1_790_000_000, htm: 'POST', htu: server.metadata.token_endpoint })
  })
})

describe('client credentials with a key', () => {
  it('bring a bound token, with a nonce where the server wants one', async () => {
    server.requireNonce(true)
    const dpopKey = await generateDpopKey()
    const request = {
      metadata: server.metadata,
      scopes: ['files:read'],
      resource: files,
      dpopKey,
      fetch,
      now: Date.now,
    }
    const bound = { ...server.service, dpop: 'required' } as const
    dpopNonces.keep(server.origin, new Headers({ 'dpop-nonce': 'stale' }))
    const outcome = await requestClientCredentials({ ...request, provider: bound, timeoutMs: 5000 })
    expect(outcome).toMatchObject({ kind: 'served', answer: { tokenType: 'DPoP' } })
    expect(server.counts().arrived).toBe(2)
  })
})
