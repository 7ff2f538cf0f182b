// One store on one file system: record its disk, then cut the power again and again. Runs in mount and process
// namespaces of its own, made by run.mjs: whatever ends it, its mounts, devices and processes end with it.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { crashState, cutsIn, promisesOf, randomFrom, readLog } from './cuts.mjs'
import { fileSystems } from './file-systems.mjs'
import { isTrusted, valueAt } from './stores.mjs'

const { store, fs, disk, seed, states, commits, seconds, enough = Infinity, keep } = JSON.parse(process.argv[2])
const { type, megabytes, mkfs, options } = fileSystems[fs]
// When our parent is gone, so are we.
process.stdin.on('end', () => process.exit(1)).resume()

const place = '/mnt'
const run = (command, ...rest) => execFileSync(command, rest, { stdio: ['ignore', 'ignore', 'pipe'] })
run('mount', '-t', 'tmpfs', '-o', 'size=90%', 'none', place)
const at = (name) => `${place}/${name}`
const [first, log, served, mounted] = ['first.img', 'log', 'served', 'mounted'].map(at)
const file = `${mounted}/home/authkeep/auth.json`

/** Everything the disk went through, while the store committed on it. */
async function record() {
  for (const directory of [served, mounted]) mkdirSync(directory)
  writeFileSync(at('disk.img'), '')
  truncateSync(at('disk.img'), megabytes * 2 ** 20)
  run(...mkfs, at('disk.img'))
  run('cp', '--sparse=always', at('disk.img'), first)
  const server = start(disk, 'serve', at('disk.img'), log, served)
  while (!existsSync(`${served}/disk`)) {
    if (server.exitCode !== null) throw new Error('FUSE does not start')
    await delay(5)
  }
  run(disk, 'mount', `${served}/disk`, mounted, type, options)
  const bystander = start(process.execPath, script('workload.mjs'), 'bystander', `${mounted}/other`)
  // What a store mounts goes away with it.
  const workload = [process.execPath, script('workload.mjs'), 'commit', store, file, `${served}/marks`]
  const worker = start('unshare', '--mount', ...workload, `${commits}`, `${seed}`)
  const [code] = await once(worker, 'exit')
  bystander.kill()
  await once(bystander, 'exit')
  if (code !== 0) throw new Error(`the workload ended with ${code}`)
  run('umount', mounted)
  // Everything the file system still had to write has been written: the log is complete.
  server.kill()
  await once(server, 'exit')
  return readLog(readFileSync(log))
}

function start(command, ...rest) {
  return spawn(command, rest, { stdio: ['ignore', 'ignore', 'inherit'] })
}

function script(name) {
  return new URL(name, import.meta.url).pathname
}

/** Puts disks together and mounts them, one at a time. `mount` answers with the error when that is impossible. */
function mounter() {
  const scratch = at('scratch.img')
  const child = spawn(disk, ['states', first, log, scratch, mounted, type], { stdio: ['pipe', 'pipe', 'inherit'] })
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const ask = async (request) => {
    child.stdin.write(`${request}\n`)
    const { value, done } = await answers.next()
    if (done) throw new Error('the mounter has died')
    return value === 'ok' ? null : value
  }
  return {
    mount: (request) => ask(`mount ${request}`),
    async unmount() {
      const error = await ask('umount')
      if (error !== null) throw new Error(`umount: ${error}`)
    },
  }
}

/** What the store makes of one crash state: null when every promise is kept, otherwise what is wrong. */
async function judge({ acknowledged, started }) {
  if (existsSync(file) && !isJson(readFileSync(file, 'utf8'))) result.unparsable++
  try {
    // Committing takes longer than looking: now and then.
    const isUsed = isTrusted(store) && result.states % 10 === 0
    const found = await valueAt(file, { isUsed, onEvent: () => result.recovered++ })
    if (found < acknowledged) return { kind: 'lost', what: `found ${found}` }
    return found > started ? { kind: 'unrecovered', what: `found ${found}, which nobody wrote` } : null
  } catch (error) {
    return { kind: 'unrecovered', what: error instanceof Error ? error.message : String(error) }
  }
}

/** Whether a program that knows nothing of us could use the file as it stands. */
function isJson(text) {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

const began = performance.now()
const records = await record()
if (type === 'btrfs') run('btrfs', 'device', 'scan', '--forget')
const recorded = performance.now()
const promises = promisesOf(records)
const random = randomFrom(seed)
const { mount, unmount } = mounter()
const result = { states: 0, lost: 0, unrecovered: 0, recovered: 0, unparsable: 0, unmountable: 0, failures: [] }
for (const cut of cutsIn(records, states, random)) {
  if (performance.now() - began > seconds * 1000 || result.lost + result.unrecovered >= enough) break
  const state = crashState(records, cut, random)
  let refusal = await mount(`${state.flushed} ${state.kept}`)
  if (refusal !== null && state.kept.includes('.')) {
    // A super block of 1 or 4 KiB torn at 512 bytes: more than its file system promises to bear, and no store can help.
    result.unmountable++
    state.kept = state.kept.replaceAll(/\.\d+\.\d+/g, '')
    refusal = await mount(`${state.flushed} ${state.kept}`)
  }
  const problem = refusal === null ? await judge(promises[cut]) : { kind: 'unrecovered', what: `mount: ${refusal}` }
  if (refusal === null) await unmount()
  result.states++
  if (problem === null) continue
  result[problem.kind]++
  if (result.failures.length < 5) result.failures.push({ ...problem, ...promises[cut], ...state })
}
if (keep !== undefined && result.failures.length > 0) {
  const directory = `${keep}/${store}-${fs}-${seed}`
  mkdirSync(directory, { recursive: true })
  run('cp', '--sparse=always', first, log, directory)
}
const count = (wanted) => records.filter(({ kind }) => kind === wanted).length
const [total, checking] = [performance.now() - began, performance.now() - recorded].map(
  (time) => Math.round(time) / 1000,
)
const perSecond = Math.round(result.states / checking)
console.log(JSON.stringify({ ...result, seconds: total, perSecond, commits, writes: count('W'), flushes: count('F') }))
process.exit(0)
