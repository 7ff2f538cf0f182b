import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { openPane, type Pane } from './pane.ts'

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

const names = [
  ...['bob@mail.example', 'two words', '$(touch x)', '`touch x`', "it's", '"quoted"', 'a:b:c', 'a=b', '-n', '--json'],
  ...[
    '*',
    '[a-z]?',
    '{a,b}',
    '~',
    '~root',
    '$HOME',
    'back\\slash',
    'back\\',
    'wow!!',
    '!ls',
    'a;touch x',
    'a&|<>()',
    '#',
  ],
  ...[
    'two\nlines',
    '\u001b[31mred',
    '\u001b]0;title\u0007',
    'bell\u0007',
    'right\u202eleft',
    'Zoë 💥',
    '%s%n',
    '=ls',
    '^a^b',
  ],
  ...['ends\n', "$'x'", "'", '"', ' ', 'a  b ', '<(touch x)', '\u0003', '\r', '\u007f', "';touch x;'", '";touch x;"'],
]

const loading = {
  bash: 'source <(authkeep completion bash)',
  zsh: 'autoload -Uz compinit && compinit -u -d $PWD/dump && source <(authkeep completion zsh)',
  fish: 'authkeep completion fish | source',
} as const

// The scripts in the shells that they are for, with their line editors: `npm run test:terminal`.
describe.each(['bash', 'zsh', 'fish'] as const)('completion in %s', (shell) => {
  const isThere = spawnSync(shell, ['--version']).error === undefined
  let home = tmpdir()
  let work: string
  let pane: Pane

  beforeAll(async () => {
    if (!isThere) return
    home = await mkdtemp(join(tmpdir(), 'authkeep-completion-'))
    work = join(home, 'work')
    const bin = join(home, 'bin')
    await mkdir(work)
    await mkdir(bin)
    // Keeps what arrives, unless it is the script that asks what to offer.
    const recorder = `#!${process.execPath}
const { spawnSync } = require('node:child_process')
const { renameSync, writeFileSync } = require('node:fs')
const args = process.argv.slice(2)
const { status } = spawnSync(process.execPath, [${JSON.stringify(main)}, ...args], { stdio: 'inherit' })
if (args[0] !== 'completion') {
  writeFileSync(${JSON.stringify(join(home, 'arriving'))}, JSON.stringify({ args, status }))
  renameSync(${JSON.stringify(join(home, 'arriving'))}, ${JSON.stringify(join(home, 'arrived'))})
}
process.exitCode = status
`
    await writeFile(join(bin, 'authkeep'), recorder, { mode: 0o755 })
    pane = openPane({ AUTHKEEP_HOME: home, PATH: `${bin}:${process.env['PATH'] ?? ''}` }, shell)
    if (shell === 'fish') pane.type('function fish_prompt; echo -n "[$status] \\$ "; end\n')
    if (shell === 'zsh') pane.type("PS1='[%?] $ '\n")
    await pane.prompts()
    pane.type(`cd ${work}; ${loading[shell]}; echo load''ed\n`)
    await pane.shows(/^loaded$/m)
    await pane.prompts()
  })
  afterAll(async () => {
    if (!isThere) return
    pane.close()
    await rm(home, { recursive: true, force: true })
  })
  beforeEach(() => rm(join(home, 'arrived'), { force: true }))

  const path = (): string => join(home, 'auth.json')
  async function store(...accounts: readonly string[]): Promise<void> {
    const entries = accounts.map((account) => [`demo:${account}`, { type: 'api_key', key: 'sk-secret' }] as const)
    await writeFile(path(), JSON.stringify({ version: 1, credentials: Object.fromEntries(entries) }))
  }

  /** What arrives at authkeep when somebody types this and presses Tab and Enter. */
  async function completed(line: string): Promise<{ args: readonly string[]; status: number }> {
    pane.type(line)
    pane.press('Tab')
    pane.press('Enter')
    const text = await vi.waitFor(() => readFile(join(home, 'arrived'), 'utf8'), { timeout: 20_000, interval: 20 })
    await pane.prompts()
    return JSON.parse(text) as { args: readonly string[]; status: number }
  }

  // In fish a tab ends what is offered, so there is nothing to be offered.
  const offered = shell === 'fish' ? names : [...names, 'a\ttab']

  it.skipIf(!isThere).each(offered)('%j is the account that is meant, and runs nothing', async (name) => {
    await store(name)
    const isGlued = (shell === 'fish' ? /^[-~]/ : /^-/).test(name)
    const option = isGlued ? '--account=' : '--account '
    const { args, status } = await completed(`authkeep logout demo --local ${option}`)
    const arrived = isGlued ? [`--account=${name}`] : ['--account', name]
    expect(args).toEqual(['logout', 'demo', '--local', ...arrived])
    expect(status).toBe(0)
    expect(await readFile(path(), 'utf8')).not.toContain('sk-secret')
    expect((await readdir(work)).filter((file) => file !== 'dump')).toEqual([])
  })

  it.skipIf(!isThere).each([
    ['a command', 'accou', ['accounts']],
    ['a command of two words', 'providers l', ['providers', 'list']],
    ['an option', 'status --js', ['status', '--json']],
    ['a provider that is built in', 'login --non-interactive openro', ['login', '--non-interactive', 'openrouter']],
    [
      'an account after its provider',
      'login --non-interactive demo:tw',
      ['login', '--non-interactive', 'demo:two words'],
    ],
    [
      'an account that is typed in part',
      'logout demo --account bo',
      ['logout', 'demo', '--account', 'bob@mail.example'],
    ],
    ['an account behind its @', 'logout demo --account bob@m', ['logout', 'demo', '--account', 'bob@mail.example']],
    ['an account behind an equals sign', 'logout demo --account=tw', ['logout', 'demo', '--account=two words']],
    ['an account within double quotes', 'logout demo --account "mo', ['logout', 'demo', '--account', 'money $HOME `!']],
    ['an account within single quotes', "logout demo --account 'it", ['logout', 'demo', '--account', "it's"]],
    ['an account behind a backslash', 'logout demo --account two\\ w', ['logout', 'demo', '--account', 'two words']],
    ['accounts to try', 'order demo --try tw', ['order', 'demo', '--try', 'two words']],
    [
      'a way to log in',
      'login demo --non-interactive --flow dev',
      ['login', 'demo', '--non-interactive', '--flow', 'device'],
    ],
    ['a program', 'import qw', ['import', 'qwen-code']],
  ])('completes %s', async (_, typed, expected) => {
    await store('two words', 'bob@mail.example', "it's", 'money $HOME `!')
    expect((await completed(`authkeep ${typed}`)).args).toEqual(expected)
  })
})
