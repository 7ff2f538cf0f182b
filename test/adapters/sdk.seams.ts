import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openStore } from '../../src/store/store.ts'
import { expired, key } from '../broker/stage.ts'
import { type Desk, openDesk } from '../cli/desk.ts'
import { type ModelServer, startModelServer } from '../seams/model-server.ts'
import { type Program, startProgram } from '../seams/program.ts'

let desk: Desk
let api: ModelServer
let programs: Program[]

beforeEach(async () => {
  desk = await openDesk()
  api = await startModelServer(desk.server)
  programs = []
  const endpoints = [{ url: `${api.origin}/v1/*`, scopes: ['files:read'], resource: `${desk.server.origin}/files` }]
  await desk.addProvider('demo', { scopes: ['openid', 'offline_access', 'files:read'], endpoints })
  expect(await desk.login()).toMatchObject({ code: 0 })
  desk.server.reset()
})
afterEach(async () => {
  for (const { child } of programs) child.kill('SIGKILL')
  await Promise.all([desk.clear(), api.stop()])
})

function start(name: string, base: string, origin = api.origin): Program {
  const program = startProgram(name, desk.home, { BASE_URL: origin + base })
  programs.push(program)
  return program
}

async function expire(): Promise<void> {
  const store = await openStore({ path: join(desk.home, 'auth.json') })
  await store.update(key, (current) => expired(current))
  await store.close()
}

const refreshes = (): number => desk.server.counts().token['refresh_token'] ?? 0
const bearers = (): readonly string[] => [...new Set(api.calls.map(({ bearer }) => bearer))]

describe.each([
  ['openai', 'openai.ts', '/v1'],
  ['@anthropic-ai/sdk', 'anthropic.ts', ''],
  ['ai and @ai-sdk/openai', 'ai-sdk.ts', '/v1'],
])('the real %s', (_, name, base) => {
  it('calls with one token for as long as it lives, and with the next one after it has expired', async () => {
    const program = start(name, base)
    expect([await program.ask('one'), await program.ask('two')]).toEqual(['served', 'served'])
    const first = bearers()
    expect(first).toHaveLength(1)
    const before = refreshes()
    // The Anthropic package keeps a token for as long as it was told; a new process asks again.
    await expire()
    const other = start(name, base)
    expect([await other.ask('three'), await other.ask('four')]).toEqual(['served', 'served'])
    expect(api.calls.map(({ status }) => status)).toEqual([200, 200, 200, 200])
    expect(bearers()).toHaveLength(2)
    expect(refreshes() - before).toBe(1)
    expect([await program.end(), await other.end()]).toEqual([0, 0])
    expect(program.said() + other.said()).toBe('')
  })

  it('is served with another token when the API refuses one, after one refresh', async () => {
    const programs = [start(name, base), start(name, base)]
    await Promise.all(programs.map((each) => each.ask('one')))
    const [first = ''] = bearers()
    expect(bearers()).toHaveLength(1)
    const before = refreshes()
    api.refuse(first)
    expect(await Promise.all(programs.map((each) => each.ask('two')))).toEqual(['served', 'served'])
    expect(api.calls.filter(({ status }) => status === 401).every(({ bearer }) => bearer === first)).toBe(true)
    expect(refreshes() - before).toBe(1)
    expect(desk.server.counts()).toMatchObject({ reuse: 0, revoked: 0 })
    expect(bearers()).toHaveLength(2)
  })

  it('sends nothing but the token, and that to no other host', async () => {
    const other = await startModelServer(desk.server)
    try {
      const program = start(name, base, other.origin)
      expect(await program.ask('one')).toMatch(/^no answer: .*provider/)
      expect(other.calls).toEqual([])
      expect(await start(name, base).ask('one')).toBe('served')
      expect(api.calls.flatMap(({ otherKeys }) => otherKeys)).toEqual([])
    } finally {
      await other.stop()
    }
  })

  it('says why there is no answer when a person has to log in, and asks nobody else', async () => {
    expect(await desk.authkeep('logout', 'demo')).toMatchObject({ code: 0 })
    const program = start(name, base)
    expect(await program.ask('one')).toMatch(/^no answer: .*demo/)
    expect(api.calls).toEqual([])
  })
})
