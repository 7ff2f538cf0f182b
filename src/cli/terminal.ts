import { existsSync } from 'node:fs'
import type { Interface } from 'node:readline/promises'
import { addAbortSignal } from 'node:stream'
import { text as readAll } from 'node:stream/consumers'
import { abortable } from '../abort.ts'
import { Cancelled, type Context, PersonNeeded, UsageError } from './context.ts'

/** Docker and Podman each leave a mark; `container` is set by systemd and others. */
export function isContainer(env: Context['env']): boolean {
  return (env['container'] ?? '') !== '' || ['/.dockerenv', '/run/.containerenv'].some((path) => existsSync(path))
}

/** Whether somebody can read what we say, or type something. */
export function isTerminal(): boolean {
  return process.stdin.isTTY || process.stderr.isTTY
}

/** All of stdin, for a command that another program talks to. */
export async function readInput(signal: AbortSignal): Promise<string> {
  return readAll(addAbortSignal(signal, process.stdin))
}

/** One secret: typed without being shown, or all of stdin where that is no terminal. */
export async function readSecret(context: Context, name: string): Promise<string> {
  const { stdin } = process
  const read = stdin.isTTY ? typeHidden(context.signal, name) : readInput(context.signal)
  const secret = (await read).trim()
  if (secret === '') throw new UsageError(`There is no ${name} on stdin.`)
  if (/\s/.test(secret)) {
    throw new UsageError(`What stdin holds is not one ${name}: it has a space or a line break in it.`)
  }
  return secret
}

/**
 * One line as it is typed, echoed; rejects when the person cancels, by Ctrl-C or by Ctrl-D. Where stdin is no terminal,
 * the next line of it.
 *
 * @throws PersonNeeded where stdin has no more lines
 */
export async function readLine(signal: AbortSignal, question: string): Promise<string> {
  const { createInterface } = await import('node:readline/promises')
  if (!process.stdin.isTTY) {
    process.stderr.write(`${question}\n`)
    // One reader for all questions: another would neither see what this one has read ahead nor that stdin has ended.
    piped ??= linesOf(createInterface({ input: process.stdin }))
    return piped(signal)
  }
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  // The line editor takes Ctrl-C for itself.
  lines.once('SIGINT', () => process.kill(process.pid, 'SIGINT'))
  let isOver = false
  const ended = new Promise<never>((_, reject) => {
    lines.once('close', () => {
      if (!isOver) process.stderr.write('\n')
      reject(new Cancelled())
    })
  })
  try {
    return await Promise.race([lines.question(question, { signal }), ended])
  } finally {
    isOver = true
    lines.close()
  }
}

let piped: ((signal: AbortSignal) => Promise<string>) | undefined

/** Reads only while a line is awaited: what may still come on stdin keeps no process alive. */
function linesOf(lines: Interface): (signal: AbortSignal) => Promise<string> {
  const iterator = lines[Symbol.asyncIterator]()
  return async (signal) => {
    process.stdin.resume()
    try {
      const next: IteratorResult<string, unknown> = await abortable(iterator.next(), signal)
      if (next.done === true) throw new PersonNeeded('stdin has ended')
      return next.value
    } finally {
      process.stdin.pause()
    }
  }
}

/**
 * One line that is typed and not shown. In raw mode the terminal shows nothing and edits nothing, and Ctrl-C is a letter
 * like any other.
 */
export function typeHidden(signal: AbortSignal, name: string): Promise<string> {
  const { stdin, stderr } = process
  stderr.write(`${name} (not shown): `)
  stdin.setRawMode(true)
  let secret = ''
  return new Promise<string>((resolve, reject) => {
    const end = (finish: () => void): void => {
      stdin.setRawMode(false)
      stdin.off('data', take)
      stdin.pause()
      signal.removeEventListener('abort', cancel)
      stderr.write('\n')
      finish()
    }
    // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- whoever aborted chose the reason
    const cancel = (): void => end(() => reject(signal.reason))
    const take = (chunk: Buffer): void => {
      for (const letter of chunk.toString('utf8')) {
        if (letter === '\u0003') process.kill(process.pid, 'SIGINT')
        else if (letter === '\r' || letter === '\n' || letter === '\u0004') end(() => resolve(secret))
        else if (letter === '\u007F' || letter === '\b') secret = Array.from(secret).slice(0, -1).join('')
        else secret += letter
      }
    }
    signal.addEventListener('abort', cancel, { once: true })
    stdin.on('data', take)
    stdin.resume()
  })
}
