import { describe, expect, it } from 'vitest'
import { readArguments } from '../../src/cli/arguments.ts'
import { commands } from '../../src/cli/commands.ts'
import { helpFor } from '../../src/cli/help.ts'

describe('a command line', () => {
  it('is read wherever its options stand', async () => {
    for (const line of ['--json token https://a.example --min-ttl 5', 'token --min-ttl=5 --json https://a.example']) {
      const { command, words, options } = await readArguments(line.split(' '))
      expect(command?.name).toBe('token')
      expect(words).toEqual(['https://a.example'])
      expect(options).toEqual({ json: true, 'min-ttl': '5' })
    }
  })

  it('may repeat --scope', async () => {
    expect((await readArguments(['login', 'acme', '--scope', 'a', '--scope', 'b'])).options['scope']).toEqual([
      'a',
      'b',
    ])
  })

  it('of two words is one command', async () => {
    expect((await readArguments(['providers', 'add', 'x.json', '--replace'])).command?.name).toBe('providers add')
  })

  it('of nothing names no command', async () => expect((await readArguments([])).command).toBeUndefined())

  it.each([
    ['tokn', 'There is no command "tokn". Did you mean token?'],
    ['frobnicate', 'There is no command "frobnicate".'],
    ['providers', 'authkeep providers is followed by add or list.'],
    ['providers remove', 'authkeep providers is followed by add or list.'],
    ['token', 'authkeep token needs <url>.'],
    ['token a b', 'authkeep token takes only <url>.'],
    ['status acme', 'authkeep status takes nothing more.'],
    ['status --account work', 'authkeep status has no option --account.'],
    ['login acme --scop x', 'There is no option --scop. Did you mean --scope?'],
    ['login acme --api-key sk-secret', 'There is no option --api-key. Did you mean --api-key-stdin?'],
    ['login acme --api-key=sk-secret', 'There is no option --api-key. Did you mean --api-key-stdin?'],
    ['login acme -x', 'There is no option -x.'],
    ['login acme --account', '--account needs a value.'],
    ['login acme --account --json', '--account needs a value.'],
    ['secret-ref --json', "authkeep secret-ref speaks another program's protocol and takes no --json."],
    ['git-credential', 'authkeep git-credential needs <action>.'],
    ['status --json=yes', '--json takes no value.'],
  ])('%s: %s', async (line, sentence) => {
    await expect(readArguments(line.split(' '))).rejects.toEqual(
      expect.objectContaining({ name: 'UsageError', message: sentence }),
    )
  })
})

describe('help', () => {
  it('names every command, and fits 80 columns', () => {
    for (const { name } of commands) expect(helpFor(undefined)).toContain(`  ${name}`)
    for (const command of [undefined, ...commands]) {
      const lines = helpFor(command).split('\n')
      for (const line of lines.slice(0, lines.indexOf('Examples:'))) expect(line.length).toBeLessThanOrEqual(80)
    }
  })

  it.each(commands.map((command) => [command.name, command] as const))(
    'for %s has its options and examples',
    (_, command) => {
      const text = helpFor(command)
      for (const name of Object.keys(command.options)) expect(text).toContain(`--${name}`)
      for (const example of command.examples) expect(text).toContain(example)
    },
  )

  it('shows examples that are command lines', async () => {
    for (const example of commands.flatMap((command) => command.examples)) {
      // A long one is broken as a shell takes it.
      const line = example.replaceAll(/\s*\\\n\s*/g, ' ')
      const own = /authkeep ([^)<]*)/.exec(line)?.[1]?.trim().split(' ') ?? []
      await expect(readArguments(own)).resolves.toBeDefined()
    }
  })
})
