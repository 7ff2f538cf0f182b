import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Credential, Secret } from '../../src/credential.ts'
import { openaiCodex } from '../../src/providers/openai-codex.ts'
import { openStore } from '../../src/store/store.ts'
import { ended, json, type Run, start } from './built.ts'

const url = 'https://api.openai.com/v1/responses'

let home: string
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'authkeep-explain-'))
})
afterEach(() => rm(home, { recursive: true }))

const authkeep = (args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Run> =>
  ended(start(home, args, { env }))

async function stored(...credentials: readonly Credential[]): Promise<void> {
  const store = await openStore({ path: join(home, 'auth.json') })
  for (const credential of credentials) await store.update(credential, () => credential)
  await store.close()
}

/** What a sign-in with ChatGPT leaves behind. */
function chatgpt(): Credential {
  const { id, issuer, client, scopes = [] } = openaiCodex()
  return {
    ...{ type: 'oauth', provider: id, account: 'default', issuer, clientId: client.id, subject: 'user-1' },
    grant: {
      ...{ scopes, evidence: 'response', resources: [], refreshToken: new Secret('rt-secret'), refreshExpiresAt: null },
      ...{ generation: 1, obtainedAt: Date.now(), state: 'live', replays: 0 },
    },
    tokens: [
      {
        ...{ accessToken: new Secret('at-secret'), tokenType: 'Bearer', scopes, resource: null },
        ...{ expiresAt: Date.now() + 7_200_500, obtainedAt: Date.now(), evidence: 'response' },
      },
    ],
    lease: null,
  }
}

describe('the public API of OpenAI with only a ChatGPT login', () => {
  it('is explained: what it needs, what there is, why that can never serve, and the two things that would', async () => {
    await stored(chatgpt())
    const run = await authkeep(['explain', url])
    expect(run).toMatchObject({ code: 0, stderr: '' })
    expect(run.stdout).toMatchInlineSnapshot(`
      "https://api.openai.com/v1/responses
        needs    oauth or token of openai-codex with api.responses.write, at
                   https://api.openai.com/v1/responses
                 api_key of openai, at https://api.openai.com/v1/*
        has      openai-codex "default" (oauth), expires: in 2 h
                 granted openid profile email offline_access api.connectors.read
                   api.connectors.invoke
                 lacks api.responses.write; the client app_EMoamEEZ73f0CkXaXp7hrann
                   is only ever given those
        verdict  authorize: no login of that client can bring what is lacking
        instead  1. https://chatgpt.com/backend-api/codex with the openai-codex
                   login "default"
                 2. https://api.openai.com/v1 after
                   authkeep login openai --flow api-key
                 3. https://api.openai.com/v1 after
                   authkeep login openai --flow exchange --from openai-codex (best effort: many accounts are given no key)
      "
    `)
  })

  it('is the same as JSON', async () => {
    await stored(chatgpt())
    const run = await authkeep(['explain', url, '--json'])
    expect(json(run)).toMatchObject({
      ...{ target: url, verdict: 'authorize', requirement: { scopes: ['api.responses.write'] } },
      candidates: [
        {
          ...{ provider: 'openai-codex', account: 'default', verdict: 'authorize' },
          never: { scopes: ['api.responses.write'], clientId: 'app_EMoamEEZ73f0CkXaXp7hrann' },
        },
      ],
      alternatives: [
        { provider: 'openai-codex', isReady: true, baseUrl: 'https://chatgpt.com/backend-api/codex' },
        { provider: 'openai', isReady: false, command: 'authkeep login openai --flow api-key' },
        { provider: 'openai', isReady: false, text: expect.stringContaining('best effort') as string },
      ],
      error: { code: 'scope_missing', detail: { obtainable: false } },
    })
    expect(run.stdout).not.toMatch(/at-secret|rt-secret/)
  })

  it('is refused before anything is sent, with the same advice', async () => {
    await stored(chatgpt())
    const run = await authkeep(['token', url])
    expect(run).toMatchObject({ code: 4, stdout: '' })
    expect(run.stderr).toMatchInlineSnapshot(`
      "The openai-codex login "default" lacks api.responses.write, which https://api.openai.com/v1/responses needs, and no login of its client can bring it.
      Use https://chatgpt.com/backend-api/codex with the openai-codex login "default", or https://api.openai.com/v1 after authkeep login openai --flow api-key, or https://api.openai.com/v1 after authkeep login openai --flow exchange --from openai-codex (best effort: many accounts are given no key)
      "
    `)
  })

  it('is served by a key of the environment, and the service by the login before that', async () => {
    await stored(chatgpt())
    const env = { OPENAI_API_KEY: 'sk-environment' }
    await expect(authkeep(['token', url], env)).resolves.toMatchObject({ code: 0, stdout: 'sk-environment\n' })
    const route = json(await authkeep(['route', 'openai-responses', '--json'], env))
    expect(route).toMatchObject({ provider: 'openai-codex', baseUrl: 'https://chatgpt.com/backend-api/codex' })
    const over = ['route', 'openai-responses', '--json', '--base-url', 'https://api.openai.com/v1']
    expect(json(await authkeep(over, env))).toMatchObject({ provider: 'openai', account: '$OPENAI_API_KEY' })
  })
})
