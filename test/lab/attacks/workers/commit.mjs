// One commit between two marks that the tracer counts between. Arguments: JSON
// { dist, path, key, next, expected, read, again, staleLockMs }. Prints JSON lines: what became of the commit; with
// `again` also what the process then finds, and what becomes of a second commit, after the second mark.
import { accessSync } from 'node:fs'

const { dist, path, key, next, expected, read, again, staleLockMs } = JSON.parse(process.argv[2])
const { fileBackend } = await import(`${dist}/store/file.js`)
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`)
const told = ({ code = null, message }) => ({ code, message })

function mark(name) {
  try {
    accessSync(`/authkeep-lab/${name}`)
  } catch {
    // It is not there, and need not be: the tracer has seen us ask.
  }
}

const backend = fileBackend({ path, staleLockMs, lockTimeoutMs: 20_000 })
mark('begin')
try {
  // A restored entry has a new revision: whoever finds a damaged file reads before it changes anything.
  const revision = read ? ((await backend.read(key))?.revision ?? null) : expected
  const result = await backend.commit([{ key, next, expected: revision }])
  say({ commit: result })
} catch (error) {
  say({ commit: null, error: told(error) })
}
if (!again) await backend.close()
mark('end')
if (again) {
  try {
    const now = await backend.read(key)
    say({ found: now?.value ?? null })
    const result = await backend.commit([{ key, next: { token: 'again' }, expected: now?.revision ?? null }])
    say({ again: result })
  } catch (error) {
    say({ again: null, againError: told(error) })
  }
  await backend.close()
}
