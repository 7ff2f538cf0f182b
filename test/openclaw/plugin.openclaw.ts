import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type AuthorizationServer, startAuthorizationServer } from '../../examples/server/authorization-server.ts'
import { completeLogin } from '../../examples/server/robot.ts'
import { TokenBroker } from '../../src/broker/broker.ts'
import { type OAuthCredential, Secret } from '../../src/credential.ts'
import { loopbackFlow } from '../../src/grant/loopback.ts'
import type { Provider } from '../../src/provider.ts'
import { memoryBackend } from '../../src/store/backend.ts'
import { type CredentialStore, openStore } from '../../src/store/store.ts'
import { expired } from '../broker/stage.ts'
import { type ModelServer, startModelServer } from '../seams/model-server.ts'
import { type Gate, startGate } from './gate.ts'
import { type Outcome, openclaw, type Running } from './program.ts'

const folder = process.env['AUTHKEEP_OPENCLAW_FOLDER'] ?? ''
const plugin = join(folder, 'plugin')
const home = mkdtempSync(join(tmpdir(), 'authkeep-openclaw-home-'))
const path = join(home, 'authkeep/auth.json')
const key = { provider: 'acme', account: 'default' }
const otherKey = { provider: 'other', account: 'default' }
let server: AuthorizationServer
let models: ModelServer
let gate: Gate
let provider: Provider
const lines: string[] = []

const say = (line: string): void => void lines.push(line)
const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`
const run = async (...args: string[]): Promise<Outcome> => openclaw(home, args).done
const onboard = (choice: string, at = home): Running =>
  openclaw(at, [
    ...['onboard', '--non-interactive', '--accept-risk', '--auth-choice', choice, '--no-install-daemon'],
    ...['channels', 'skills', 'search', 'health', 'ui', 'hooks'].map((what) => `--skip-${what}`),
  ])
const asking = (): Running => openclaw(home, ['infer', 'model', 'run', '--local', '--prompt', 'hello', '--json'])
/** A turn of the agent, with its tools and its session: slower. */
const turn = (): Running =>
  openclaw(home, ['agent', '--local', '--agent', 'main', '--message', 'hello', '--json', '--timeout', '60'])

/** What has come, unless the program ends before. */
const arrival = async <T>(held: Promise<T>, { done }: Running): Promise<T> =>
  Promise.race([
    held,
    done.then(({ said }) => {
      throw new Error(`it ended: ${said}`)
    }),
  ])

/** A run that the model has answered. */
async function served(running = asking()): Promise<Outcome> {
  const outcome = await running.done
  expect(outcome.code, outcome.said).toBe(0)
  expect(outcome.said).toContain('"served"')
  return outcome
}

async function withStore<T>(use: (store: CredentialStore) => Promise<T>): Promise<T> {
  const store = await openStore({ path })
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}

async function stored(): Promise<OAuthCredential> {
  const credential = await withStore((store) => store.read(key))
  if (credential?.type !== 'oauth') throw new Error('no login')
  return credential
}

const expire = async (): Promise<unknown> => withStore((store) => store.update(key, expired))
const secretsOf = ({ grant, tokens }: OAuthCredential): readonly string[] => [
  ...(grant.refreshToken === null ? [] : [grant.refreshToken.reveal()]),
  ...tokens.map(({ accessToken }) => accessToken.reveal()),
]
const bearers = (): readonly string[] => models.calls.map(({ bearer }) => bearer)
const profiles = async (): Promise<unknown> => {
  const { said } = await run('models', 'auth', 'list', '--json')
  return (JSON.parse(said.slice(said.indexOf('{'), said.lastIndexOf('}') + 1)) as { profiles: unknown }).profiles
}

beforeAll(async () => {
  server = await startAuthorizationServer({ resources: { '/v1': ['models:use'] } })
  models = await startModelServer(server)
  gate = await startGate(server.origin)
  const file = join(plugin, 'acme.json')
  const acme = JSON.parse(readFileSync(file, 'utf8')) as { provider: Provider; models: object }
  const { origin, issuer, clientId } = server
  provider = {
    ...acme.provider,
    issuer,
    metadata: {
      authorization_endpoint: `${origin}/auth`,
      token_endpoint: `${gate.origin}/token`,
      jwks_uri: `${origin}/jwks`,
      id_token_signing_alg_values_supported: ['ES256'],
    },
    client: { id: clientId },
    authorization: { prompt: 'consent' },
    endpoints: [{ url: `${models.origin}/v1/*`, scopes: ['models:use'], resource: `${origin}/v1` }],
  }
  writeFileSync(file, JSON.stringify({ provider, models: { ...acme.models, baseUrl: `${models.origin}/v1` } }))
  mkdirSync(join(home, 'authkeep'), { mode: 0o700 })
  await withStore((store) =>
    store.update(otherKey, () => ({ ...otherKey, type: 'api_key', key: new Secret('key-of-another-program') })),
  )
})

afterEach(() => {
  models.calls.length = 0
  expect(server.counts().reuse, 'refresh tokens that were sent twice').toBe(0)
})

afterAll(async () => {
  await Promise.all([server.stop(), models.stop(), gate.shut()])
  rmSync(home, { recursive: true, force: true })
  console.log(lines.join('\n'))
})

describe('the real OpenClaw', { timeout: 300_000 }, () => {
  it('installs the plugin', async () => {
    const { code, said, ms } = await run('plugins', 'install', '--link', plugin, '--force', '--accept-capabilities')
    expect(code, said).toBe(0)
    say(`plugins install: ${seconds(ms)}`)
  })

  it('onboards: a person logs in once, authkeep stores the login, and OpenClaw none of its tokens', async () => {
    const onboarding = onboard('acme-login')
    const [, address = ''] = await onboarding.saying(/open (http\S+)/)
    await completeLogin(new URL(address))
    const { code, said, ms } = await onboarding.done
    expect(code, said).toBe(0)
    expect(server.counts().token).toEqual({ authorization_code: 1 })
    expect(await profiles()).toMatchObject([{ id: 'acme:default', provider: 'acme', type: 'oauth' }])
    const secrets = secretsOf(await stored())
    expect(secrets).toHaveLength(2)
    const files = readdirSync(join(home, 'openclaw'), { recursive: true, withFileTypes: true }).filter((each) =>
      each.isFile(),
    )
    expect(files.length).toBeGreaterThan(5)
    for (const { parentPath, name } of files) {
      const text = readFileSync(join(parentPath, name), 'latin1')
      expect(secrets.filter((secret) => text.includes(secret) || said.includes(secret))).toEqual([])
    }
    say(`onboard --auth-choice acme-login, with the login in it: ${seconds(ms)}; no token in ${files.length} files`)
  })

  it('sends the brokered token to the model', async () => {
    const model = await served()
    const agent = await served(turn())
    const [token] = (await stored()).tokens
    expect(bearers()).toEqual([token?.accessToken.reveal(), token?.accessToken.reveal()])
    expect(server.counts().token).toEqual({ authorization_code: 1 })
    say(`infer model run: ${seconds(model.ms)}; agent --local: ${seconds(agent.ms)}`)
  })

  it('after expiry, with another program that wants the token meanwhile: one refresh, and both have the new one', async () => {
    const before = secretsOf(await stored())
    await expire()
    const running = asking()
    const release = await arrival(gate.hold(), running)
    const token = withStore(async (store) => {
      const broker = new TokenBroker({ store, providers: [provider] })
      const waiting = broker.getToken(`${models.origin}/v1/responses`)
      release()
      const brokered = await waiting
      await broker.close()
      return brokered.reveal()
    })
    const { ms } = await served(running)
    expect(bearers()).toEqual([await token])
    expect(before).not.toContain(await token)
    expect(server.counts().token).toEqual({ authorization_code: 1, refresh_token: 1 })
    say(`after expiry: ${seconds(ms)}, one refresh for two programs, no reuse`)
  })

  it('a token that the model refuses is replaced in the same turn', async () => {
    const [token] = (await stored()).tokens
    models.refuse(token?.accessToken.reveal() ?? '')
    const { ms } = await served(turn())
    const [next] = (await stored()).tokens
    expect(bearers()).toEqual([token?.accessToken.reveal(), next?.accessToken.reveal()])
    expect(server.counts().token).toEqual({ authorization_code: 1, refresh_token: 2 })
    say(`agent --local with a token that the model refuses: served after ${seconds(ms)}, one refresh`)
  })

  it('the token endpoint out of reach: the turn fails, nothing is lost, and it works again at once', async () => {
    await expire()
    const before = { ours: secretsOf(await stored()), theirs: await profiles() }
    await gate.shut()
    const failed = await asking().done
    expect(failed.code, failed.said).not.toBe(0)
    expect(failed.said).toContain('The authorization server of acme did not answer: ECONNREFUSED.')
    expect(bearers()).toEqual([])
    expect(secretsOf(await stored())).toEqual(before.ours)
    expect(await profiles()).toEqual(before.theirs)
    await gate.open()
    const { ms } = await served()
    expect(server.counts().token).toEqual({ authorization_code: 1, refresh_token: 3 })
    say(`token endpoint shut: fails after ${seconds(failed.ms)}; open again: served after ${seconds(ms)}`)
  })

  it('killed during the refresh: the next run is served without waiting for the dead one', async () => {
    await expire()
    const victim = asking()
    await arrival(gate.hold(), victim)
    expect((await stored()).lease?.sentAt).not.toBeNull()
    victim.kill()
    expect((await victim.done).code).not.toBe(0)
    const { ms } = await served()
    expect(server.counts().token).toEqual({ authorization_code: 1, refresh_token: 4 })
    expect(ms).toBeLessThan(120_000)
    say(`SIGKILL during the refresh: the next run is served after ${seconds(ms)}`)
  })

  it('killed while it onboards: every login is still there, and works', async () => {
    const before = await stored()
    const onboarding = onboard('acme-login')
    const [, address = ''] = await onboarding.saying(/open (http\S+)/)
    const held = gate.hold()
    void completeLogin(new URL(address)).catch(() => undefined)
    await arrival(held, onboarding)
    onboarding.kill()
    await onboarding.done
    expect(secretsOf(await stored())).toEqual(secretsOf(before))
    expect(await withStore((store) => store.list())).toHaveLength(2)
    expect(await profiles()).toMatchObject([{ id: 'acme:default' }])
    await served()
    say('SIGKILL in the middle of onboard: every login is there, and the next run is served')
  })

  it('loses its own store: the stored login is taken up again, and nobody is asked', async () => {
    for (const name of readdirSync(join(home, 'openclaw/state'))) {
      if (name.startsWith('openclaw.sqlite')) rmSync(join(home, 'openclaw/state', name))
    }
    rmSync(join(home, 'openclaw/agents'), { recursive: true })
    const counts = server.counts().token
    expect(await profiles()).toEqual([])
    // It finds the provider in its configuration, and so wants the profile to be confirmed.
    const { said, ms } = await onboard('acme-stored').done
    const [, id = said] = /models auth activate (\S+)/.exec(said) ?? []
    const activation = await run('models', 'auth', 'activate', id, '--agent', 'main')
    expect(activation.code, activation.said).toBe(0)
    await served()
    expect(server.counts().token).toEqual(counts)
    say(
      `OpenClaw's databases removed: onboard --auth-choice acme-stored ${seconds(ms)}, activate ${seconds(activation.ms)}, nobody asked`,
    )
  })
})

describe('for comparison, a plugin whose tokens OpenClaw keeps', { timeout: 600_000 }, () => {
  const usual = join(folder, 'usual-plugin')
  const homes: string[] = []
  const asking = (): Running => {
    const prompt = ['--model', 'usual/anvil-1', '--prompt', 'hello', '--json']
    return openclaw(homes.at(-1) ?? '', ['infer', 'model', 'run', '--local', ...prompt])
  }

  /** A new OpenClaw, with a new login whose access token has expired. */
  beforeEach(async () => {
    const store = await openStore({ backend: memoryBackend() })
    const broker = new TokenBroker({ store, providers: [provider] })
    await broker.authorize({ provider: 'acme' }, loopbackFlow({ openBrowser: (url) => void completeLogin(url) }))
    const credential = await store.read(key)
    if (credential?.type !== 'oauth') throw new Error('no login')
    const [refresh, access] = secretsOf(credential)
    const { models: catalog } = JSON.parse(readFileSync(join(plugin, 'acme.json'), 'utf8')) as { models: object }
    const tokens = { access, refresh, expires: 1 }
    const facts = { tokenEndpoint: `${gate.origin}/token`, clientId: server.clientId, tokens, models: catalog }
    writeFileSync(join(usual, 'usual.json'), JSON.stringify(facts))
    const own = mkdtempSync(join(tmpdir(), 'authkeep-openclaw-home-'))
    homes.push(own)
    await openclaw(own, ['plugins', 'install', '--link', usual, '--force', '--accept-capabilities']).done
    const { code, said } = await onboard('usual-login', own).done
    expect(code, said).toBe(0)
  }, 120_000)

  afterAll(() => {
    for (const own of homes) rmSync(own, { recursive: true, force: true })
  })

  it('is refreshed where nothing is in the way', async () => {
    await served(asking())
  })

  it('the token endpoint out of reach once: the login is lost', async () => {
    await gate.shut()
    const failed = await asking().done
    await gate.open()
    const { arrived } = server.counts()
    const after = await asking().done
    expect([failed.code, after.code]).toEqual([1, 1])
    expect(server.counts().arrived, 'it has nothing left to refresh with').toBe(arrived)
    say(
      `for comparison, tokens kept by OpenClaw: token endpoint shut once, open again: fails for good, "${reason(after)}"`,
    )
  })

  it('killed during the refresh: the next run waits for the dead one, and fails', async () => {
    const victim = asking()
    await arrival(gate.hold(), victim)
    victim.kill()
    await victim.done
    const after = await asking().done
    expect(after.code).toBe(1)
    expect(after.ms).toBeGreaterThan(120_000)
    say(`for comparison, SIGKILL during the refresh: the next run fails after ${seconds(after.ms)}, "${reason(after)}"`)
  })
})

const reason = ({ said }: Outcome): string => /Reason: (.*)/.exec(said)?.[1] ?? said
