// One of many processes that meet a stale lock: takes it, adds one, and says whether it met another holder. Arguments:
// JSON { dist, isPlain }; a path a line on standard input.
import * as fs from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { Increment } from './increment.mjs'

const { dist, isPlain } = JSON.parse(process.argv[2])
const { fileBackend } = await import(`${dist}/index.js`)
const { systemFiles } = await import(`${dist}/store/contract.js`)
const properLockfile = (await import(`${dist}/../node_modules/proper-lockfile/index.js`)).default

/** Exclusive among all that call themselves holders. */
class Witness {
  met = false
  #path
  constructor(path) {
    this.#path = `${path}.witness`
  }
  enter() {
    try {
      fs.closeSync(fs.openSync(this.#path, 'wx'))
    } catch {
      this.met = true
    }
  }
  leave() {
    fs.rmSync(this.#path, { force: true })
  }
}

/** Holds from the moment its record stands until it removes it. */
async function withAuthkeep(path) {
  const witness = new Witness(path)
  const record = `${path}.lock.owner`
  let isInside = false
  const files = {
    ...systemFiles,
    createRecord(at, text) {
      systemFiles.createRecord(at, text)
      if (at !== record) return
      isInside = true
      witness.enter()
    },
    unlink(at) {
      if (at === record && isInside) {
        isInside = false
        witness.leave()
      }
      systemFiles.unlink(at)
    },
    async fsync(fd) {
      await delay(2)
      await systemFiles.fsync(fd)
    },
  }
  const backend = fileBackend({ path, files })
  await new Increment(backend, 'p:count').run()
  await backend.close()
  return { met: witness.met }
}

async function withPlainLock(path) {
  const witness = new Witness(path)
  const retries = { retries: 1_000, minTimeout: 2, maxTimeout: 12, factor: 1, randomize: true }
  const release = await properLockfile.lock(path, { realpath: false, stale: 10_000, retries, onCompromised: () => {} })
  witness.enter()
  await delay(3)
  witness.leave()
  await release().catch(() => {})
  return { met: witness.met }
}

process.stdout.write('{"ready":true}\n')
for await (const path of createInterface({ input: process.stdin })) {
  const line = await (isPlain ? withPlainLock(path) : withAuthkeep(path)).catch((error) => ({ error: error.message }))
  process.stdout.write(`${JSON.stringify(line)}\n`)
}
