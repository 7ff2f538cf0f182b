import { rename, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { TokenBroker } from '../../src/broker/broker.ts'
import { type Credential, Secret } from '../../src/credential.ts'
import { openaiCodex } from '../../src/providers/openai-codex.ts'
import { type Stage, setStage } from './stage.ts'

const lent = { provider: 'demo', account: 'lent' }
const hour = 3_600_000

describe('a login that is borrowed from another program', () => {
  let stage: Stage
  let path: string
  let broker: TokenBroker
  beforeEach(async () => {
    stage = await setStage()
    path = join(stage.directory, 'opencode.json')
    await write('a-1')
    await stage.store.update(lent, () => borrowed('opencode', path, 'first'))
    broker = stage.newBroker()
  })
  afterEach(() => stage.stop())

  function borrowed(program: string, from: string, token: string): Credential {
    const imported = { program, path: from, entry: 'theirs', mode: 'borrowed', at: 1 }
    return { type: 'token', ...lent, metadata: { imported }, token: new Secret(token), expiresAt: Date.now() + hour }
  }
  /** As its owner does it. */
  const write = (access: string, expires = Date.now() + hour): Promise<void> =>
    writeFile(path, JSON.stringify({ theirs: { type: 'oauth', access, refresh: 'secret-r', expires } }))
  /** A process looks once in 50 ms. */
  const token = async (options = {}): Promise<string> => {
    await delay(60)
    return (await broker.getToken(stage.urls.files, { account: 'lent', ...options })).reveal()
  }
  const stored = async (): Promise<unknown> => {
    const credential = await stage.store.read(lent)
    return credential?.type === 'token' ? credential.token.reveal() : credential
  }

  it('is what the file of its owner says, from the first call on, and follows it', async () => {
    expect([await token(), await token()]).toEqual(['a-1', 'a-1'])
    await write('a-2')
    expect(await token()).toBe('a-2')
    await writeFile(
      `${path}.new`,
      JSON.stringify({ theirs: { type: 'oauth', access: 'a-3', expires: Date.now() + hour } }),
    )
    await rename(`${path}.new`, path)
    expect(await token()).toBe('a-3')
    expect(await stored()).toBe('first')
    expect(stage.server.counts().arrived).toBe(0)
  })

  it('that has expired is its owner’s to renew; then it serves again', async () => {
    await write('a-1', Date.now() - 1)
    await expect(token()).rejects.toMatchObject({
      code: 'authorization_required',
      remedy: 'authorize',
      detail: { ...lent, reason: 'borrowed', owner: 'opencode' },
    })
    await write('a-2')
    expect(await token()).toBe('a-2')
    expect(stage.server.counts().arrived).toBe(0)
  })

  it('that an API refuses is not refreshed', async () => {
    await expect(token({ rejected: 'a-1' })).rejects.toMatchObject({ detail: { reason: 'refused' } })
    await write('a-2')
    expect(await token({ rejected: 'a-1' })).toBe('a-2')
    expect(stage.server.counts().arrived).toBe(0)
  })

  it.each([
    ['is emptied', () => truncate(path, 0)],
    ['is half written', () => writeFile(path, '{"theirs": {"type": "oau')],
    ['is gone', () => rm(path)],
    ['has another login only', () => writeFile(path, '{"other": {"type": "api", "key": "k"}}')],
  ])('serves as it was read last while it lives, when the file %s', async (_, spoil) => {
    expect(await token()).toBe('a-1')
    await spoil()
    expect(await token()).toBe('a-1')
    await write('a-2')
    expect(await token()).toBe('a-2')
    expect(await stored()).toBe('first')
  })

  it('brings what the headers of its endpoint are made of', async () => {
    const jwt = (claims: object): string => `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2ln`
    const access = jwt({ exp: Math.floor(Date.now() / 1000) + 3_600, scp: openaiCodex().scopes })
    const id = jwt({ 'https://api.openai.com/auth': { chatgpt_account_id: 'acc-7' } })
    const file = join(stage.directory, 'auth.json.codex')
    await writeFile(file, JSON.stringify({ tokens: { access_token: access, id_token: id, refresh_token: 'secret-r' } }))
    const key = { provider: 'openai-codex', account: 'default' }
    const imported = { program: 'codex', path: file, entry: 'chatgpt', mode: 'borrowed', at: 1 }
    await stage.store.update(key, () => ({
      ...{ type: 'token', ...key, metadata: { imported }, token: new Secret('first'), expiresAt: null },
    }))
    const codex = new TokenBroker({ store: stage.store, providers: [openaiCodex()] })
    const token = await codex.getToken('https://chatgpt.com/backend-api/codex/responses')
    expect(await token.headers()).toMatchObject({ authorization: `Bearer ${access}`, 'ChatGPT-Account-ID': 'acc-7' })
    await codex.close()
  })
})
