import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'

export interface Run {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** A process that is listened to. */
export interface Child {
  /** The next line of its stdout; null when it will say no more. */
  line(): Promise<string | null>
  /** The first line of its stderr that matches; null when there is none. */
  heard(pattern: RegExp): Promise<string | null>
  write(text: string): void
  /** Closes its stdin. */
  end(text?: string): void
  /** Ends it as a power cut would, and resolves when it is gone. */
  kill(): Promise<void>
  /** Resolves when it has ended. */
  readonly ended: Promise<Run>
}

/** Starts a script of ours in a process of its own, which is given this environment and half a minute. */
export function start(script: string, args: readonly string[], env: Readonly<Record<string, string>>): Child {
  const child = spawn(process.execPath, [script, ...args], { env, timeout: 30_000, killSignal: 'SIGKILL' })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const complaints = createInterface({ input: child.stderr })[Symbol.asyncIterator]()
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk))
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk))
  // A process that is gone has no use for what we write; how it ended says the rest.
  child.stdin.on('error', () => undefined)
  const ended = once(child, 'close').then(() => ({ code: child.exitCode, stdout, stderr }))
  return {
    ended,
    async line() {
      const next = await lines.next()
      return next.done === true ? null : next.value
    },
    async heard(pattern) {
      for (;;) {
        const next = await complaints.next()
        if (next.done === true) return null
        if (pattern.test(next.value)) return next.value
      }
    },
    write: (text) => void child.stdin.write(text),
    end: (text = '') => void child.stdin.end(text),
    async kill() {
      child.kill('SIGKILL')
      await ended
    },
  }
}
