import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const folder = process.env['AUTHKEEP_SEAMS'] ?? ''

/** A program of examples/seams, with the packed authkeep and the real packages beside it. */
export interface Program {
  readonly child: ChildProcessWithoutNullStreams
  /** Gives it a line, and returns the line that it answers. */
  ask(line: string): Promise<string>
  /** The next line that it says by itself. */
  next(): Promise<string>
  /** All that it has said on stderr. */
  said(): string
  /** Ends its input; its exit code. */
  end(): Promise<number | null>
}

/** Starts one with a home of its own and next to no environment. */
export function startProgram(
  name: string,
  home: string,
  env: Readonly<Record<string, string>> = {},
  words: readonly string[] = [],
): Program {
  if (folder === '') throw new Error('npm run test:seams runs these: it makes the folder that they need')
  const child = spawn(process.execPath, [join(folder, name), ...words], {
    cwd: folder,
    env: { PATH: process.env['PATH'] ?? '', HOME: home, AUTHKEEP_HOME: home, ...env },
  })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (said += chunk))
  const next = async (): Promise<string> => {
    const line = await lines.next()
    if (line.done === true) throw new Error(`${name} ended: ${said}`)
    return line.value
  }
  return {
    ...{ child, next },
    async ask(line) {
      child.stdin.write(`${line}\n`)
      return next()
    },
    said: () => said,
    async end() {
      child.stdin.end()
      if (child.exitCode === null && child.signalCode === null) await once(child, 'close')
      return child.exitCode
    },
  }
}
