import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

/**
 * A directory for one run, on a real disk if `AUTHKEEP_BENCH_DIR` says so, and the processes that were started in it.
 * Both are gone when it is closed.
 */
export class Scratch {
  #processes = new Set()

  constructor(name) {
    this.path = mkdtempSync(join(process.env.AUTHKEEP_BENCH_DIR ?? tmpdir(), `authkeep-bench-${name}-`))
  }

  /** A new, empty directory in it. */
  directory(name) {
    const path = join(this.path, name)
    mkdirSync(path, { recursive: true })
    return path
  }

  /** A process that is told lines and answers lines. */
  talk(program, words, options = {}) {
    const child = spawn(program, words, { stdio: ['pipe', 'pipe', 'inherit'], ...options })
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const gone = new Promise((resolve) => {
      child.once('error', resolve)
      child.once('exit', resolve)
    })
    const one = {
      pid: child.pid,
      say: (line) => child.stdin.write(`${line}\n`),
      async hear() {
        const { value, done } = await lines.next()
        if (done) throw new Error(`${program} has ended`)
        return value
      },
      /** Lets it end by itself, or kills it. */
      end: async (signal) => {
        this.#processes.delete(one)
        // One that is to be killed must not see its input end first: it would leave in good order.
        if (signal === undefined) child.stdin.destroy()
        else child.kill(signal)
        await gone
      },
    }
    this.#processes.add(one)
    return one
  }

  /** Compiles a C program of this folder; the path of what comes out, or an error that says why not. */
  compile(name) {
    const source = new URL(`${name}.c`, import.meta.url).pathname
    const program = join(this.path, name)
    const { status, error } = spawnSync('gcc', ['-O2', '-o', program, source], { stdio: 'inherit' })
    if (status !== 0) throw new Error(error === undefined ? 'the C program does not compile' : 'there is no gcc')
    return program
  }

  async close() {
    for (const one of [...this.#processes]) await one.end('SIGKILL')
    rmSync(this.path, { recursive: true, force: true })
  }
}
