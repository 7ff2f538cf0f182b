// One commit between two marks that the tracer counts between. Arguments: JSON
// { dist, path, key, next, expected, read, staleLockMs }. Prints what became of it as a JSON line.
import { accessSync } from 'node:fs'

const { dist, path, key, next, expected, read, staleLockMs } = JSON.parse(process.argv[2])
const { fileBackend } = await import(`${dist}/index.js`)

function mark(name) {
  try {
    accessSync(`/authkeep-lab/${name}`)
  } catch {
    // It is not there, and need not be: the tracer has seen us ask.
  }
}

const backend = fileBackend({ path, staleLockMs, lockTimeoutMs: 20_000 })
mark('begin')
// A restored entry has a new revision: whoever finds a damaged file reads before it changes anything.
const revision = read ? ((await backend.read(key))?.revision ?? null) : expected
const commit = await backend.commit([{ key, next, expected: revision }])
process.stdout.write(`${JSON.stringify({ commit })}\n`)
await backend.close()
mark('end')
