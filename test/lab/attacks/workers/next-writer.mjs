// Commits once in each place that it is told on its standard input, and says when that was acknowledged.
import { createInterface } from 'node:readline'

const { dist } = JSON.parse(process.argv[2])
const { fileBackend } = await import(`${dist}/index.js`)
const { tmpdir } = await import('node:os')
const { mkdtempSync, rmSync } = await import('node:fs')

/** The code is loaded and warm, as it is in a process that has been running for a while. */
async function commit(path, key) {
  const backend = fileBackend({ path })
  const result = await backend.commit([{ key, next: { token: 'next' }, expected: null }])
  const at = process.hrtime.bigint()
  await backend.close()
  return { at: String(at), ...(result.ok ? {} : { error: 'refused' }) }
}

const place = mkdtempSync(`${tmpdir()}/authkeep-warm-`)
await commit(`${place}/auth.json`, 'p:warm')
rmSync(place, { recursive: true })
process.stdout.write('{"ready":true}\n')
for await (const path of createInterface({ input: process.stdin })) {
  const line = await commit(path, 'p:next').catch((error) => ({ error: error.message }))
  process.stdout.write(`${JSON.stringify(line)}\n`)
}
