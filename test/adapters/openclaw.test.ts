import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { completeLogin } from '../../examples/server/robot.ts'
import {
  type OpenClawAuthContext,
  type OpenClawModels,
  type OpenClawProvider,
  type OpenClawProviderOptions,
  openClawProvider,
} from '../../src/adapters/openclaw.ts'
import { key, type Stage, setStage } from '../broker/stage.ts'

let stage: Stage
const saved: object[] = []

beforeAll(async () => {
  stage = await setStage({
    provider: (demo) => ({
      endpoints: (demo.endpoints ?? []).map((each) => ({ ...each, headers: { originator: 'a test' } })),
    }),
  })
})

afterEach(async () => {
  await stage.store.update(key, () => null)
  stage.server.reset({ everything: true })
  saved.length = 0
})

afterAll(() => stage.stop())

function made(
  options: Partial<OpenClawProviderOptions<OpenClawModels>> = {},
): OpenClawProvider<OpenClawModels> & Record<'login' | 'stored', OpenClawProvider<OpenClawModels>['auth'][number]> {
  const provider = openClawProvider<OpenClawModels>({
    provider: stage.provider,
    store: stage.store,
    models: { baseUrl: stage.urls.files, models: [{ id: 'm1' }] },
    saveProfile: async (profile) => saved.push(profile),
    ...options,
  })
  const method = (id: string): OpenClawProvider<OpenClawModels>['auth'][number] =>
    provider.auth.find((each) => each.id === id)!
  return { ...provider, login: method('login'), stored: method('stored') }
}

const atTerminal: OpenClawAuthContext = {
  isRemote: false,
  openUrl: async (url) => void completeLogin(new URL(url)),
  prompter: { note: async () => undefined, text: async () => '' },
}

function nonInteractive<C extends object>(config: C) {
  const said: string[] = []
  const say = (...words: unknown[]): void => {
    const text = words.join(' ')
    said.push(text)
    const [, url] = /open (http\S+)/.exec(text) ?? []
    if (url !== undefined) void completeLogin(new URL(url))
  }
  const exits: number[] = []
  return {
    said,
    exits,
    config,
    agentDir: '/agent',
    runtime: { log: say, error: say, exit: (code: number) => exits.push(code) },
  }
}

const request = (baseUrl?: string): { model: { baseUrl?: string } } => ({
  model: baseUrl === undefined ? {} : { baseUrl },
})

async function secrets(): Promise<readonly string[]> {
  const { grant, tokens } = await stage.credential()
  return [grant.refreshToken!.reveal(), ...tokens.map(({ accessToken }) => accessToken.reveal())]
}

describe('what OpenClaw is handed at a login', () => {
  it('names the login, and holds no part of it', async () => {
    const result = await made().login.run(atTerminal)
    expect(result).toEqual({
      profiles: [
        {
          profileId: 'demo:default',
          credential: {
            type: 'oauth',
            provider: 'demo',
            access: 'authkeep:demo:default',
            refresh: 'kept-by-authkeep',
            expires: Date.UTC(9999, 0, 1),
          },
        },
      ],
      configPatch: { models: { providers: { demo: { baseUrl: stage.urls.files, models: [{ id: 'm1' }] } } } },
      defaultModel: 'demo/m1',
    })
    for (const secret of await secrets()) expect(JSON.stringify(result)).not.toContain(secret)
  })

  it('where OpenClaw runs elsewhere, the address is pasted', async () => {
    const { redirectAway } = await import('../../examples/server/robot.ts')
    let address = ''
    await made().login.run({
      ...atTerminal,
      isRemote: true,
      prompter: {
        note: async (message) => void (address = message),
        text: async () => (await redirectAway(new URL(address))).href,
      },
    })
    expect((await stage.credential()).subject).toBe('alice')
  })

  it('without questions: the address is said, the profile saved, and the configuration keeps what it had', async () => {
    const context = nonInteractive({
      gateway: { port: 1 },
      auth: { order: { x: ['x:1'] }, profiles: { 'x:1': { provider: 'x', mode: 'api_key' } } },
      models: { mode: 'merge', providers: { x: { baseUrl: 'https://x.example' } } },
      agents: { defaults: { workspace: '/w', model: { primary: 'x/m' } } },
    })
    const config = await made().login.runNonInteractive(context)
    expect(config).toEqual({
      gateway: { port: 1 },
      auth: {
        order: { x: ['x:1'] },
        profiles: { 'x:1': { provider: 'x', mode: 'api_key' }, 'demo:default': { provider: 'demo', mode: 'oauth' } },
      },
      models: {
        mode: 'merge',
        providers: {
          x: { baseUrl: 'https://x.example' },
          demo: { baseUrl: stage.urls.files, models: [{ id: 'm1' }] },
        },
      },
      agents: { defaults: { workspace: '/w', model: { primary: 'x/m' } } },
    })
    expect(saved).toMatchObject([{ profileId: 'demo:default', agentDir: '/agent', credential: { provider: 'demo' } }])
    for (const secret of await secrets()) expect(JSON.stringify([context.said, saved, config])).not.toContain(secret)
  })

  it('a first model becomes the default where there was none', async () => {
    const config = await made().login.runNonInteractive(nonInteractive({}))
    expect(config).toMatchObject({ agents: { defaults: { model: { primary: 'demo/m1' } } } })
  })

  it('a login that does not come leaves everything as it was, and says what to run', async () => {
    const context = nonInteractive({})
    const refused = made({
      flow: () => ({ name: 'none', run: async () => Promise.reject(new DOMException('no', 'AbortError')) }),
    })
    await expect(refused.login.runNonInteractive(context)).rejects.toThrow('no')
    expect(await made().stored.runNonInteractive(context)).toBeNull()
    await expect(made().stored.run(atTerminal)).rejects.toMatchObject({ code: 'authorization_required' })
    expect(context.exits).toEqual([1])
    expect(context.said.at(-1)).toContain('authkeep login demo')
    expect([saved, await stage.store.list()]).toEqual([[], []])
  })

  it('the login that authkeep has is taken up without a request', async () => {
    await stage.login()
    const { token } = stage.server.counts()
    expect((await made().stored.run(atTerminal)).profiles).toHaveLength(1)
    expect(await made().stored.runNonInteractive(nonInteractive({}))).not.toBeNull()
    expect(stage.server.counts().token).toEqual(token)
  })
})

describe('what a request is sent with', () => {
  it('is a brokered token, with the headers of its endpoint', async () => {
    await stage.login()
    const auth = await made().prepareRuntimeAuth(request())
    const [token] = (await stage.credential()).tokens.filter(({ resource }) => resource?.endsWith('/files') === true)
    expect(auth).toEqual({
      apiKey: token?.accessToken.reveal(),
      expiresAt: token?.expiresAt,
      request: { headers: { originator: 'a test' } },
    })
  })

  it('is for declared hosts only, whatever base URL is configured', async () => {
    await stage.login()
    for (const url of ['https://elsewhere.example/v1', `${stage.urls.files}.elsewhere.example`]) {
      await expect(made().prepareRuntimeAuth(request(url))).rejects.toMatchObject({ code: 'endpoint_unknown' })
    }
  })

  it('has the path that the wire format adds', async () => {
    await stage.login()
    const models = { baseUrl: `${stage.api.origin}/`, api: 'openai-responses', models: [{ id: 'm1' }] }
    const provider = { ...stage.provider, endpoints: [{ url: `${stage.api.origin}/responses` }] }
    expect(await made({ models, provider }).prepareRuntimeAuth(request())).toHaveProperty('apiKey')
  })

  it('after expiry costs one refresh, however many ask', async () => {
    await stage.login()
    await stage.expire()
    const provider = made()
    const all = await Promise.all(Array.from({ length: 8 }, () => provider.prepareRuntimeAuth(request())))
    expect(new Set(all.map(({ apiKey }) => apiKey)).size).toBe(1)
    expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
  })

  it('a failure at the token endpoint costs nothing but the request', async () => {
    await stage.login()
    await stage.expire()
    const before = await secrets()
    stage.server.fault({ status: 429 })
    await expect(made().prepareRuntimeAuth(request())).rejects.toMatchObject({ code: 'server_unavailable' })
    expect(await secrets()).toEqual(before)
    expect(await made().prepareRuntimeAuth(request())).toHaveProperty('apiKey')
    expect(stage.server.counts().reuse).toBe(0)
  })

  it('is another token once the API has refused one, and only then', async () => {
    await stage.login()
    const provider = made()
    const { apiKey } = await provider.prepareRuntimeAuth(request())
    provider.classifyFailoverReason({ provider: 'another', status: 401, errorMessage: 'HTTP 401' })
    provider.classifyFailoverReason({ provider: 'demo', status: 429, errorMessage: 'wait 4010 ms' })
    expect((await provider.prepareRuntimeAuth(request())).apiKey).toBe(apiKey)
    provider.classifyFailoverReason({ provider: 'demo', errorMessage: '401 refused' })
    const { apiKey: next } = await provider.prepareRuntimeAuth(request())
    expect(next).not.toBe(apiKey)
    expect((await provider.prepareRuntimeAuth(request())).apiKey).toBe(next)
    expect(stage.server.counts().token).toMatchObject({ refresh_token: 1 })
  })

  it('leaves nothing under way when it answers: OpenClaw may exit then', async () => {
    await stage.login()
    const provider = made()
    await provider.prepareRuntimeAuth(request())
    // Old enough to be renewed behind the back of whoever asks.
    const aged = await stage.store.update(key, (current) =>
      current?.type === 'oauth'
        ? {
            ...current,
            tokens: current.tokens.map((each) => ({
              ...each,
              obtainedAt: Date.now() - 9_900_000,
              expiresAt: Date.now() + 100_000,
            })),
          }
        : undefined,
    )
    await provider.prepareRuntimeAuth(request())
    await stage.store.waitForChange(key, aged, { timeoutMs: 500 })
    expect(await stage.store.read(key)).toEqual(aged)
  })
})

describe("OpenClaw's own refresh", () => {
  it('is answered without a request, by a row that is never due', async () => {
    await stage.login()
    const { token } = stage.server.counts()
    const row = {
      type: 'oauth' as const,
      provider: 'demo',
      access: 'x',
      refresh: 'x',
      expires: 1,
      email: 'a@b.example',
    }
    expect(await made().refreshOAuth(row)).toEqual({
      ...row,
      access: 'authkeep:demo:default',
      refresh: 'kept-by-authkeep',
      expires: Date.UTC(9999, 0, 1),
    })
    expect(stage.server.counts().token).toEqual(token)
  })
})

it('a provider without models is a mistake', () => {
  expect(() => made({ models: { baseUrl: stage.urls.files, models: [] } })).toThrow(TypeError)
})
