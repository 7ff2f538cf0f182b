import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { jsonNarrator, textNarrator } from '../../examples/demo/narrator.ts'
import { hold, play, type Scene } from '../../examples/demo/play.ts'
import { readable, redacted } from '../../examples/demo/secrecy.ts'

const names = [
  ...['onboard', 'endpoint-a', 'endpoint-b', 'scope-missing'],
  ...['eight-processes', 'kill-during-write', 'truncated', 'still-logged-in'],
]

/** Every token of the demo server is at least this long; nothing else that is printed is one word of this length. */
const tokenLike = /[\w-]{43,}|eyJ/

describe('the demo', () => {
  let world: string
  beforeEach(async () => {
    world = await mkdtemp(join(tmpdir(), 'demo-'))
    await Promise.all([mkdir(join(world, 'home')), mkdir(join(world, 'tmp'))])
  })
  afterEach(() => rm(world, { recursive: true, force: true }))

  it('plays eight scenes that hold, as one JSON object a line, without a token and without a trace', async () => {
    const { code, stdout, stderr } = await run('--json')
    expect(stderr).toBe('')
    const lines = stdout.trimEnd().split('\n')
    const scenes = lines.map((line) => JSON.parse(line) as { scene: string; ok: boolean })
    expect(scenes.map(({ scene, ok }) => ({ scene, ok }))).toEqual(names.map((scene) => ({ scene, ok: true })))
    expect(code).toBe(0)
    expect(scenes[4]).toMatchObject({ processes: 8, served: 8, refreshes: 1, reuse: 0 })
    expect(scenes[5]).toMatchObject({ lost: 0, credentials: 3 })
    expect(scenes[7]).toMatchObject({ logins: 1, reuse: 0, revoked: 0 })
    expect(stdout).not.toMatch(tokenLike)
    expect(await readdir(join(world, 'home'))).toEqual([])
    expect(await readdir(join(world, 'tmp'))).toEqual([])
  }, 60_000)

  it('tells the story in 80 columns, without colour where nobody sees it, and without a token', async () => {
    const { code, stdout, stderr } = await run()
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout.match(/✓ holds/g)).toHaveLength(names.length)
    expect(stdout).toMatch(/8 of 8 scenes hold\. .*\nThe server counted: logins 1, refreshes 3, reuse 0\.\n$/)
    expect(stdout).not.toContain('\u001b')
    expect(stdout).not.toMatch(tokenLike)
    const home = /home directory +(\S+)/.exec(stdout)?.[0] ?? ''
    const tooLong = stdout.split('\n').filter((line) => line.length > 80 && !line.includes(home))
    expect(tooLong).toEqual([])
  }, 60_000)

  /** Runs it with an environment that holds nothing but two empty directories. */
  async function run(...args: readonly string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
    const main = fileURLToPath(new URL('../../build/examples/demo/main.js', import.meta.url))
    const env = { HOME: join(world, 'home'), TMPDIR: join(world, 'tmp') }
    const child = spawn(process.execPath, [main, ...args], { env })
    let [stdout, stderr] = ['', '']
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk))
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk))
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
    return { code, stdout, stderr }
  }
})

describe('playing scenes', () => {
  const good: Scene = { name: 'good', title: 'It holds.', play: async () => ({ answer: 42 }) }
  const broken: Scene = {
    name: 'broken',
    title: 'It does not.',
    async play() {
      hold(false, 'no')
    },
  }
  const told = (): { write: (text: string) => boolean; text: () => string } => {
    let text = ''
    return { write: (more) => (text += more) !== '', text: () => text }
  }

  it('is 0 when every scene holds', async () => {
    const out = told()
    expect(await play([good, good], jsonNarrator(out))).toBe(0)
    expect(out.text()).toBe('{"scene":"good","ok":true,"answer":42}\n'.repeat(2))
  })

  it('is 1 when one does not, says why, and plays the others all the same', async () => {
    const out = told()
    expect(await play([good, broken, good], jsonNarrator(out))).toBe(1)
    const lines = out.text().trimEnd().split('\n')
    expect(lines).toHaveLength(3)
    expect(JSON.parse(lines[1]!)).toEqual({ scene: 'broken', ok: false, reason: 'no' })

    const story = told()
    const narrator = textNarrator(story, {})
    expect(await play([good, broken, good], narrator)).toBe(1)
    narrator.close('The end.')
    expect(story.text()).toContain('✗ does not hold: no')
    expect(story.text()).toContain('2 of 3 scenes hold. The end.')
  })

  it('does not repeat what a parser could not read', async () => {
    const out = told()
    const scene: Scene = { ...good, play: async () => ({ document: redacted('s3cret') }) }
    expect(await play([scene], jsonNarrator(out))).toBe(1)
    expect(out.text()).not.toContain('s3cret')
  })

  it('is coloured on a terminal, unless NO_COLOR says otherwise', async () => {
    const [coloured, plain] = [told(), told()]
    await play([good], textNarrator({ ...coloured, isTTY: true }, {}))
    await play([good], textNarrator({ ...plain, isTTY: true }, { NO_COLOR: '1' }))
    expect(coloured.text()).toContain('\u001b[32m')
    expect(plain.text()).not.toContain('\u001b')
  })
})

describe('showing the credential file', () => {
  it('strikes out every secret and shows all else', () => {
    const text = JSON.stringify({
      'p:a': { grant: { refreshToken: 'r', scopes: ['x', 'y'] }, tokens: [{ accessToken: 'a' }], idToken: 'i' },
      'p:b': { key: 'k' },
      'p:c': { token: 't' },
    })
    const struck = '[redacted]'
    expect(redacted(text)).toEqual({
      'p:a': {
        grant: { refreshToken: struck, scopes: ['x', 'y'] },
        tokens: [{ accessToken: struck }],
        idToken: struck,
      },
      'p:b': { key: struck },
      'p:c': { token: struck },
    })
    expect(readable(redacted(text))).toContain('"scopes": ["x", "y"]')
  })
})
