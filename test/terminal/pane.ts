import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, vi } from 'vitest'

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

/** Shells, as interactive as their line editors make them, without anybody's settings. */
const shells = {
  // Without its line editor the shell leaves the terminal as the last command has left it.
  plain: ['bash', '--noprofile', '--norc', '--noediting', '-i'],
  bash: ['bash', '--noprofile', '--norc', '-i'],
  zsh: ['zsh', '-f', '-i'],
  fish: ['fish', '--no-config', '--interactive'],
} as const

/** A terminal of 80 columns with a shell in it, in which `authkeep` is the built command line. */
export interface Pane {
  /** Types a line and Enter, and waits until it shows. */
  enter(line: string): Promise<void>
  /** Types, and waits for nothing. */
  type(text: string): void
  /** Presses keys, as tmux calls them. */
  press(...keys: readonly string[]): void
  /** What it shows, with the lines that it wraps in one piece. */
  screen(): string
  /** Waits until a line of the screen matches. */
  shows(line: string | RegExp): Promise<void>
  /** Waits until the shell prompts again, and returns the exit code of the last command. */
  prompts(): Promise<number>
  /** How the terminal was left. */
  state(): { readonly echo: boolean; readonly canonical: boolean; readonly cursor: boolean }
  close(): void
}

export function openPane(env: Readonly<Record<string, string>>, kind: keyof typeof shells = 'plain'): Pane {
  const directory = mkdtempSync(join(tmpdir(), 'authkeep-pane-'))
  const tmux = (...args: readonly string[]): string =>
    execFileSync('tmux', ['-S', join(directory, 'tmux'), '-f', '/dev/null', ...args], { encoding: 'utf8' })
  const quoted = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`
  symlinkSync(main, join(directory, 'authkeep'))
  const path = [directory, dirname(process.execPath), process.env['PATH']].join(':')
  const variables = {
    PATH: path,
    HOME: directory,
    TERM: 'screen',
    LANG: 'C.UTF-8',
    PS1: '[$?] $ ',
    HISTFILE: '',
    ...env,
  }
  const shell = [
    ...['env', '-i', ...Object.entries(variables).map(([name, value]) => quoted(`${name}=${value}`))],
    ...shells[kind],
  ]
  tmux('new-session', '-d', '-x', '80', '-y', '70', shell.join(' '))
  const press = (...keys: readonly string[]): void => void tmux('send-keys', ...keys)
  const screen = (): string =>
    tmux('capture-pane', '-p', '-J')
      .split('\n')
      .map((line) => line.trimEnd())
      .join('\n')
      .trimEnd()
  const waitFor = <T>(look: () => T): Promise<T> => vi.waitFor(look, { timeout: 20_000, interval: 20 })
  const type = (text: string): void => void tmux('send-keys', '-l', '--', text)
  const enter = async (line: string): Promise<void> => {
    const before = screen()
    type(line)
    press('Enter')
    await waitFor(() => expect(screen()).not.toBe(before))
  }
  const shows = (line: string | RegExp): Promise<void> =>
    waitFor(() => {
      if (typeof line === 'string') expect(screen()).toContain(line)
      else expect(screen()).toMatch(line)
    })
  return {
    ...{ enter, type, press, screen, shows },
    prompts: () =>
      waitFor(() => {
        const last = /^\[(\d+)\] \$$/.exec(screen().split('\n').at(-1) ?? '')
        if (last === null) throw new Error(`no prompt at the end of:\n${screen()}`)
        return Number(last[1])
      }),
    state() {
      const tty = tmux('display-message', '-p', '#{pane_tty} #{cursor_flag}').trim().split(' ')
      const settings = spawnSync('stty', ['-a', '-F', tty[0] ?? ''], { encoding: 'utf8' }).stdout.split(/[\s;]+/)
      return { echo: settings.includes('echo'), canonical: settings.includes('icanon'), cursor: tty[1] === '1' }
    },
    close() {
      spawnSync('tmux', ['-S', join(directory, 'tmux'), 'kill-server'])
      rmSync(directory, { recursive: true, force: true })
    },
  }
}
