import { resolve } from 'node:path'
import { homeDirectory } from '../home.ts'
import type { Advice } from './advice.ts'
import { type Arguments, readArguments } from './arguments.ts'
import type { Result } from './context.ts'

/** The world of one run. */
export interface World {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly stdout: NodeJS.WriteStream
  readonly stderr: NodeJS.WriteStream
  readonly signal: AbortSignal
}

/** Runs one command line: data on stdout, talk on stderr. Resolves with the exit code and never rejects. */
export async function run(typed: readonly string[], world: World): Promise<number> {
  // Before anything is understood, so that a wrong command line can be told to a program too.
  let wantsJson = typed.slice(0, typed.includes('--') ? typed.indexOf('--') : undefined).includes('--json')
  let parsed: Arguments | undefined
  try {
    parsed = await readArguments(typed)
    wantsJson = parsed.options['json'] === true
    const { text, json, exitCode = 0 } = await carryOut(parsed, world)
    world.stdout.write(wantsJson ? `${JSON.stringify(json)}\n` : text)
    return exitCode
  } catch (error) {
    // What only a failure needs is loaded when something has failed: a stored token is printed the sooner.
    const { adviseOn } = await import('./advice.ts')
    const advice = adviseOn(error, {
      typed,
      command: parsed?.command?.name,
      homeOption: homeOption(parsed),
      cancelled: world.signal.aborted,
    })
    await tell(advice, wantsJson, world)
    return advice.exitCode
  }
}

async function carryOut(parsed: Arguments, world: World): Promise<Result> {
  const { command, words, rest, options } = parsed
  if (options['version'] === true) return version()
  if (command === undefined || options['help'] === true) {
    const { helpFor } = await import('./help.ts')
    const text = helpFor(command)
    return { text, json: { help: text } }
  }
  const home = typeof options['home'] === 'string' ? resolve(options['home']) : resolve(homeDirectory(world.env))
  const perform = await command.load()
  return perform({
    words,
    rest,
    options,
    home,
    env: world.env,
    signal: world.signal,
    say: (line) => void world.stderr.write(`${line}\n`),
    homeOption: homeOption(parsed),
    columns: world.stdout.isTTY ? world.stdout.columns : 80,
  })
}

function homeOption(parsed: Arguments | undefined): readonly string[] {
  const home = parsed?.options['home']
  return typeof home === 'string' ? ['--home', home] : []
}

async function version(): Promise<Result> {
  const { readFile } = await import('node:fs/promises')
  const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8')
  const manifest = JSON.parse(text) as { version: string }
  return { text: `${manifest.version}\n`, json: { version: manifest.version } }
}

async function tell(advice: Advice, wantsJson: boolean, world: World): Promise<void> {
  if (wantsJson) {
    const { code, remedy, message, detail, next } = advice
    world.stdout.write(`${JSON.stringify({ error: { code, remedy, message, detail, next } })}\n`)
    return
  }
  const { harmless, painter } = await import('./output.ts')
  const paint = painter(world.stderr, world.env)
  world.stderr.write(`${paint('red', harmless(advice.message))}\n${harmless(advice.next)}\n`)
}
