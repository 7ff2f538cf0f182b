import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ended, json, type Run, start } from './built.ts'

let home: string
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'authkeep-built-in-'))
  await mkdir(join(home, 'providers'))
})
afterEach(() => rm(home, { recursive: true, force: true }))

const authkeep = (args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Run> =>
  ended(start(home, args, { env }))
const idsOf = (run: Run): readonly string[] =>
  (json(run) as { providers: { id: string; source: string }[] }).providers.map(({ id, source }) => `${id} ${source}`)
const ready = ['openai-codex', 'openai', 'anthropic', 'openrouter'].map((id) => `${id} built in`)

describe('what is built in', () => {
  it('is listed, and what wants a client of your own says how to name it', async () => {
    const run = await authkeep(['providers', 'list', '--json'])
    expect(idsOf(run)).toEqual(ready)
    expect(json(run)).toMatchObject({
      incomplete: [
        { id: 'github', set: 'AUTHKEEP_CLIENT_ID_GITHUB' },
        { id: 'google', set: 'AUTHKEEP_CLIENT_ID_GOOGLE' },
      ],
    })
    const env = { AUTHKEEP_CLIENT_ID_GITHUB: 'Iv1.mine' }
    expect(idsOf(await authkeep(['providers', 'list', '--json'], env))).toEqual([...ready, 'github built in'])
    expect((await authkeep(['providers', 'list'])).stdout).toContain('set AUTHKEEP_CLIENT_ID_GITHUB')
  })

  it.each([[['login', 'github']], [['token', 'https://api.github.com/user']]])(
    '%j without a client says which variable to set',
    async (args) => {
      const run = await authkeep(args)
      expect(run).toMatchObject({ code: 1, stdout: '' })
      expect(run.stderr).toContain('github wants a client of your own: register one at github.com')
      expect(run.stderr).toContain('AUTHKEEP_CLIENT_ID_GITHUB')
    },
  )

  it.each([
    [
      'one that can be used',
      '{"id": "openai", "issuer": "https://mine.example", "client": {"id": "c"}}',
      ['openai file'],
    ],
    ['one that cannot', '{"id": "openai"', []],
  ])('gives way to a file of the same id: %s', async (_, text, files) => {
    await writeFile(join(home, 'providers/openai.json'), text)
    const run = await authkeep(['providers', 'list', '--json'])
    expect(idsOf(run)).toEqual([...files, ...ready.filter((each) => each !== 'openai built in')])
    expect(json(run)).toMatchObject({ overriding: ['openai'] })
    expect((await authkeep(['providers', 'list'])).stdout).toContain('openai is what the file says')
    expect((await authkeep(['status'])).stdout).toContain('Not used: the built-in provider openai')
    expect(await authkeep(['token', 'https://api.openai.com/v1/models'])).toMatchObject({ code: 1, stdout: '' })
  })

  it.each([
    [{}, 'authkeep'],
    [{ AUTHKEEP_PRODUCT: 'acme-agent' }, 'acme-agent'],
  ])('tells servers the name of the product: %j', async (env, product) => {
    const child = start(home, ['login', 'openai-codex', '--flow', 'paste'], { env })
    child.stderr.once('data', () => child.kill('SIGINT'))
    const run = await ended(child)
    expect(run.stderr).toContain(`originator=${product}`)
    expect(run.stderr).toContain('https://auth.openai.com/oauth/authorize?')
  })
})
