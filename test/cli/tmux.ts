import { execFileSync, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, vi } from 'vitest'

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

export const hasTmux = spawnSync('tmux', ['-V']).status === 0

/** A real terminal, in which one command line runs. */
export interface Terminal {
  begin(line: string, env?: string): void
  type(...keys: readonly string[]): void
  screen(): string
  shows(text: string): Promise<void>
  close(): void
}

/** A terminal of 80 columns for a home directory. */
export function openTerminal(home: string, rows = 24): Terminal {
  const tmux = (...args: readonly string[]): string =>
    execFileSync('tmux', ['-S', join(home, 'tmux'), ...args], { encoding: 'utf8' })
  const screen = (): string => tmux('capture-pane', '-p', '-J').trimEnd()
  return {
    begin(line, env = '') {
      const command = `AUTHKEEP_HOME='${home}' ${env} '${process.execPath}' '${main}' ${line}; echo "exit=$?"; sleep 60`
      tmux('new-session', '-d', '-x', '80', '-y', String(rows), command)
    },
    type: (...keys) => void tmux('send-keys', ...keys),
    screen,
    shows: (text) => vi.waitFor(() => expect(screen()).toContain(text), { timeout: 20_000, interval: 50 }),
    close: () => void spawnSync('tmux', ['-S', join(home, 'tmux'), 'kill-server']),
  }
}
