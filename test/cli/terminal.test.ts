import { execFileSync, spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const hasTmux = spawnSync('tmux', ['-V']).status === 0

// What a terminal shows; on a machine without tmux these say nothing.
describe.runIf(hasTmux)('at a terminal', () => {
  let home: string
  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'authkeep-terminal-'))
    await mkdir(join(home, 'providers'))
    const issuer = 'http://127.0.0.1:9'
    const metadata = { issuer, authorization_endpoint: `${issuer}/authorize`, token_endpoint: `${issuer}/token` }
    await writeFile(
      join(home, 'providers/acme.json'),
      JSON.stringify({ id: 'acme', issuer, metadata, client: { id: 'c' } }),
    )
  })
  afterEach(async () => {
    spawnSync('tmux', ['-S', join(home, 'tmux'), 'kill-server'])
    await rm(home, { recursive: true, force: true })
  })

  const tmux = (...args: readonly string[]): string =>
    execFileSync('tmux', ['-S', join(home, 'tmux'), ...args], { encoding: 'utf8' })
  const type = (...keys: readonly string[]): string => tmux('send-keys', ...keys)
  const screen = (): string => tmux('capture-pane', '-p', '-J').trimEnd()
  const shows = (text: string): Promise<void> =>
    vi.waitFor(() => expect(screen()).toContain(text), { timeout: 20_000, interval: 50 })
  function begin(line: string, env = ''): void {
    const command = `AUTHKEEP_HOME='${home}' ${env} '${process.execPath}' '${main}' ${line}; echo "exit=$?"; sleep 60`
    tmux('new-session', '-d', '-x', '80', '-y', '24', command)
  }
  /** The screen with what differs from run to run made plain. */
  const plain = (): string => screen().replaceAll(/http:\/\/127\S+/g, '<address>')

  it('over SSH an address is pasted; Ctrl-C in the middle leaves everything as it was', async () => {
    begin('login acme', 'SSH_TTY=x')
    await shows('Paste the address')
    type('C-c')
    await shows('exit=2')
    expect(plain()).toMatchInlineSnapshot(`
      "Logging in with a browser on another machine, because this is an SSH session; --flow chooses another way.
      To log in to acme, open this address in any browser:
      <address>
      Paste the address that the browser ends at: 
      Cancelled. Nothing was stored; the logins are as they were.
      Nothing was lost; to begin again: authkeep login acme
      exit=2"
    `)
    await expect(readFile(join(home, 'auth.json'))).rejects.toThrow('ENOENT')
  })

  it('an API key is typed without being shown, and corrected', async () => {
    begin('login acme --flow api-key')
    await shows('not shown')
    type('sk-secrex', 'BSpace', 't', 'Enter')
    await shows('exit=0')
    expect(plain()).toMatchInlineSnapshot(`
      "API key (not shown): 
      Stored the API key of acme as "default".
      exit=0"
    `)
    expect(await readFile(join(home, 'auth.json'), 'utf8')).toContain('"sk-secret"')
  })
})
