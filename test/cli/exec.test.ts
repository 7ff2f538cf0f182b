import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ended, json, type Run, start } from './built.ts'
import { type Desk, openDesk } from './desk.ts'

let desk: Desk
let url: string
beforeAll(async () => {
  desk = await openDesk()
  await desk.login()
  url = `${desk.api.origin}/files`
})
afterAll(() => desk.clear())

const exec = (...args: readonly string[]): Promise<Run> => desk.authkeep('exec', url, ...args)
const node = (script: string): readonly string[] => ['--', process.execPath, '-e', script]

describe('authkeep exec', () => {
  it('hands the token to one child, in its environment and nowhere else', async () => {
    const token = (await desk.authkeep('token', url)).stdout.trim()
    const run = await exec(...node('console.log(process.env.AUTHKEEP_TOKEN, process.argv.length)'))
    expect(run).toEqual({ code: 0, stdout: `${token} 1\n`, stderr: '' })
    const named = await exec('--env', 'MY_TOKEN', ...node('console.log(process.env.MY_TOKEN)'))
    expect(named.stdout).toBe(`${token}\n`)
  })

  it.each([
    ['a host that begins alike', (origin: string) => origin.replace('127.0.0.1', '127.0.0.1.evil.test')],
    ['another port', (origin: string) => origin.replace(/\d+$/, '1')],
    ['a path that begins alike', (origin: string) => `${origin}/filesystem/../files-of-others`],
    ['the host as a user', (origin: string) => `${origin}@evil.test`],
    ['a host that other programs find elsewhere', (origin: string) => `${origin}\\@evil.test`],
  ])('starts no child for %s; token prints nothing', async (_, to) => {
    const asked = `${to(desk.api.origin)}/files`
    const run = await desk.authkeep('exec', asked, ...node('console.log("started")'))
    expect(run).toMatchObject({ code: 1, stdout: '' })
    expect(await desk.authkeep('token', asked)).toMatchObject({ code: 1, stdout: '' })
  })

  it('lets the child have its own options', async () => {
    const run = await exec('--', process.execPath, '-e', 'console.log(process.argv.slice(1).join())', '--', '--json')
    expect(run).toMatchObject({ code: 0, stdout: '--json\n' })
  })

  it.each([0, 3, 75])('ends with exit code %s as the child does', async (code) => {
    expect(await exec(...node(`process.exit(${code})`))).toMatchObject({ code })
  })

  it('ends of the signal that the child ended of', async () => {
    const child = start(desk.home, ['exec', url, ...node('process.kill(process.pid, "SIGTERM")')])
    await ended(child)
    expect(child.signalCode).toBe('SIGTERM')
  })

  it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('passes %s on, as often as it comes', async (signal) => {
    const script = `let n = 0
      process.on('${signal}', () => { console.log(++n); if (n === 2) process.exit(7) })
      console.log('ready'); setInterval(() => {}, 1000)`
    const child = start(desk.home, ['exec', url, ...node(script)])
    child.stdout.on('data', (chunk) => {
      if (!String(chunk).includes('2')) child.kill(signal)
    })
    expect(await ended(child)).toMatchObject({ code: 7, stdout: 'ready\n1\n2\n' })
  })

  it('tells a program how it ended, with nothing else on stdout', async () => {
    const run = await exec('--json', ...node('console.log("talk"); process.exit(3)'))
    expect(run).toMatchObject({ code: 3, stderr: 'talk\n' })
    expect(json(run)).toEqual({ exitCode: 3, signal: null })
    expect(json(await exec('--json', ...node('process.kill(process.pid, "SIGKILL")')))).toEqual({
      exitCode: 137,
      signal: 'SIGKILL',
    })
  })

  it('is 127 for a command that is not there, and 126 for one that cannot be run', async () => {
    const path = join(desk.home, 'not-executable')
    await writeFile(path, '', { mode: 0o600 })
    expect((await exec('--', join(desk.home, 'not-there'))).code).toBe(127)
    expect((await exec('--', path)).code).toBe(126)
  })

  it.each([
    [['exec', 'URL'], 'needs a command after --'],
    [['exec', 'URL', '--env', 'A=B', '--', 'true'], '--env takes the name'],
    [['exec', '--', 'true'], 'needs <url>'],
    [['status', '--', 'true'], 'takes nothing after --'],
  ])('%j: %s', async (args, sentence) => {
    const run = await desk.authkeep(...args.map((each) => (each === 'URL' ? url : each)))
    expect(run).toMatchObject({ code: 1, stdout: '' })
    expect(run.stderr).toContain(sentence)
  })

  it('starts nothing without a token, and advises before the --', async () => {
    const path = join(desk.home, 'started')
    const run = await desk.authkeep('exec', `${desk.api.origin}/mail/send`, '--', 'touch', path)
    expect(run.code).toBe(4)
    await expect(readFile(path)).rejects.toThrow('ENOENT')
    await desk.login(['--account', 'bob'], { login: 'bob' })
    const ambiguous = await exec('--', 'touch', path)
    expect(ambiguous.stderr).toContain(`--account bob -- touch ${path}`)
  })
})
