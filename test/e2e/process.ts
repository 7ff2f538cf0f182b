import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface, type Interface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/** A child process that prints JSON lines. */
export class Worker {
  readonly child: ChildProcess
  readonly #lines: AsyncIterator<string>
  readonly #reader: Interface

  /** @param through words of a command that starts the one behind it somewhere else */
  constructor(script: string, options: object, env: NodeJS.ProcessEnv = process.env, through: readonly string[] = []) {
    const file = fileURLToPath(new URL(script, import.meta.url))
    const [command, ...words] = [...through, process.execPath, file, JSON.stringify(options)]
    this.child = spawn(command, words, { env, stdio: ['pipe', 'pipe', 'inherit'] })
    if (this.child.stdout === null) throw new Error('no stdout')
    this.#reader = createInterface({ input: this.child.stdout })
    this.#lines = this.#reader[Symbol.asyncIterator]()
  }

  async next(): Promise<Record<string, unknown>> {
    const line = await this.#lines.next()
    if (line.done === true) throw new Error('the process has ended')
    return JSON.parse(line.value) as Record<string, unknown>
  }

  go(): void {
    this.child.stdin?.write('go\n')
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    const gone = once(this.child, 'exit')
    this.child.kill(signal)
    await gone
  }

  async end(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    const gone = once(this.child, 'exit')
    this.child.stdin?.end()
    await gone
  }
}
