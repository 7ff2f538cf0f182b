import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { completeLogin } from '../../examples/server/robot.ts'
import { openStore } from '../../src/store/store.ts'
import { expired } from '../broker/stage.ts'
import { type Desk, openDesk } from '../cli/desk.ts'
import { type Program, startProgram } from '../seams/program.ts'

interface Arrival {
  readonly bearer: string
  readonly status: number
  readonly what: string
}

let desk: Desk
let mcp: Program
let url: string
let programs: Program[]

/** An MCP server that nobody knows, and an authorization server with single-use refresh tokens that registers whoever asks. */
beforeEach(async () => {
  desk = await openDesk({
    configure: (configuration) => ({
      ...configuration,
      features: {
        ...configuration.features,
        registration: { enabled: true },
        resourceIndicators: {
          enabled: true,
          getResourceServerInfo: (_ctx, audience) => ({ scope: 'notes:read notes:write', audience }),
        },
      },
    }),
  })
  const { introspection, issuer } = desk.server
  const { url: where, clientId, clientSecret } = introspection
  mcp = startProgram('mcp-server.ts', desk.home, {
    ...{ ISSUER: issuer, INTROSPECTION: where, CLIENT: `${clientId}:${clientSecret}` },
  })
  url = await mcp.next()
  programs = []
})
afterEach(async () => {
  for (const { child } of [...programs, mcp]) child.kill('SIGKILL')
  await desk.clear()
})

function start(name: string, env: Readonly<Record<string, string>> = {}): Program {
  const program = startProgram(name, desk.home, { SERVER_URL: url, ...env })
  programs.push(program)
  // The person at the screen of the program, who opens whatever page it shows.
  program.child.stderr.on('data', (chunk: Buffer) => {
    const page = /^Log in at (http\S+)$/m.exec(chunk.toString())?.[1]
    if (page !== undefined) void completeLogin(new URL(page)).catch(() => undefined)
  })
  return program
}

/** What has come to the server since the last look. */
const arrivals = async (): Promise<readonly Arrival[]> => JSON.parse(await mcp.ask('')) as readonly Arrival[]
const refreshes = (): number => desk.server.counts().token['refresh_token'] ?? 0
const logins = (program: Program): number => program.said().split('Log in at ').length - 1

async function entry(): Promise<{ provider: string; account: string }> {
  const store = await openStore({ path: join(desk.home, 'auth.json') })
  const [info] = await store.list()
  await store.close()
  if (info === undefined) throw new Error('nobody has logged in')
  return info
}

async function expire(): Promise<void> {
  const info = await entry()
  const store = await openStore({ path: join(desk.home, 'auth.json') })
  await store.update(info, (current) => expired(current))
  await store.close()
}

describe.each([
  ['@modelcontextprotocol/sdk', 'mcp.ts'],
  ['@modelcontextprotocol/client', 'mcp-2.ts'],
])('fetch in the transport of the real %s', (_, name) => {
  it('finds the authorization server, registers, logs in once, and the next start needs none of it', async () => {
    const program = start(name)
    expect(await program.ask('read')).toBe('read')
    expect(logins(program)).toBe(1)
    expect(await program.end()).toBe(0)
    const again = start(name)
    expect(await again.ask('read')).toBe('read')
    expect(again.said()).toBe('')
  })

  it('two processes with two clients each, and an expired token: one refresh, and everybody is served', async () => {
    expect(await start(name).ask('read')).toBe('read')
    const all = [start(name), start(name)]
    desk.server.setTokenDelay(300)
    await expire()
    await arrivals()
    expect(await Promise.all(all.map((each) => each.ask('read read')))).toEqual(['read, read', 'read, read'])
    expect(refreshes()).toBe(1)
    expect(desk.server.counts()).toMatchObject({ reuse: 0, revoked: 0 })
    const seen = await arrivals()
    expect(seen.filter(({ status }) => status === 401)).toEqual([])
    expect(new Set(seen.map(({ bearer }) => bearer)).size).toBe(1)
    expect(all.map(logins)).toEqual([0, 0])
  })

  it('a token that is refused in the middle of a session: one refresh for all', async () => {
    expect(await start(name).ask('read')).toBe('read')
    const all = [start(name), start(name)]
    expect(await Promise.all(all.map((each) => each.ask('read read')))).toEqual(['read, read', 'read, read'])
    const token = (await arrivals()).at(-1)?.bearer ?? ''
    await mcp.ask(token)
    expect(await Promise.all(all.map((each) => each.ask('read read')))).toEqual(['read, read', 'read, read'])
    const seen = await arrivals()
    expect(seen.some(({ status }) => status === 401)).toBe(true)
    expect(seen.filter(({ status }) => status === 401).every(({ bearer }) => bearer === token)).toBe(true)
    expect(refreshes()).toBe(1)
    expect(desk.server.counts()).toMatchObject({ reuse: 0 })
    expect(all.map(logins)).toEqual([0, 0])
  })

  it('insufficient_scope: one more login, which takes nothing away', async () => {
    const program = start(name)
    expect(await program.ask('read')).toBe('read')
    expect(await program.ask('write')).toBe('written')
    expect(logins(program)).toBe(2)
    expect(await program.ask('read write')).toBe('read, written')
    expect(logins(program)).toBe(2)
  })

  it('what is streamed arrives as it is sent, and what is given up ends', async () => {
    const program = start(name)
    expect(await program.ask('wait')).toBe('waited')
    expect(await program.ask('wait!')).toMatch(/^no answer: .*given up/)
    expect(await program.ask('read')).toBe('read')
  })
})

describe('clientProvider in the transport of the real @modelcontextprotocol/sdk', () => {
  it('logs in by the program’s own redirect, and the next start needs none', async () => {
    const program = start('mcp-auth-provider.ts')
    expect(await program.ask('read')).toBe('read')
    expect(logins(program)).toBe(1)
    const again = start('mcp-auth-provider.ts')
    expect(await again.ask('read')).toBe('read')
    expect(again.said()).toBe('')
  })

  it('two processes with two clients each, and an expired token: one refresh, and everybody is served', async () => {
    expect(await start('mcp-auth-provider.ts').ask('read')).toBe('read')
    const all = [start('mcp-auth-provider.ts'), start('mcp-auth-provider.ts')]
    desk.server.setTokenDelay(300)
    await expire()
    expect(await Promise.all(all.map((each) => each.ask('read read')))).toEqual(['read, read', 'read, read'])
    expect(refreshes()).toBe(1)
    expect(desk.server.counts()).toMatchObject({ reuse: 0, revoked: 0 })
    expect(all.map(logins)).toEqual([0, 0])
  })

  it('a token that is refused: one refresh for all, nobody is asked to log in, and the next call is served', async () => {
    const all = [start('mcp-auth-provider.ts')]
    expect(await all[0]?.ask('read')).toBe('read')
    all.push(start('mcp-auth-provider.ts'))
    expect(await all[1]?.ask('read')).toBe('read')
    const token = (await arrivals()).at(-1)?.bearer ?? ''
    await mcp.ask(token)
    for (const said of await Promise.all(all.map((each) => each.ask('read')))) {
      expect(said).toMatch(/^read$|make the call again/)
    }
    expect(await Promise.all(all.map((each) => each.ask('read')))).toEqual(['read', 'read'])
    expect(refreshes()).toBe(1)
    expect(desk.server.counts()).toMatchObject({ reuse: 0, revoked: 0 })
    expect(all.map(logins)).toEqual([1, 0])
  })

  it('insufficient_scope: one more login, which takes nothing away', async () => {
    const program = start('mcp-auth-provider.ts')
    expect(await program.ask('read')).toBe('read')
    expect(await program.ask('write')).toBe('written')
    expect(logins(program)).toBe(2)
    expect(await program.ask('read')).toBe('read')
    const scopes = [...(await readFile(join(desk.home, 'auth.json'), 'utf8')).matchAll(/notes:\w+/g)].map(([it]) => it)
    expect(new Set(scopes)).toEqual(new Set(['notes:read', 'notes:write']))
  })
})

describe('the SDK’s own way, a provider over a shared file', () => {
  it('spends one refresh token twice, and ends with nobody logged in', async () => {
    expect(await start('mcp.ts').ask('read')).toBe('read')
    const TOKEN_FILE = join(desk.home, 'tokens.json')
    const [refresh_token = ''] = await desk.refreshTokens()
    const [file = ''] = (await readdir(join(desk.home, 'providers'))).filter((each) => each.startsWith('127.0.0.1'))
    const { client } = JSON.parse(await readFile(join(desk.home, 'providers', file), 'utf8')) as {
      client: { id: string }
    }
    const issuer = desk.server.issuer
    const tokens = { access_token: 'expired', token_type: 'Bearer', refresh_token, issuer }
    await writeFile(TOKEN_FILE, JSON.stringify({ client: { client_id: client.id, issuer }, tokens }))
    desk.server.setTokenDelay(1_000)
    const all = [start('mcp-file.ts', { TOKEN_FILE }), start('mcp-file.ts', { TOKEN_FILE })]
    await Promise.all(all.map((each) => each.ask('read')))
    expect(desk.server.counts().reuse).toBeGreaterThan(0)
    expect(desk.server.counts().revoked).toBeGreaterThan(0)
    desk.server.setTokenDelay(0)
    expect(await Promise.all(all.map((each) => each.ask('read')))).toEqual([
      expect.stringMatching(/^no answer/),
      expect.stringMatching(/^no answer/),
    ])
  })
})
