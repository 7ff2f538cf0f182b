// Many commits under the tracer, each in a place of its own and with another system call that fails. Arguments: JSON
// { dist, cases: { path, mark }[], key, next, expected, staleLockMs }. Prints a JSON line for each: what became of the
// commit, what the process finds afterwards, and what becomes of its next commit, when nothing fails any more.
import { accessSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'

const { dist, cases, key, next, expected, staleLockMs } = JSON.parse(process.argv[2])
const { fileBackend } = await import(`${dist}/index.js`)
const patienceMs = 10_000

function mark(name) {
  try {
    accessSync(`/authkeep-lab/${name}`)
  } catch {
    // It is not there, and need not be: the tracer has seen us ask.
  }
}

/** What a promise comes to, in words that can be printed; waiting for ever is an answer too. */
async function outcomeOf(promise) {
  const never = delay(patienceMs, { never: true }, { ref: true })
  return Promise.race([
    promise.then((value) => ({ value })).catch(({ code = null, message }) => ({ error: { code, message } })),
    never,
  ])
}

process.on('unhandledRejection', () => {
  stray = true
})
let stray = false
for (const { path, mark: place } of cases) {
  stray = false
  const backend = fileBackend({ path, staleLockMs, lockTimeoutMs: 8_000 })
  mark(place)
  const commit = await outcomeOf(backend.commit([{ key, next, expected }]))
  // What the commit leaves to be done after its answer fails as well.
  await delay(2)
  mark('end')
  const found = await outcomeOf(backend.read(key))
  const change = { key, next: { token: 'again' }, expected: found.value?.revision ?? null }
  const again = await outcomeOf(backend.commit([change]))
  void backend.close()
  process.stdout.write(`${JSON.stringify({ commit, found, again, stray })}\n`)
}
process.exit(0)
