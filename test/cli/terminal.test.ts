import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { hasTmux, openTerminal, type Terminal } from './tmux.ts'

// What a terminal shows; on a machine without tmux these say nothing.
describe.runIf(hasTmux)('at a terminal', () => {
  let home: string
  let terminal: Terminal
  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'authkeep-terminal-'))
    terminal = openTerminal(home)
    await mkdir(join(home, 'providers'))
    const issuer = 'http://127.0.0.1:9'
    const metadata = { issuer, authorization_endpoint: `${issuer}/authorize`, token_endpoint: `${issuer}/token` }
    await writeFile(
      join(home, 'providers/acme.json'),
      JSON.stringify({ id: 'acme', issuer, metadata, client: { id: 'c' } }),
    )
  })
  afterEach(async () => {
    terminal.close()
    await rm(home, { recursive: true, force: true })
  })

  /** The screen with what differs from run to run made plain. */
  const plain = (): string => terminal.screen().replaceAll(/http:\/\/127\S+/g, '<address>')

  it('over SSH an address is pasted; Ctrl-C in the middle leaves everything as it was', async () => {
    terminal.begin('login acme', 'SSH_TTY=x')
    await terminal.shows('Paste the address')
    terminal.type('C-c')
    await terminal.shows('exit=2')
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
    terminal.begin('login acme --flow api-key')
    await terminal.shows('not shown')
    terminal.type('sk-secrex', 'BSpace', 't', 'Enter')
    await terminal.shows('exit=0')
    expect(plain()).toMatchInlineSnapshot(`
      "API key (not shown): 
      Stored the API key of acme as "default".
      exit=0"
    `)
    expect(await readFile(join(home, 'auth.json'), 'utf8')).toContain('"sk-secret"')
  })
})
