import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { adviseOn } from '../../src/cli/advice.ts'
import { commands as all } from '../../src/cli/commands.ts'
import { helpFor } from '../../src/cli/help.ts'
import { outputSchema, outputs } from '../../src/cli/schema.ts'
import { AuthkeepError, type ErrorCode, type ErrorDetails } from '../../src/errors.ts'
import { providerJsonSchema } from '../../src/provider-schema.ts'
import { ended, start } from './built.ts'
import { type Desk, openDesk } from './desk.ts'

/** Those that speak another program's protocol print nothing else. */
const commands = all.filter(({ speaksProtocol }) => speaksProtocol !== true)

describe('the published schema', () => {
  it('is docs/schemas/authkeep.json: what authkeep schema prints', async () => {
    const published = await readFile(new URL('../../docs/schemas/authkeep.json', import.meta.url), 'utf8')
    expect(JSON.parse(published)).toEqual(JSON.parse(JSON.stringify(await outputSchema())))
  })

  it('of a provider file is docs/schemas/provider.json', async () => {
    const published = await readFile(new URL('../../docs/schemas/provider.json', import.meta.url), 'utf8')
    expect(JSON.parse(published)).toEqual(JSON.parse(JSON.stringify(await providerJsonSchema())))
  })

  it('has a definition for every command', () => {
    const names = Object.keys(outputs(z))
    expect(commands.map(({ name }) => name).filter((name) => !names.includes(name))).toEqual([])
  })
})

describe('--json', () => {
  let desk: Desk
  let url: string
  beforeAll(async () => {
    desk = await openDesk()
    await desk.login()
    await ended(start(desk.home, ['login', 'demo', '--api-key-stdin', '--account', 'a']), 'sk-one')
    url = `${desk.api.origin}/files`
  })
  afterAll(() => desk.clear())

  const lines: readonly (readonly string[])[] = [
    ['login', 'demo', '--api-key-stdin', '--account', 'key'],
    ['import'],
    ['accounts'],
    ['status'],
    ['token', 'URL'],
    ['exec', 'URL', '--', 'true'],
    ['explain', 'URL'],
    ['route', 'files', '--account', 'default'],
    ['order', 'demo'],
    ['providers', 'add', 'FILE'],
    ['providers', 'list'],
    ['doctor'],
    ['restore', '--list'],
    ['copy', '--from', 'file', '--to', 'OTHER'],
    ['copy', '--from', 'OTHER', '--to', 'file'],
    ['encrypt', '--key', 'KEY'],
    ['rotate-key'],
    ['decrypt'],
    ['completion', 'bash'],
    ['schema'],
    ['logout', 'demo', '--account', 'key'],
  ]

  it('is tried on every command', () => {
    const tried = lines.map((words) => words.join(' '))
    expect(commands.map(({ name }) => name).filter((name) => !tried.some((line) => line.startsWith(name)))).toEqual([])
  })

  // `ended` holds what is printed to the schema.
  it.each(lines)('%s %s', async (...words) => {
    const path = join(desk.home, 'demo.json')
    const [first = '', ...rest] = words.map((word) =>
      word === 'URL'
        ? url
        : word === 'FILE'
          ? path
          : word === 'KEY'
            ? `file:${path}.key`
            : word === 'OTHER'
              ? `${path}.other`
              : word,
    )
    const run = await ended(start(desk.home, [first, '--json', ...rest]), 'sk-two')
    expect(run).toMatchObject({ code: 0, stderr: '' })
    expect(run.stdout.trimEnd().split('\n')).toHaveLength(1)
  })

  it('is one value on stdout for an error of every command, too', async () => {
    await writeFile(join(desk.home, 'file'), '')
    for (const { name } of commands) {
      const home = join(desk.home, 'file')
      const words = [...name.split(' '), '--json', '--no-such-option', '--home', home]
      const run = await ended(start(desk.home, words))
      expect(run).toMatchObject({ code: 1, stderr: '' })
      expect(run.stdout).toMatch(/^\{"error":\{"code":"usage"/)
    }
  })
})

describe('a command that speaks the protocol of another program', () => {
  const others = all.filter(({ speaksProtocol }) => speaksProtocol === true)

  it.each(others.map(({ name, takes }) => [name, ...takes.map(() => 'get')]))(
    '%s takes no --json',
    async (...words) => {
      const run = await ended(start('/nowhere', [...words, '--json']))
      expect(run).toMatchObject({ code: 1, stderr: '' })
      expect(run.stdout).toContain("speaks another program's protocol and takes no --json.")
      expect(helpFor(others.find(({ name }) => name === words[0]))).not.toContain('--json')
    },
  )
})

describe('the exit code of every error', () => {
  const key = { provider: 'acme', account: 'work' }
  const path = '/home/u/auth.json'
  const expected: { readonly [C in ErrorCode]: readonly [code: number, detail: ErrorDetails[C]] } = {
    authorization_required: [4, { ...key, reason: 'no_credential' }],
    scope_missing: [4, { ...key, missing: ['a'], granted: [], obtainable: true, alternatives: [] }],
    scope_too_wide: [1, { ...key, needed: ['a'], excess: ['b'] }],
    grant_revoked: [4, { ...key, generation: 1 }],
    refresh_interrupted: [4, { ...key, since: 0, stage: 'sent' }],
    flow_unavailable: [4, { ...key, unavailable: 'device', alternatives: ['paste'] }],
    step_up_required: [4, key],
    account_ambiguous: [1, { provider: 'acme', accounts: ['a', 'b'] }],
    account_resting: [75, { ...key, reason: 'usage_limited', until: 1_790_000_000_000 }],
    token_replaced: [75, key],
    provider_unknown: [1, { asked: 'acne' }],
    endpoint_unknown: [1, { asked: 'https://api.example' }],
    provider_invalid: [1, { source: 'acme.json', problems: ['id: no'] }],
    host_not_bound: [1, { host: 'h', provider: 'acme', declared: [] }],
    redirect_unavailable: [1, { provider: 'acme', ports: [1], errno: 'EADDRINUSE' }],
    server_unavailable: [75, { provider: 'acme', cause: 'timeout', sent: false }],
    server_rejected: [1, { provider: 'acme', status: 400, error: 'invalid_client' }],
    not_entitled: [1, { ...key, keyFor: 'acme', status: 401, error: 'x' }],
    response_invalid: [1, { provider: 'acme', status: 200, what: 'x' }],
    edge_challenge: [1, { host: 'h', vendor: 'Cloudflare', alternatives: [] }],
    store_busy: [75, { path }],
    store_corrupt: [1, { path, what: 'x' }],
    store_failed: [1, { path, operation: 'write', errno: 'ENOSPC', unspent: true }],
    write_indeterminate: [75, { key: path }],
    key_missing: [1, { keyId: 'k', keyProvider: 'keychain' }],
    keychain_unavailable: [1, { keyId: 'k', keyProvider: 'keychain' }],
    not_supported: [1, { feature: 'x' }],
  }

  it.each(Object.entries(expected))('%s: %j', (code, [exitCode, detail]) => {
    const error = new AuthkeepError(code as ErrorCode, detail)
    const situation = { typed: ['status'], command: 'status', homeOption: [], cancelled: false }
    const advice = adviseOn(error, situation)
    expect(advice.exitCode).toBe(exitCode)
    expect(advice.next).not.toBe('')
    outputs(z)['error']?.parse({ error: { ...error.toJSON(), next: advice.next } })
    expect(adviseOn(error, { ...situation, cancelled: true }).exitCode).toBe(2)
  })
})
