import { afterEach, describe, expect, test } from 'vitest'
import type { Mutation } from '../../examples/server/faults.ts'
import type { OAuthCredential } from '../../src/credential.ts'
import { Secret } from '../../src/credential.ts'
import type { Narrowing, Provider } from '../../src/provider.ts'
import { key, type Stage, setStage } from './stage.ts'

const bodyOf = (init?: RequestInit): string => (typeof init?.body === 'string' ? init.body : '')
const everything = ['files:read', 'files:write']

let stage: Stage
afterEach(() => stage.stop())

/** A person logged in for two scopes of one API, at a server of which nothing is declared but `refresh`. */
async function set(
  refresh: Provider['refresh'],
  options: { format?: 'opaque' | 'jwt'; introspects?: boolean; rotates?: boolean } = {},
): Promise<void> {
  stage = await setStage({
    rotate: options.rotates ?? false,
    accessTokenFormat: options.format ?? 'opaque',
    provider: (demo) => ({
      scopes: ['openid', 'offline_access', ...everything],
      endpoints: (demo.endpoints ?? []).slice(0, 1),
      metadata: options.introspects === true ? {} : endpointsOf(demo.issuer),
      ...(refresh === undefined ? {} : { refresh }),
    }),
  })
  await stage.login()
  await stage.expire()
  stage.server.reset()
}

/** What discovery would say, without introspection. */
const endpointsOf = (issuer: string): object => ({
  authorization_endpoint: `${issuer}/auth`,
  token_endpoint: `${issuer}/token`,
  jwks_uri: `${issuer}/jwks`,
  id_token_signing_alg_values_supported: ['ES256'],
})

/** The server gives everything, whatever is asked for: the scope parameter never reaches it. */
function ignoring(says: Mutation): typeof fetch {
  stage.server.mutateResponse(says)
  return (input, init) => {
    const form = new URLSearchParams(bodyOf(init))
    if (form.get('grant_type') === 'refresh_token') form.delete('scope')
    return fetch(input, init?.method === 'POST' ? { ...init, body: form.toString() } : init)
  }
}

const remembered = async (): Promise<unknown> =>
  (await stage.store.readState(`:issuer:${stage.provider.issuer}`))?.['narrowing']
const scopesSent = (sent: string[]): typeof fetch => {
  return (input, init) => {
    const form = new URLSearchParams(bodyOf(init))
    if (form.get('grant_type') === 'refresh_token') sent.push(form.get('scope') ?? 'all')
    return fetch(input, init)
  }
}
const has = (credential: OAuthCredential): string => credential.grant.refreshToken?.reveal() ?? ''

describe('a server that honours a narrower scope', () => {
  test('is found out where the refresh token survives its use, once for everybody', async () => {
    await set({ rotation: 'none' })
    const sent: string[] = []
    const broker = stage.newBroker({ fetch: scopesSent(sent) })
    expect((await broker.getToken(stage.urls.files)).scopes).toEqual(['files:read'])
    expect(await remembered()).toBe('honoured')
    await stage.expire()
    const token = await stage.newBroker({ fetch: scopesSent(sent), allowWider: false }).getToken(stage.urls.files)
    expect(token.scopes).toEqual(['files:read'])
    expect(sent).toEqual(['files:read', 'files:read'])
    const whole = { provider: 'demo', scopes: everything, resource: token.resource ?? '' }
    expect((await broker.getToken(whole)).scopes).toEqual(everything)
  })
})

describe('a server that ignores a narrower scope', () => {
  test('and says so: the wider token is labelled, and nothing narrower is asked for again', async () => {
    await set({ rotation: 'none' })
    const lax = ignoring((body) => body)
    const first = await stage.newBroker({ fetch: lax }).getToken(stage.urls.files)
    expect(first.scopes).toEqual(everything)
    expect(await remembered()).toBe('ignored')
    await stage.expire()
    const sent: string[] = []
    await stage.newBroker({ fetch: scopesSent(sent) }).getToken(stage.urls.files)
    expect(sent).toEqual(['all'])
  })

  test('gives nothing to a caller that wants no more than it needs', async () => {
    await set({ rotation: 'none' })
    const strict = stage.newBroker({ fetch: ignoring((body) => body), allowWider: false })
    const tooWide = { code: 'scope_too_wide', detail: { needed: ['files:read'], excess: ['files:write'] } }
    await expect(strict.getToken(stage.urls.files)).rejects.toMatchObject(tooWide)
    stage.server.reset()
    await expect(strict.getToken(stage.urls.files)).rejects.toMatchObject(tooWide)
    expect(stage.server.counts().arrived).toBe(0)
    const token = await strict.getToken(stage.urls.files, { allowWider: true })
    expect(token.scopes).toEqual(everything)
  })
})

describe('a server that ignores a narrower scope in silence', () => {
  const silent: Mutation = ({ scope: _, ...body }) => body

  test.each([
    ['its token shows it', { format: 'jwt' }],
    ['introspection shows it', { introspects: true }],
    ['nothing shows anything', {}],
  ] as const)('%s: the token is labelled with everything', async (_, options) => {
    await set({ rotation: 'none' }, options)
    const token = await stage.newBroker({ fetch: ignoring(silent) }).getToken(stage.urls.files)
    expect(token.scopes).toEqual(expect.arrayContaining(everything))
    expect(await remembered()).toBe('silent')
    const strict = stage.newBroker({ allowWider: false })
    await expect(strict.getToken(stage.urls.files)).rejects.toMatchObject({ code: 'scope_too_wide' })
  })

  test('although it is declared to honour it: a JWT is believed', async () => {
    await set({ rotation: 'none', narrowing: 'honoured' }, { format: 'jwt' })
    const token = await stage.newBroker({ fetch: ignoring(silent) }).getToken(stage.urls.files)
    expect(token.scopes).toEqual(everything)
    expect(await remembered()).toBe('silent')
  })
})

describe('a server whose narrow answers narrow the grant for ever', () => {
  test('cannot do so where it is found out: the refresh token that was sent stays the one', async () => {
    await set({ rotation: 'none' }, { introspects: true })
    const before = has(await stage.credential())
    // A second refresh token comes with the narrow answer, and is good for the narrow scope only.
    stage.server.mutateResponse((body) => ({ ...body, refresh_token: 'narrow-for-ever' }))
    const looking: typeof fetch = (input, init) =>
      bodyOf(init).includes('narrow-for-ever')
        ? Promise.resolve(Response.json({ active: true, scope: 'files:read' }))
        : fetch(input, init)
    const token = await stage.newBroker({ fetch: looking }).getToken(stage.urls.files)
    expect(token.scopes).toEqual(['files:read'])
    expect(await remembered()).toBe('destructive')
    const after = await stage.credential()
    expect(has(after)).toBe(before)
    expect(after.grant.spare?.refreshToken.reveal()).toBe('narrow-for-ever')
    stage.server.reset()
    const whole = { provider: 'demo', scopes: everything, resource: token.resource ?? '' }
    expect((await stage.broker.getToken(whole)).scopes).toEqual(everything)
  })

  test('and rotates its refresh tokens is never asked, unless it is declared to honour it', async () => {
    await set({ rotation: 'strict' }, { rotates: true })
    const sent: string[] = []
    const token = await stage.newBroker({ fetch: scopesSent(sent) }).getToken(stage.urls.files)
    expect([sent, token.scopes]).toEqual([['all'], everything])
    const strict = stage.newBroker({ allowWider: false })
    await expect(strict.getToken(stage.urls.files)).rejects.toMatchObject({ code: 'scope_too_wide' })
  })

  test.each([
    ['invalid_scope', undefined],
    ['less than was asked for', 'files:read'],
  ])('and was declared to honour it is found out by %s, and never asked again', async (_, scope) => {
    await set({ rotation: 'strict', narrowing: 'honoured' }, { rotates: true })
    await stage.broker.getToken(stage.urls.files)
    const resource = (await stage.credential()).tokens.at(-1)?.resource ?? ''
    const refusing: typeof fetch = (input, init) =>
      scope === undefined && bodyOf(init).includes('scope=')
        ? Promise.resolve(Response.json({ error: 'invalid_scope' }, { status: 400 }))
        : fetch(input, init)
    const broker = stage.newBroker({ fetch: refusing })
    stage.server.mutateResponse((body) => ({ ...body, scope: 'files:read' }))
    await expect(broker.getToken({ provider: 'demo', scopes: everything, resource })).rejects.toMatchObject({
      code: 'scope_missing',
      detail: { missing: ['files:write'], obtainable: true },
    })
    expect(await remembered()).toBe('destructive' satisfies Narrowing)
    await stage.expire()
    const sent: string[] = []
    await stage.newBroker({ fetch: scopesSent(sent) }).getToken(stage.urls.files)
    expect(sent).toEqual(['all'])
  })
})

test('a token is never narrower than asked for', async () => {
  await set({ rotation: 'none', narrowing: 'honoured' })
  stage.server.mutateResponse((body) => ({ ...body, scope: '' }))
  await expect(stage.broker.getToken(stage.urls.files)).rejects.toMatchObject({ code: 'scope_missing' })
})

test('a stored JWT that shows less than it was said to have is not used', async () => {
  await set({ rotation: 'none', narrowing: 'honoured' })
  const payload = Buffer.from(JSON.stringify({ scope: 'files:list' })).toString('base64url')
  const shown = new Secret(`e30.${payload}.c2ln`)
  await stage.store.update(key, (current) => {
    if (current?.type !== 'oauth') return undefined
    const tokens = current.tokens.map((token) => ({
      ...token,
      accessToken: shown,
      expiresAt: Date.now() + 3_600_000,
      scopes: everything,
    }))
    return { ...current, tokens }
  })
  const token = await stage.broker.getToken(stage.urls.files)
  expect(token.reveal()).not.toBe(shown.reveal())
  expect(stage.server.counts().token['refresh_token']).toBe(1)
})
