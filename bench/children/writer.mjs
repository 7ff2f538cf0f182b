// One process that changes a counter at the word "go". It can be made to stop dead inside the commit, with the lock held
// and its draft half synced. Argument: JSON { dist, path, stopsInside }.
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { createInterface } from 'node:readline'

const { dist, path, stopsInside } = JSON.parse(process.argv[2])
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`)

if (stopsInside) {
  // It never calls back.
  fs.fsync = () => say({ stopped: true })
  syncBuiltinESMExports()
}
const { openStore, Secret } = await import(`${dist}/index.js`)
const store = await openStore({ path })
const key = { provider: 'counter', account: 'default' }
// What everybody loads at the first commit is loaded before anything is measured.
if (!stopsInside) await store.update(key, (current) => next(current))
say({ ready: true })
for await (const _ of createInterface({ input: process.stdin })) {
  const { key: count } = await store.update(key, (current) => next(current))
  say({ count: Number(count.reveal()) })
}

function next(current) {
  return { type: 'api_key', ...key, key: new Secret(String(Number(current?.key.reveal() ?? 0) + 1)) }
}
