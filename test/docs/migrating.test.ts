import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { OAuthCredential } from '../../src/credential.ts'
import { openStore } from '../../src/store/store.ts'
import { key, type Stage, setStage } from '../broker/stage.ts'

const script = fileURLToPath(new URL('../../build/examples/migrate.js', import.meta.url))

let stage: Stage
beforeEach(async () => {
  stage = await setStage()
})
afterEach(() => stage.stop())

const write = async (name: string, content: object | string): Promise<string> => {
  const path = join(stage.directory, name)
  await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content))
  return path
}

/** Runs the program; its exit code, and all that it has said. */
async function migrate(...words: readonly string[]): Promise<{ code: number | string; said: string }> {
  const env = { PATH: process.env['PATH'] ?? '', AUTHKEEP_HOME: stage.directory }
  return new Promise((resolve) => {
    execFile(process.execPath, [script, ...words], { env }, (error, stdout, stderr) => {
      resolve({ code: error?.code ?? 0, said: stdout + stderr })
    })
  })
}

async function stored(provider: string): Promise<OAuthCredential | null> {
  const store = await openStore({ path: stage.path })
  const credential = await store.read({ provider, account: 'default' })
  await store.close()
  return credential as OAuthCredential | null
}

describe('a file of one’s own', () => {
  it('is moved, and its login is refreshed and used; a second time nothing is replaced', async () => {
    await stage.login()
    const { grant, tokens } = await stage.credential()
    await stage.store.update(key, () => null)
    const file = await write('tokens.json', {
      access_token: tokens[0]?.accessToken.reveal(),
      refresh_token: grant.refreshToken?.reveal(),
      expires_at: Math.floor(Date.now() / 1_000) - 60,
      scope: grant.scopes.join(' '),
    })
    const provider = await write('demo.json', stage.provider)
    stage.server.reset()
    expect(await migrate('home-made', file, provider)).toEqual({ code: 0, said: 'demo:default is stored.\n' })
    const token = await stage.newBroker().getToken(stage.urls.files)
    const headers = await token.headers({ method: 'GET', url: stage.urls.files })
    expect((await fetch(stage.urls.files, { headers })).status).toBe(200)
    expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
    const after = await stage.credential()
    expect((await migrate('home-made', file, provider)).said).toMatch(/stays as it is/)
    expect(await stage.credential()).toEqual(after)
  })

  it('that is empty, cut or without a refresh token is refused, and quoted nowhere', async () => {
    const provider = await write('demo.json', stage.provider)
    for (const content of ['', '{"refresh_token":"very-secret', '{}']) {
      const { code, said } = await migrate('home-made', await write('tokens.json', content), provider)
      expect(code).toBe(1)
      expect(said).not.toContain('very-secret')
    }
    expect(await stored('demo')).toBeNull()
  })
})

describe('a cache of msal-node', () => {
  // Serialized by msal-node 7.2.1 after acquireTokenByCode, with made-up answers of the server.
  const cache = fileURLToPath(new URL('msal-cache.json', import.meta.url))
  const tenant = '11111111-2222-3333-4444-555555555555'
  const graph = {
    id: 'graph',
    issuer: `https://login.microsoftonline.com/${tenant}/v2.0`,
    client: { id: '00000000-aaaa-bbbb-cccc-dddddddddddd' },
    scopes: ['User.Read', 'Mail.Read'],
    endpoints: [{ url: 'https://graph.microsoft.com/*', scopes: ['User.Read'] }],
  }

  it('is moved: its refresh token, and its access token with scopes and time', async () => {
    expect(await migrate('msal', cache, await write('graph.json', graph))).toMatchObject({ code: 0 })
    const credential = await stored('graph')
    expect(credential).toMatchObject({ issuer: graph.issuer, subject: 'sub-of-alice' })
    expect(credential?.grant.refreshToken?.reveal()).toBe('refresh token of msal')
    const { AccessToken } = JSON.parse(await readFile(cache, 'utf8')) as { AccessToken: Record<string, object> }
    const [kept = {}] = Object.values(AccessToken) as { expires_on?: string }[]
    const expiresAt = Number(kept.expires_on) * 1_000
    const broker = stage.newBroker({ providers: [graph], now: () => expiresAt - 1_800_000 })
    const token = await broker.getToken('https://graph.microsoft.com/v1.0/me')
    expect(token.reveal()).toBe('access token of msal')
    expect(token.expiresAt).toBe(expiresAt)
  })

  it.each([
    ['client', { client: { id: 'another' } }],
    ['issuer', { issuer: 'https://login.microsoftonline.com/another/v2.0' }],
  ])('of another %s is refused', async (what, change) => {
    const { code, said } = await migrate('msal', cache, await write('graph.json', { ...graph, ...change }))
    expect(code).toBe(1)
    expect(said).toContain(`it is of another ${what}`)
    expect(await stored('graph')).toBeNull()
  })
})

describe('what google-auth-library reads and says', () => {
  const provider = {
    id: 'google',
    issuer: 'https://accounts.google.com',
    client: { id: 'mine.apps.googleusercontent.com' },
    scopes: ['openid', 'https://www.googleapis.com/auth/drive.readonly'],
    endpoints: [{ url: 'https://www.googleapis.com/drive/*' }],
    refresh: { rotation: 'none' },
  }
  const own = {
    client_id: provider.client.id,
    client_secret: 'not-so-secret',
    refresh_token: 'refresh token of google',
  }

  it('application default credentials of a user are moved, with the scopes of the provider', async () => {
    const file = await write('application_default_credentials.json', { type: 'authorized_user', ...own })
    expect(await migrate('google', file, await write('google.json', provider))).toMatchObject({ code: 0 })
    const credential = await stored('google')
    expect(credential?.grant).toMatchObject({ scopes: provider.scopes, evidence: 'assumed' })
    expect(credential?.grant.refreshToken?.reveal()).toBe('refresh token of google')
    expect(credential?.tokens).toEqual([])
  })

  it('what the event tokens has brought is moved, with its scopes and time', async () => {
    const expiry = Date.now() + 3_000_000
    const access = {
      access_token: 'access token of google',
      expiry_date: expiry,
      token_type: 'Bearer',
      scope: 'openid',
    }
    const { client_id: _, client_secret: __, ...saved } = { ...own, ...access }
    const file = await write('tokens.json', saved)
    expect(await migrate('google', file, await write('google.json', provider))).toMatchObject({ code: 0 })
    const credential = await stored('google')
    expect(credential?.grant).toMatchObject({ scopes: ['openid'], evidence: 'response' })
    expect(credential?.tokens).toMatchObject([{ expiresAt: expiry, scopes: ['openid'] }])
  })

  it('a key of a service account is no login, and is refused', async () => {
    const file = await write('key.json', { type: 'service_account', private_key: 'very-secret' })
    const { code, said } = await migrate('google', file, await write('google.json', provider))
    expect(code).toBe(1)
    expect(said).toContain('that is no login of a user')
    expect(said).not.toContain('very-secret')
  })
})
