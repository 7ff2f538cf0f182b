import { run } from './run.ts'

/** Runs a command line as this process. */
export async function start(typed: readonly string[]): Promise<void> {
  // Whoever reads us may stop early (`authkeep status | head -1`); that is no error.
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error
    })
  }

  const cancel = new AbortController()
  // The first one cancels: what waits stops waiting, and a refresh that has been sent is finished and saved. The second one
  // ends the process at once, as people expect. The listener stays while it runs, and must: a listener that removes
  // itself looks to the exit hooks of libraries as if nobody cared for the signal, and they end the process.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (cancel.signal.aborted) process.exit(2)
      cancel.abort(new Error('cancelled'))
    })
  }

  process.exitCode = await run(typed, {
    env: process.env,
    stdout: process.stdout,
    stderr: process.stderr,
    signal: cancel.signal,
  })
}
