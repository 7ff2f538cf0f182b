#!/usr/bin/env node
import { run } from './run.ts'

// Whoever reads us may stop early (`authkeep status | head -1`); that is no error.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
  })
}

const cancel = new AbortController()
// Once only: a second Ctrl-C ends the process at once, as people expect.
process.once('SIGINT', () => cancel.abort(new Error('cancelled')))
process.once('SIGTERM', () => cancel.abort(new Error('cancelled')))

process.exitCode = await run(process.argv.slice(2), {
  env: process.env,
  stdout: process.stdout,
  stderr: process.stderr,
  signal: cancel.signal,
})
