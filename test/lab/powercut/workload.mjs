// What runs on the disk while it is recorded:
//   workload.mjs commit <store> <path> <marks> <commits> <seed>
//                                     commits value after value, and says so on the disk
//   workload.mjs bystander <path>     syncs a file of its own, as other programs do
import { fsyncSync, openSync, writeSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { randomFrom } from './cuts.mjs'
import { stores } from './stores.mjs'

const [role, ...rest] = process.argv.slice(2)
if (role === 'commit') {
  const [name, path, marks, commits, seed] = rest
  const random = randomFrom(Number(seed))
  const log = openSync(marks, 'r+')
  const commit = await stores[name](path)
  for (let n = 0; n < Number(commits); n++) {
    writeSync(log, `start ${n}`)
    await commit(n)
    writeSync(log, `ack ${n}`)
    await delay(random() * 12)
  }
} else {
  const file = openSync(rest[0], 'w')
  for (let n = 0; ; n++) {
    writeSync(file, `${n}\n`)
    fsyncSync(file)
    await delay(10 + Math.random() * 20)
  }
}
