import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { onboard } from '../../src/adapters/onboard.ts'
import { apiKeyFlow } from '../../src/grant/api-key.ts'
import type { Provider } from '../../src/provider.ts'

/** As people and programs leave them: each with its own spelling. */
const five = [
  '"anthropic": { "type": "oauth", "refresh": "r-1", "access": "a-1", "expires": 1790000000000 }',
  '"openai-codex": {"type":"oauth","refresh":"r-2","access":"a-2","expires":1.79e12,"accountId":"acct"}',
  '"openrouter": { "type": "api_key", "key": "k-3", "note": "caf\\u00e9" }',
  '"google": { "mode": "api_key", "apiKey": "k-4" }',
  '"of-tomorrow": { "type": "passkey", "handle": [1, 2.50, {}] }',
]
const file = `{\n  ${five.join(',\n  ')}\n}\n`
const added = ['x', 'y', 'z']
const providers: readonly Provider[] = added.map((id) => ({
  ...{ id, issuer: `https://${id}.example`, client: { id: 'cli' } },
}))
const profiles = added.map((id) => ({
  target: { provider: id },
  flow: apiKeyFlow({ key: async () => `sk-${id}` }),
}))

let home: string
let path: string
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'authkeep-onboard-'))
  path = join(home, 'agents', 'main', 'agent', 'auth.json')
  await mkdir(dirname(path), { recursive: true })
})
afterEach(() => rm(home, { recursive: true }))

const text = (): Promise<string> => readFile(path, 'utf8')
const names = async (): Promise<readonly string[]> => Object.keys(JSON.parse(await text()) as object)

describe('onboard', () => {
  it('adds three to five, and leaves the five as they are, byte for byte (openclaw/openclaw#68033 left none)', async () => {
    await writeFile(path, file)
    const infos = await onboard({ path, providers, profiles })
    expect(infos.map(({ provider, type }) => [provider, type])).toEqual(added.map((id) => [id, 'api_key']))
    const after = await text()
    for (const entry of five) expect(after).toContain(entry)
    expect(JSON.parse(after)).toMatchObject({ x: { type: 'api_key', key: 'sk-x' }, z: { key: 'sk-z' } })
    expect((await names()).length).toBe(8)
  })

  it('stores nothing when one of them fails', async () => {
    await writeFile(path, file)
    const failing = { target: { provider: 'z' }, flow: apiKeyFlow({ key: () => Promise.reject(new Error('no key')) }) }
    await expect(onboard({ path, providers, profiles: [...profiles.slice(0, 2), failing] })).rejects.toThrow('no key')
    expect(await text()).toBe(file)
  })

  it('brings back a file that something has emptied, and adds to that', async () => {
    await writeFile(path, file)
    await onboard({ path, providers, profiles: profiles.slice(0, 1) })
    await writeFile(path, '')
    await onboard({ path, providers, profiles })
    expect((await names()).length).toBe(8)
  })

  it('takes an empty file for damaged, not for empty: nothing is stored in the place of what was lost', async () => {
    await writeFile(path, '')
    await expect(onboard({ path, providers, profiles })).rejects.toMatchObject({ code: 'store_corrupt' })
    expect(await text()).toBe('')
  })

  it('keeps to the spelling of the file', async () => {
    const spelled = async (before: string): Promise<unknown> => {
      await writeFile(path, before)
      await onboard({ path, providers, profiles: profiles.slice(0, 1) })
      await rm(`${path}.bak`)
      return JSON.parse(await text())
    }
    expect(await spelled('{"version":1,"credentials":{}}')).toMatchObject({
      credentials: { 'x:default': { key: 'sk-x' } },
    })
    expect(await spelled('{"version":1,"profiles":{}}')).toMatchObject({ profiles: { 'x:default': { key: 'sk-x' } } })
    expect(await spelled('{}')).toMatchObject({ x: { key: 'sk-x' } })
  })

  it('goes by the name of a file that is not there yet', async () => {
    await onboard({ path, providers, profiles })
    expect(await names()).toEqual(added)
    const other = join(dirname(path), 'auth-profiles.json')
    await onboard({ path: other, providers, profiles })
    expect(JSON.parse(await readFile(other, 'utf8'))).toMatchObject({ profiles: { 'x:default': { type: 'api_key' } } })
  })
})
