// Counts for ever, and now and then stops itself in the middle of a commit. Arguments: JSON
// { dist, path, id, log, staleLockMs, seed }. The log holds a line for each number that was acknowledged.
import * as fs from 'node:fs'
import { Increment } from './increment.mjs'

const { dist, path, id, log, staleLockMs, seed } = JSON.parse(process.argv[2])
const { fileBackend } = await import(`${dist}/index.js`)
const { systemFiles } = await import(`${dist}/store/contract.js`)
const say = (line) => fs.writeSync(1, `${JSON.stringify(line)}\n`)

let state = seed
const chance = () => {
  state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff
  return (state >>> 8) / 2 ** 23
}

/** After the sync of the draft: the lock is held, the rename still to come. */
const files = {
  ...systemFiles,
  async fsync(fd) {
    await systemFiles.fsync(fd)
    if (chance() > 0.03) return
    say({ stopping: true })
    process.kill(process.pid, 'SIGSTOP')
  },
}

const backend = fileBackend({ path, files, staleLockMs, lockTimeoutMs: 60_000 })
const member = `n${id}`
const fd = fs.openSync(log, 'a')
let acknowledged = Number(fs.readFileSync(log, 'utf8').trimEnd().split('\n').at(-1))
const increment = new Increment(backend, 'p:shared')
for (;;) {
  try {
    const value = await increment.run((value) => {
      const found = value[member] ?? 0
      if (found < acknowledged) say({ lost: acknowledged - found })
      // Told once; from here on the count goes on where it should have been.
      acknowledged = Math.max(acknowledged, found)
      return { ...value, [member]: acknowledged + 1 }
    })
    acknowledged = value[member]
    fs.writeSync(fd, `${acknowledged}\n`)
    fs.fsyncSync(fd)
  } catch (error) {
    // Busy and unknown are honest answers. A failure is not, for nothing is wrong with this disk.
    if (error.code === 'store_busy' || error.code === 'write_indeterminate') say({ told: error.code })
    else if (error.code === 'store_failed') say({ needless: `${error.detail.operation} ${error.detail.errno}` })
    else throw error
  }
}
