import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { commands } from '../../src/cli/commands.ts'
import { outputs } from '../../src/cli/schema.ts'

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

export interface Run {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Starts the built command line with a home of its own and next to no environment. */
export function start(
  home: string,
  args: readonly string[],
  options: { readonly env?: Readonly<Record<string, string>>; readonly uid?: number } = {},
): ChildProcessWithoutNullStreams {
  if (!existsSync(main)) throw new Error('build first: these tests run the built command line')
  const env = { PATH: process.env['PATH'] ?? '', AUTHKEEP_HOME: home, HOME: home, ...options.env }
  const uid = options.uid === undefined ? {} : { uid: options.uid }
  return spawn(process.execPath, [main, ...args], { env, ...uid })
}

/**
 * What a run printed and how it ended, once it has; `input` is its stdin. Whatever a run with `--json` prints is held to
 * the published schema.
 */
export async function ended(child: ChildProcessWithoutNullStreams, input = ''): Promise<Run> {
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk))
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk))
  child.stdin.on('error', () => undefined).end(input)
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  const args = child.spawnargs.slice(2)
  if (args.includes('--json') && !args.slice(0, args.indexOf('--json')).includes('--')) check(args, stdout)
  return { code, stdout, stderr }
}

const schemas = outputs(z)

function check(args: readonly string[], stdout: string): void {
  const printed = JSON.parse(stdout) as object
  const own = args.includes('--') ? args.slice(0, args.indexOf('--')) : args
  const name = ['error', 'help', 'version'].find((each) => each in printed && Object.keys(printed).length === 1)
  const command = commands.find((each) => own.join(' ').includes(each.name))?.name ?? ''
  schemas[name ?? command]?.parse(printed)
}

export const json = (run: Run): unknown => JSON.parse(run.stdout)
