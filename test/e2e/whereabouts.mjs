// What a process takes its machine for, as JSON lines.
import { readFileSync } from 'node:fs'
import { hostname, networkInterfaces } from 'node:os'

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`)
const addresses = Object.values(networkInterfaces())
  .flat()
  .filter(({ family }) => family === 'IPv4')
  .map(({ address }) => address)
say({ ready: process.pid })
const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
say({ host: hostname(), bootId, now: Date.now(), addresses })
process.stdin.resume()
