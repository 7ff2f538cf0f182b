import { readdir, readFile, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ended, json, type Run, start } from './built.ts'
import { type Desk, openDesk } from './desk.ts'

let desk: Desk
let key: string
let target: string
beforeEach(async () => {
  desk = await openDesk()
  key = `file:${join(desk.home, 'keys', 'key')}`
  target = `${desk.api.origin}/files`
  await desk.login()
})
afterEach(() => desk.clear())

const run = (args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Run> =>
  ended(start(desk.home, args, { env }))

/** Every file of the home directory but the key. */
async function everything(): Promise<string> {
  const names = await readdir(desk.home, { withFileTypes: true })
  const files = names.filter((each) => each.isFile()).map(({ name }) => readFile(join(desk.home, name), 'utf8'))
  return (await Promise.all(files)).join('\n')
}

describe('encrypt', () => {
  it('leaves no secret in the clear, older states included, and every command goes on', async () => {
    const [refreshToken = 'none'] = await desk.refreshTokens()
    const { token } = json(await run(['token', target, '--json'])) as { token: string }
    await ended(start(desk.home, ['login', 'demo', '--api-key-stdin', '--account', 'key']), 'sk-in-an-older-state')
    // The newest older state is one of an hour ago, or there would be no other yet.
    await rewind()
    await ended(start(desk.home, ['login', 'demo', '--api-key-stdin', '--account', 'key2']), 'sk-another')
    expect(await everything()).toContain('sk-in-an-older-state')
    expect((await readdir(desk.home)).filter((name) => name.includes('.gen-')).length).toBeGreaterThan(1)
    const report = json(await run(['encrypt', '--key', key, '--json']))
    expect(report).toMatchObject({ sealed: 3, source: key, quarantined: [] })
    const text = await everything()
    for (const secret of [refreshToken, token, 'sk-in-an-older-state', 'sk-another']) expect(text).not.toContain(secret)
    expect(text).not.toContain(await readFile(key.slice('file:'.length), 'utf8'))

    expect(json(await run(['token', target, '--account', 'default', '--json']))).toMatchObject({ token })
    const { credentials } = json(await run(['status', '--json'])) as { credentials: readonly { type: string }[] }
    expect(credentials.map(({ type }) => type)).toEqual(['oauth', 'api_key', 'api_key'])
    expect(await run(['doctor', '--offline'])).toMatchObject({ code: 0 })
    expect(json(await run(['encrypt', '--key', key, '--json']))).toMatchObject({ sealed: 0 })
    expect(await run(['encrypt', '--key', 'env:OTHER'])).toMatchObject({
      ...{ code: 1, stderr: expect.stringContaining(`authkeep rotate-key --key env:OTHER`) as string },
    })
  })

  it('and decrypt give back what was there', async () => {
    const before = (await desk.refreshTokens())[0]
    await run(['encrypt', '--key', key])
    expect(await desk.refreshTokens()).toEqual([])
    expect(json(await run(['decrypt', '--json']))).toEqual({ unsealed: 1 })
    expect(await desk.refreshTokens()).toEqual([before])
    expect(json(await run(['decrypt', '--json']))).toEqual({ unsealed: 0 })
    expect(await run(['token', target])).toMatchObject({ code: 0 })
  })

  it.each([
    ['no place', ['encrypt'], 'Name the place of the key'],
    ['another word', ['encrypt', '--key', 'attic'], '"attic" is no place of keys'],
    ['a file that holds no key', ['encrypt', '--key', 'env:SHORT'], 'The key that is 32 bytes long is not in'],
    ['systemd where there is none', ['encrypt', '--key', 'credential:k'], 'CREDENTIALS_DIRECTORY is not set'],
    ['a passphrase nobody can type', ['encrypt', '--key', 'passphrase'], 'set AUTHKEEP_PASSPHRASE_FILE'],
    ['a rotation of what is not sealed', ['rotate-key'], 'The store is not sealed'],
    ['the opening of what is not sealed', ['decrypt'], 'The store is not sealed'],
  ])('of %s is refused, and changes nothing', async (_, args, said) => {
    const before = await readFile(join(desk.home, 'auth.json'), 'utf8')
    const { code, stderr } = await run(args, { SHORT: 'short' })
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining(said) as string })
    expect(await readFile(join(desk.home, 'auth.json'), 'utf8')).toBe(before)
  })
})

describe('a sealed home', () => {
  it('is refreshed as ever', async () => {
    await run(['encrypt', '--key', key])
    // The login has brought a token for files only.
    const mail = `${desk.api.origin}/mail`
    const all = await Promise.all(Array.from({ length: 4 }, () => run(['token', mail])))
    expect(all.map(({ code, stderr }) => [code, stderr])).toEqual(Array.from({ length: 4 }, () => [0, '']))
    expect(new Set(all.map(({ stdout }) => stdout)).size).toBe(1)
    expect(desk.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
    expect(await desk.refreshTokens()).toEqual([])
  })

  it('without its key names key and place, in exit code 1', async () => {
    await run(['encrypt', '--key', key])
    await writeFile(key.slice('file:'.length), '')
    const { code, stdout, stderr } = await run(['token', target])
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/The key \S{22} is not in .*keys\/key/)
    expect(await run(['encrypt', '--key', key])).toMatchObject({ code: 1 })
  })

  it('takes its first key from AUTHKEEP_KEY, too', async () => {
    const env = { AUTHKEEP_KEY: 'env:SEAL', SEAL: Buffer.alloc(32, 7).toString('base64') }
    await ended(start(desk.home, ['login', 'demo', '--api-key-stdin', '--account', 'k'], { env }), 'sk-secret')
    expect(await everything()).not.toContain('sk-secret')
    expect(await run(['rotate-key'], env)).toMatchObject({
      ...{ code: 1, stderr: expect.stringContaining('not in the environment variable SEAL') as string },
    })
  })

  it('goes from a file to a passphrase, and to another passphrase', async () => {
    await run(['encrypt', '--key', key])
    const one = { AUTHKEEP_PASSPHRASE: 'correct horse' }
    expect(await run(['rotate-key', '--key', 'passphrase'], { AUTHKEEP_PASSPHRASE: 'short' })).toMatchObject({
      code: 1,
    })
    expect(json(await run(['rotate-key', '--key', 'passphrase', '--json'], one))).toMatchObject({ sealed: 1 })
    expect(json(await run(['rotate-key', '--forget', '--json'], one))).toMatchObject({
      forgotten: [expect.any(String)],
    })
    const two = { AUTHKEEP_PASSPHRASE: 'battery staple' }
    const both = { ...one, AUTHKEEP_NEW_PASSPHRASE: two.AUTHKEEP_PASSPHRASE }
    expect(json(await run(['rotate-key', '--key', 'passphrase', '--json'], both))).toMatchObject({ sealed: 1 })
    expect(await run(['token', target], one)).toMatchObject({ code: 1 })
    expect(await run(['token', target], two)).toMatchObject({ code: 0 })
  })
})

/** As if what is there had been written longer ago. */
async function rewind(): Promise<void> {
  const [name = ''] = (await readdir(desk.home)).filter((each) => each.includes('.gen-'))
  const text = await readFile(join(desk.home, name))
  await writeFile(join(desk.home, name.replace(/gen-\d{4}/, 'gen-2020')), text, { mode: 0o600 })
  await unlink(join(desk.home, name))
}
