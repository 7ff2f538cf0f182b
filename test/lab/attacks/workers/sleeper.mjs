// Commits, and stops itself in the call of rename(2) that would make the commit visible. Arguments: JSON
// { dist, path, key, staleLockMs }. Prints a line before it stops and one with what it was told.
import * as fs from 'node:fs'

const { dist, path, key, staleLockMs } = JSON.parse(process.argv[2])
const { fileBackend } = await import(`${dist}/index.js`)
const { systemFiles } = await import(`${dist}/store/contract.js`)
const say = (line) => fs.writeSync(1, `${JSON.stringify(line)}\n`)

let hasSlept = false
const files = {
  ...systemFiles,
  rename(from, to) {
    if (!hasSlept && to === path) {
      hasSlept = true
      say({ stopping: true })
      process.kill(process.pid, 'SIGSTOP')
    }
    systemFiles.rename(from, to)
  },
}
const backend = fileBackend({ path, files, staleLockMs })
const entry = await backend.read(key)
const told = await backend
  .commit([{ key, next: { token: 'of the sleeper' }, expected: entry?.revision ?? null }])
  .catch((error) => ({ code: error.code }))
say({ told })
await backend.close()
