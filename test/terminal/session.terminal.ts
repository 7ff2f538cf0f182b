import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { demoProvider } from '../../examples/server/demo-provider.ts'
import { completeLogin, redirectAway } from '../../examples/server/robot.ts'
import { type Desk, openDesk } from '../cli/desk.ts'
import { openPane, type Pane } from './pane.ts'

let desk: Desk
let pane: Pane
/** What no picture may show. */
let secrets: string[]

// What a person sees at a real terminal, from the first login to the last logout; needs tmux: `npm run test:terminal`.
describe('at a terminal', () => {
  beforeEach(async () => {
    desk = await openDesk({
      accessTokenSeconds: 3 * 3600,
      configure: (server) => ({
        ...server,
        acrValues: ['strong'],
        claims: { openid: ['sub', 'email', 'acr'] },
        conformIdTokenClaims: false,
        findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, email: `${id}@mail.example` }) }),
      }),
    })
    secrets = []
    pane = openPane({ AUTHKEEP_HOME: desk.home, SSH_TTY: 'x' })
    await pane.prompts()
  })
  afterEach(async () => {
    pane.close()
    await desk.clear()
  })

  /** The screen as a person sees it, 80 columns wide, with what differs from run to run made plain, and nothing secret. */
  async function picture(): Promise<string> {
    const text = pane
      .screen()
      .replaceAll(/http:\/\/127\.0\.0\.1:\d+\/auth\?\S+/g, '<address>')
      .replaceAll(/http:\/\/127\.0\.0\.1:\d+\/callback\?\S+/g, '<redirect>')
      .replaceAll(desk.api.origin, 'http://api')
      .replaceAll(desk.server.origin, 'http://server')
      .replaceAll(desk.home, '/home')
    const stored = await readFile(join(desk.home, 'auth.json'), 'utf8').catch(() => '')
    const tokens = [...stored.matchAll(/"(?:refreshToken|accessToken|idToken|key)":\s*"([^"]+)"/g)].map(
      ([, token = '']) => token,
    )
    for (const secret of [...tokens, ...secrets]) expect(text).not.toContain(secret)
    return text
      .split('\n')
      .flatMap((line) => line.match(/.{1,80}/gu) ?? [''])
      .map((line) => line.trimEnd())
      .join('\n')
  }

  /** The address that a login shows, as soon as it does. */
  async function address(): Promise<URL> {
    await pane.shows(/^http:\S+\/auth\?\S+$/m)
    const [last = ''] =
      pane
        .screen()
        .match(/^http:\S+\/auth\?\S+$/gm)
        ?.slice(-1) ?? []
    return new URL(last)
  }

  /** Logs in with a browser on another machine, and pastes the address that it ends at. */
  async function paste(login: string): Promise<void> {
    const redirect = await redirectAway(await address(), { login })
    secrets.push(redirect.searchParams.get('code') ?? '', redirect.searchParams.get('state') ?? '')
    await pane.shows('Paste the address')
    await pane.enter(redirect.href)
  }

  const everything = async (): Promise<unknown> => {
    const path = join(desk.home, 'auth.json')
    const { ino, mtimeNs } = await stat(path, { bigint: true })
    return { ino, mtimeNs, text: await readFile(path, 'utf8') }
  }
  const sane = { echo: true, canonical: true, cursor: true }

  it('first login over SSH, status, logout', async () => {
    await pane.enter('authkeep status')
    await pane.prompts()
    await pane.enter('authkeep login demo')
    await paste('alice')
    await pane.prompts()
    await pane.enter('authkeep status')
    await pane.prompts()
    await pane.enter('authkeep logout demo')
    await pane.prompts()
    await pane.enter('authkeep status')
    await pane.prompts()
    expect(await picture()).toMatchInlineSnapshot(`
      "[0] $ authkeep status
      There are no logins in /home/auth.json.
      To log in: authkeep login <provider>
      [0] $ authkeep login demo
      Logging in with a browser on another machine, because this is an SSH session.
      To choose another way: --flow (authkeep login --help names them)
      To log in to demo, open this address in any browser:
      <address>
      Paste the address that the browser ends at: <redirect>
      Logged in to demo as "default" with files:read mail:read offline_access openid.
      [0] $ authkeep status
      PROVIDER  ACCOUNT  KIND   SCOPES                                  EXPIRES  STATE
      demo      default  oauth  files:read mail:read offline_access o…  in 3 h   live
      [0] $ authkeep logout demo
      Logged out of demo as "default": revoked at the server and forgotten.
      [0] $ authkeep status
      There are no logins in /home/auth.json.
      To log in: authkeep login <provider>
      [0] $"
    `)
    expect(pane.state()).toEqual(sane)
  })

  it('login with a browser on this machine', async () => {
    await pane.enter('authkeep login demo --no-browser')
    await completeLogin(await address())
    expect(await pane.prompts()).toBe(0)
    expect(await picture()).toMatchInlineSnapshot(`
      "[0] $ authkeep login demo --no-browser
      To log in to demo, open this address:
      <address>
      If the browser is on another machine, paste the address that it ends at:
      Logged in to demo as "default" with files:read mail:read offline_access openid.
      [0] $"
    `)
    expect(pane.state()).toEqual(sane)
  })

  describe('a login of another account', () => {
    beforeEach(async () => {
      await desk.login()
      await pane.enter('authkeep login demo --flow paste')
      await paste('bob')
      await pane.shows('Which one?')
    })

    it('is kept beside the other one', async () => {
      await pane.enter('1')
      await pane.shows('Name of the new login')
      pane.press('Enter')
      expect(await pane.prompts()).toBe(0)
      await pane.enter('authkeep status')
      await pane.prompts()
      await pane.enter('authkeep logout demo')
      await pane.prompts()
      expect(await picture()).toMatchInlineSnapshot(`
        "[0] $ authkeep login demo --flow paste
        To log in to demo, open this address in any browser:
        <address>
        Paste the address that the browser ends at: <redirect>
        This login to demo is of another account than the one stored as "default".
          stored: alice@mail.example
          now:    bob@mail.example
        1  Keep both: store the new login under a name of its own
        2  Replace: forget the stored login; the server is not told
        3  Cancel: leave everything as it was
        Which one? [3]: 1
        Name of the new login [bob@mail.example]:
        Logged in to demo as "bob@mail.example" with files:read mail:read offline_access
         openid.
        [0] $ authkeep status
        PROVIDER  ACCOUNT           KIND   SCOPES                         EXPIRES  STATE
        demo      default           oauth  files:read mail:read offline…  in 3 h   live
        demo      bob@mail.example  oauth  files:read mail:read offline…  in 3 h   live
        [0] $ authkeep logout demo
        Several demo accounts could be meant: default, bob@mail.example.
        Name one: authkeep logout demo --account default
        [1] $"
      `)
    })

    it('takes its place', async () => {
      await pane.enter('both')
      await pane.shows('Please type')
      await pane.enter('2')
      expect(await pane.prompts()).toBe(0)
      await pane.enter('authkeep accounts')
      await pane.prompts()
      expect(await picture()).toMatchInlineSnapshot(`
        "[0] $ authkeep login demo --flow paste
        To log in to demo, open this address in any browser:
        <address>
        Paste the address that the browser ends at: <redirect>
        This login to demo is of another account than the one stored as "default".
          stored: alice@mail.example
          now:    bob@mail.example
        1  Keep both: store the new login under a name of its own
        2  Replace: forget the stored login; the server is not told
        3  Cancel: leave everything as it was
        Which one? [3]: both
        Please type 1, 2 or 3.
        Which one? [3]: 2
        Logged in to demo as "default" with files:read mail:read offline_access openid.
        [0] $ authkeep accounts
        PROVIDER  ACCOUNT  WHO  ISSUER
        demo      default  bob  http://server
        [0] $"
      `)
    })

    it.each(['Enter', 'C-c', 'C-d'])('changes nothing after %s', async (key) => {
      const before = await everything()
      pane.press(key)
      expect(await pane.prompts()).toBe(2)
      expect(await everything()).toEqual(before)
      expect(desk.server.counts().revoked).toBeGreaterThan(0)
      expect(pane.state()).toEqual(sane)
      expect(await picture()).toMatchSnapshot()
    })
  })

  it('step-up: the advised command helps', async () => {
    const { endpoints } = demoProvider(desk.server, { api: desk.api.origin })
    await desk.addProvider('demo', { endpoints: endpoints.map((each) => ({ ...each, acrValues: ['strong'] })) })
    await desk.login()
    await pane.enter(`authkeep token ${desk.api.origin}/files > /dev/null`)
    expect(await pane.prompts()).toBe(4)
    const advised = /authkeep login .+/.exec(pane.screen())?.[0] ?? ''
    await pane.enter(advised)
    await paste('alice')
    expect(await pane.prompts()).toBe(0)
    await pane.enter(`authkeep token ${desk.api.origin}/files > /dev/null`)
    expect(await pane.prompts()).toBe(0)
    expect(await picture()).toMatchInlineSnapshot(`
      "[0] $ authkeep token http://api/files > /dev/null
      demo asks for a fresh or stronger login of "default".
      Log in again: authkeep login demo --acr strong
      [4] $ authkeep login demo --acr strong
      Logging in with a browser on another machine, because this is an SSH session.
      To choose another way: --flow (authkeep login --help names them)
      To log in to demo, open this address in any browser:
      <address>
      Paste the address that the browser ends at: <redirect>
      Logged in to demo as "default" with files:read mail:read offline_access openid.
      [0] $ authkeep token http://api/files > /dev/null
      [0] $"
    `)
  })

  it.each([
    ['that waits for an address', 'authkeep login demo'],
    ['that waits for the browser', 'authkeep login demo --no-browser'],
  ])('Ctrl-C in the middle of a login %s leaves everything as it was', async (_, line) => {
    await desk.login()
    const before = await everything()
    await pane.enter(line)
    await pane.shows(/paste the address/i)
    pane.press('h', 'a', 'l', 'f', 'C-c')
    expect(await pane.prompts()).toBe(2)
    expect(await everything()).toEqual(before)
    expect(pane.state()).toEqual(sane)
    expect(await picture()).toMatchSnapshot()
  })

  it('exec: the command has the terminal, and Ctrl-C is its own', async () => {
    await desk.login()
    const script = [
      'const { stdin, stdout } = process',
      'process.on("SIGINT", () => console.log("caught"))',
      'console.log("terminal:", stdin.isTTY, stdout.isTTY)',
      'stdin.once("data", () => process.exit(7))',
    ]
    await writeFile(join(desk.home, 'child.cjs'), script.join('\n'))
    await pane.enter(`authkeep exec ${desk.api.origin}/files -- node ${desk.home}/child.cjs`)
    await pane.shows('terminal: true true')
    pane.press('C-c')
    await pane.shows('caught')
    pane.press('Enter')
    expect(await pane.prompts()).toBe(7)
    await pane.enter(`authkeep exec ${desk.api.origin}/files -- bash -c 'echo begun; exec sleep 600'`)
    await pane.shows(/^begun/m)
    pane.press('C-c')
    expect(await pane.prompts()).toBe(130)
    expect(await picture()).toMatchInlineSnapshot(`
      "[0] $ authkeep exec http://api/files -- node /home/child.cjs
      terminal: true true
      ^Ccaught

      [7] $ authkeep exec http://api/files -- bash -c 'echo begun; exec sleep 600'
      begun
      ^C
      [130] $"
    `)
    expect(pane.state()).toEqual(sane)
  })

  it('that was left in disorder is recognised', async () => {
    await pane.enter('stty -echo -icanon; printf "\\033[?25l"')
    await pane.shows(/^\[0\] \$ stty.*\n\[0\] \$$/)
    expect(pane.state()).toEqual({ echo: false, canonical: false, cursor: false })
  })

  it('an API key is typed without being shown, and corrected', async () => {
    await pane.enter('authkeep login demo --flow api-key')
    await pane.shows('not shown')
    pane.press('s', 'k', '-', 's', 'e', 'c', 'r', 'e', 'x', 'BSpace', 't', 'Enter')
    expect(await pane.prompts()).toBe(0)
    expect(await picture()).toMatchInlineSnapshot(`
      "[0] $ authkeep login demo --flow api-key
      API key (not shown):
      Stored the API key of demo as "default".
      [0] $"
    `)
    expect(await readFile(join(desk.home, 'auth.json'), 'utf8')).toContain('"sk-secret"')
    expect(pane.state()).toEqual(sane)
  })
})
