// Adds one, `times` times, and says how long that took. Arguments: JSON { dist, path, times, isPlain }.
import * as fs from 'node:fs'
import { createInterface } from 'node:readline'
import { Increment } from './increment.mjs'

const { dist, path, times, isPlain } = JSON.parse(process.argv[2])
const { fileBackend } = await import(`${dist}/index.js`)
const properLockfile = (await import(`${dist}/../node_modules/proper-lockfile/index.js`)).default
const writeFileAtomic = (await import(`${dist}/../node_modules/write-file-atomic/lib/index.js`)).default
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`)

/** What a careful program without authkeep does. */
async function plainIncrement() {
  const retries = { retries: 100_000, minTimeout: 1, maxTimeout: 12, factor: 1, randomize: true }
  const release = await properLockfile.lock(path, { retries })
  const document = JSON.parse(fs.readFileSync(path, 'utf8'))
  const entry = document.credentials['p:count'] ?? {}
  document.credentials['p:count'] = { ...entry, count: (entry.count ?? 0) + 1 }
  await writeFileAtomic(path, JSON.stringify(document), { mode: 0o600 })
  await release()
}

const backend = fileBackend({ path, lockTimeoutMs: 120_000 })
const increment = new Increment(backend, 'p:count')
say({ ready: true })
for await (const _ of createInterface({ input: process.stdin })) {
  const from = performance.now()
  for (let n = 0; n < times; n++) await (isPlain ? plainIncrement() : increment.run())
  say({ ms: performance.now() - from })
  break
}
await backend.close()
process.exit(0)
