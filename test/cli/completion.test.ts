import { spawnSync } from 'node:child_process'
import { expect, it } from 'vitest'
import { commands } from '../../src/cli/commands.ts'
import { ended, type Run, start } from './built.ts'

const completion = (...args: readonly string[]): Promise<Run> => ended(start('/nonexistent', ['completion', ...args]))

function offeredByBash(script: string, ...words: readonly string[]): readonly string[] {
  const line = `${script}\nCOMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}; _authkeep; printf '%s\\n' "\${COMPREPLY[@]}"`
  const { stdout, stderr, status } = spawnSync('bash', ['--norc', '-c', line], { encoding: 'utf8' })
  expect({ stderr, status }).toEqual({ stderr: '', status: 0 })
  return stdout.trim().split('\n')
}

it('bash offers commands, what follows them, and their options', async () => {
  const { stdout: script, code } = await completion('bash')
  expect(code).toBe(0)
  const first = [...new Set(commands.map(({ name }) => name.split(' ')[0]))]
  expect(offeredByBash(script, 'authkeep', '')).toEqual(expect.arrayContaining(first))
  expect(offeredByBash(script, 'authkeep', 'st')).toEqual(['status'])
  expect(offeredByBash(script, 'authkeep', 'providers', 'a')).toEqual(['add'])
  expect(offeredByBash(script, 'authkeep', 'login', 'acme', '--sco')).toEqual(['--scope'])
})

it.each(['zsh', 'fish'])(
  '%s is offered every command and option, where it is installed without complaint',
  async (shell) => {
    const { stdout: script, code } = await completion(shell)
    expect(code).toBe(0)
    for (const command of commands) {
      for (const word of command.name.split(' ')) expect(script).toContain(word)
      for (const option of Object.keys(command.options)) expect(script).toContain(option)
    }
    const { error, stderr, status } = spawnSync(shell, ['-n'], { encoding: 'utf8', input: script })
    if (error === undefined) expect({ stderr, status }).toEqual({ stderr: '', status: 0 })
  },
)

it('is 1 for another shell', async () => {
  expect(await completion('tcsh')).toMatchObject({ code: 1, stdout: '' })
})
