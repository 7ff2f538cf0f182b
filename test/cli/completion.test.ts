import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { commands } from '../../src/cli/commands.ts'
import { ended, json, type Run, start } from './built.ts'

let home: string
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'authkeep-completion-'))
})
afterEach(() => rm(home, { recursive: true, force: true }))

const completion = (...args: readonly string[]): Promise<Run> => ended(start(home, ['completion', ...args]))

async function store(...names: readonly string[]): Promise<void> {
  const entries = names.map((name) => [name, { type: 'api_key', key: 'sk-secret' }] as const)
  await writeFile(join(home, 'auth.json'), JSON.stringify({ version: 1, credentials: Object.fromEntries(entries) }))
}

/** What is offered after these words, of which the last is being typed. */
async function offered(...words: readonly string[]): Promise<readonly string[]> {
  const run = await completion('zsh', '--json', '--', ...words)
  expect(run).toMatchObject({ code: 0, stderr: '' })
  expect(run.stdout).not.toContain('sk-secret')
  return (json(run) as { offered: readonly { word: string }[] }).offered.map(({ word }) => word)
}

// What the shells themselves make of it: test/terminal/completion.terminal.ts.
describe('what is offered', () => {
  it('is commands, what follows them, and their options', async () => {
    const first = [...new Set(commands.map(({ name }) => name.split(' ')[0]))]
    expect(await offered('')).toEqual(first)
    expect(await offered('providers', '')).toEqual(['add', 'list'])
    for (const { name, options, speaksProtocol } of commands) {
      const names = Object.keys(options).map((option) => `--${option}`)
      const found = await offered(...name.split(' '), '--')
      expect(found).toEqual(expect.arrayContaining([...names, '--home']))
      expect(found.includes('--json')).toBe(speaksProtocol !== true)
    }
  })

  it('is providers, accounts, ways to log in, programs, shells', async () => {
    await store('demo:work', 'demo:a b', 'other:mine')
    expect(await offered('login', '')).toEqual(expect.arrayContaining(['openai-codex', 'openrouter']))
    expect(await offered('login', 'demo', 'demo:')).toEqual(['demo:work', 'demo:a b'])
    expect(await offered('logout', '')).toEqual(['demo', 'other'])
    expect(await offered('logout', 'demo', '--account', '')).toEqual(['work', 'a b'])
    expect(await offered('logout', '--account', '')).toEqual(['work', 'a b', 'mine'])
    expect(await offered('logout', 'demo', '--account=w')).toEqual(['--account=work'])
    expect(await offered('order', 'demo', '--try', 'work', '--try', '')).toEqual(['work', 'a b'])
    expect(await offered('login', 'demo', '--flow', 'd')).toEqual(['device'])
    expect(await offered('import', 'q')).toEqual(['qwen-code'])
    expect(await offered('completion', '')).toEqual(['bash', 'zsh', 'fish'])
    expect(await offered('token', '--format', 'g')).toEqual(['git', 'google'])
    expect(await offered('git-credential', '')).toEqual(['get', 'store', 'erase'])
    expect(await offered('docker-credential', '')).toEqual(['get', 'list'])
  })

  it('is an account that begins with a dash only where it is no option', async () => {
    await store('demo:-n')
    expect(await offered('logout', 'demo', '--account', '')).toEqual([])
    expect(await offered('logout', 'demo', '--account=')).toEqual(['--account=-n'])
    expect(await offered('logout', 'demo', '--account')).toEqual(['--account', '--account=-n'])
  })

  it('is of the --home that is typed, its provider files and older states', async () => {
    const other = join(home, 'other')
    await mkdir(join(other, 'providers'), { recursive: true })
    const provider = { id: 'acme', issuer: 'https://login.acme.example', client: { id: 'c' }, endpoints: [] }
    await writeFile(join(other, 'providers', 'acme.json'), JSON.stringify(provider))
    expect(await offered('login', '--home', other, 'ac')).toEqual(['acme'])
    expect(await offered('login', 'ac')).toEqual([])
    await store('demo:work')
    expect((await ended(start(home, ['logout', 'demo', '--local']))).code).toBe(0)
    const { backups } = json(await ended(start(home, ['restore', '--list', '--json']))) as { backups: { id: string }[] }
    expect(backups).not.toEqual([])
    expect(await offered('restore', '')).toEqual(backups.map(({ id }) => id))
  })

  it.each([
    ['damaged', '{"version":1,"cred'],
    ['newer', '{"version":99,"credentials":{}}'],
    ['no file', undefined],
  ])('is nothing where the store is %s, and nothing is said or changed', async (_, text) => {
    if (text === undefined) await mkdir(join(home, 'auth.json'))
    else await writeFile(join(home, 'auth.json'), text)
    const before = [await readdir(home), (await stat(join(home, 'auth.json'), { bigint: true })).mtimeNs]
    for (const shell of ['bash', 'zsh', 'fish']) {
      const words = shell === 'bash' ? ['authkeep logout ', ''] : ['logout', '']
      const run = await completion(shell, '--', ...words)
      expect({ ...run, stdout: run.stdout.replaceAll('\0', '\n') }).toEqual({ code: 0, stdout: 'words\n', stderr: '' })
    }
    expect(await offered('restore', '')).toEqual([])
    expect([await readdir(home), (await stat(join(home, 'auth.json'), { bigint: true })).mtimeNs]).toEqual(before)
    if (text !== undefined) expect(await readFile(join(home, 'auth.json'), 'utf8')).toBe(text)
  })

  it('makes no home', async () => {
    expect(await offered('logout', '--home', join(home, 'none'), '')).toEqual([])
    expect(await readdir(home)).toEqual([])
  })
})

describe('for bash', () => {
  const names = [
    'work',
    'a b',
    '$(touch x)',
    '`touch x`',
    "it's",
    '"',
    'a:b',
    '\\',
    '!!',
    '~',
    '*',
    'a\nb',
    '\u001b[31m',
    'é',
  ]

  it.each(names)('%j reads back as itself, wherever the word was broken, and runs nothing', async (name) => {
    await store(`demo:${name}`)
    // Where a quotation has begun, what is offered ends it.
    const lines = ['authkeep login ', 'authkeep login "', "authkeep login '"].map(
      (line) => [`${line}demo:`, ''] as const,
    )
    for (const [line, replaced] of lines) {
      const { stdout } = await completion('bash', '--', line, replaced)
      const [first, insert = ''] = stdout.split('\n')
      expect(first).toBe('words')
      const script = `authkeep() { printf '%s\\0' "$@"; }\n${line}${insert}`
      const { stdout: arrived, stderr } = spawnSync('bash', ['--norc', '-c', script], { encoding: 'utf8', cwd: home })
      expect({ arrived, stderr }).toEqual({ arrived: `login\0demo:${name}\0`, stderr: '' })
    }
    expect(await readdir(home)).toEqual(['auth.json'])
  })

  it('is nothing behind what would have to be evaluated', async () => {
    await store('demo:work')
    for (const line of ['authkeep logout $(touch x) ', 'authkeep logout `touch x` ', 'authkeep logout demo > ']) {
      expect((await completion('bash', '--', line, '')).stdout).toBe('words\n')
    }
  })
})

it.each(['bash', 'zsh', 'fish'])(
  'the script for %s is without complaint where the shell is installed',
  async (shell) => {
    const run = await completion(shell)
    expect(run).toMatchObject({ code: 0, stderr: '' })
    await writeFile(join(home, 'script'), run.stdout)
    const { error, stderr, status } = spawnSync(shell, ['-n', join(home, 'script')], { encoding: 'utf8' })
    if (error === undefined) expect({ stderr, status }).toEqual({ stderr: '', status: 0 })
  },
)

it('is 1 for another shell', async () => {
  expect(await completion('tcsh')).toMatchObject({ code: 1, stdout: '' })
})
