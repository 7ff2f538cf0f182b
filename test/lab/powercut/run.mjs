// Cuts the power of real file systems, hundreds of times a minute, and looks at what is left of the store:
//
//   node test/lab/powercut/run.mjs [--states N] [--seconds N] [--fs ext4,xfs,…] [--store authkeep,…] [--seed N]
//                                  [--commits N] [--dist dist] [--keep directory] [--json]
//
// `lost`: an acknowledged commit is missing. `unrecovered`: the store cannot be read. `recovered`: it mended itself, and
// said so. `unparsable`: another program's JSON parser would have failed, which is no fault as long as the store mends it.
// `unmountable`: a torn write was too much for the file system itself; the same cut was judged with that write whole.
// authkeep must keep every promise in every state. The other stores are known to be wrong: each must be caught on at
// least one file system, or the rig itself proves nothing. A seed fixes which cuts are made, not how fast the machine
// writes; `--keep` saves the first image and the log of what failed, from which disk.c rebuilds exactly that state.
// Needs Linux, root, a built dist/ and what ../install.sh installs.
import { execFileSync, spawn } from 'node:child_process'
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { fileSystems } from './file-systems.mjs'

const { values } = parseArgs({
  options: {
    states: { type: 'string', default: '1200' },
    seconds: { type: 'string', default: '600' },
    commits: { type: 'string', default: '80' },
    fs: { type: 'string', default: Object.keys(fileSystems).join() },
    store: { type: 'string' },
    dist: { type: 'string', default: fileURLToPath(new URL('../../../dist', import.meta.url)) },
    keep: { type: 'string' },
    seed: { type: 'string', default: `${Math.floor(Math.random() * 2 ** 31)}` },
    json: { type: 'boolean', default: false },
  },
})
const [states, budget, commits, seed] = [values.states, values.seconds, values.commits, values.seed].map(Number)
const keep = values.keep === undefined ? undefined : resolve(values.keep)
process.env['POWERCUT_LIBRARY'] = pathToFileURL(resolve(values.dist, 'index.js')).href
const scratch = mkdtempSync(join(tmpdir(), 'powercut-'))
const disk = join(scratch, 'disk')
const running = new Set()

process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
  rmSync(scratch, { recursive: true, force: true })
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130))

/** Why nothing can be run here, or null. */
function obstacle() {
  if (process.platform !== 'linux') return 'it needs Linux'
  if (process.getuid() !== 0) return 'it needs root'
  // A kernel may have them as modules that nobody has needed yet.
  for (const kind of ['fuse', 'loop']) attempt('modprobe', [kind])
  if (!existsSync(join(values.dist, 'index.js'))) return `${values.dist} holds no built library`
  const isolated = attempt('unshare', [...namespaces, 'mount', '-t', 'tmpfs', 'none', '/mnt'])
  if (isolated !== null) return `no mount namespace: ${isolated}`
  try {
    closeSync(openSync('/dev/fuse', 'r+'))
  } catch (error) {
    return `no FUSE: ${error.message}`
  }
  const image = join(scratch, 'loop.img')
  writeFileSync(image, Buffer.alloc(2 ** 20))
  const looped = attempt('sh', ['-c', 'device=$(losetup --find --show "$0") && losetup --detach "$device"', image])
  if (looped !== null) return `no loop device: ${looped}`
  const flags = attempt('pkg-config', ['--exists', 'fuse3'])
  if (flags !== null) return 'pkg-config or libfuse3 is missing'
  const source = new URL('disk.c', import.meta.url).pathname
  const libfuse = execFileSync('pkg-config', ['--cflags', '--libs', 'fuse3'], { encoding: 'utf8' }).trim().split(/\s+/)
  const compiled = attempt('gcc', ['-std=gnu11', '-O2', '-Wall', '-o', disk, source, ...libfuse])
  return compiled === null ? null : `disk.c does not compile: ${compiled}`
}

/** Why a file system cannot be tried here, or null. */
function missing({ type, mkfs }) {
  if (attempt(mkfs[0], ['-V']) !== null) return `${mkfs[0]} is missing`
  // A kernel may have it as a module that nobody has needed yet.
  attempt('modprobe', [type])
  return readFileSync('/proc/filesystems', 'utf8').split(/\s+/).includes(type) ? null : `the kernel has no ${type}`
}

/** Runs a command; null when it went well, otherwise the first line of why not. */
function attempt(command, args) {
  try {
    execFileSync(command, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    return null
  } catch (error) {
    return (error.stderr?.toString().trim() || error.message).split('\n')[0]
  }
}

const namespaces = ['--mount', '--pid', '--fork', '--kill-child', '--mount-proc']

function trial(options) {
  const script = new URL('trial.mjs', import.meta.url).pathname
  return new Promise((resolve) => {
    const args = [...namespaces, process.execPath, script, JSON.stringify({ ...options, disk, seed, keep })]
    const child = spawn('unshare', args, { stdio: ['pipe', 'pipe', 'pipe'] })
    running.add(child)
    const [output, errors] = [[], []]
    child.stdout.on('data', (chunk) => output.push(chunk))
    child.stderr.on('data', (chunk) => errors.push(chunk))
    child.on('close', (code) => {
      running.delete(child)
      if (code === 0) resolve(JSON.parse(Buffer.concat(output).toString()))
      else resolve({ broken: Buffer.concat(errors).toString().trim() || `it ended with ${code}` })
    })
  })
}

function say(fs, store, outcome) {
  if (values.json) return console.log(JSON.stringify({ rig: 'powercut', fs, store, seed, ...outcome }))
  if (outcome.skipped !== undefined) return console.log(`powercut ${fs} not run: ${outcome.skipped}`)
  if (outcome.broken !== undefined) return console.log(`powercut ${fs} ${store} broken: ${outcome.broken}`)
  const { failures, ...counts } = outcome
  const shown = ['states', 'lost', 'unrecovered', 'recovered', 'unparsable', 'unmountable', 'seconds', 'perSecond']
  console.log(`powercut ${fs} ${store} ${shown.map((name) => `${name}=${counts[name]}`).join(' ')}`)
  if (isTrusted(store)) for (const failure of failures) console.log(`  ${JSON.stringify(failure)}`)
}

const reason = obstacle()
if (reason !== null) {
  say('all', 'all', { skipped: reason })
  process.exit(0)
}
const { isTrusted, stores } = await import('./stores.mjs')
const wanted = values.store?.split(',') ?? Object.keys(stores)
const unknown = [
  ...wanted.filter((name) => !(name in stores)),
  ...values.fs.split(',').filter((name) => !(name in fileSystems)),
]
if (unknown.length > 0) {
  console.error(
    `powercut: there is no ${unknown.join(', ')}; stores: ${Object.keys(stores)}; fs: ${Object.keys(fileSystems)}`,
  )
  process.exit(2)
}
if (!values.json) console.log(`powercut seed=${seed}`)
const trials = values.fs.split(',').flatMap((fs) => {
  const skipped = missing(fileSystems[fs])
  if (skipped !== null) say(fs, 'all', { skipped })
  return skipped === null ? wanted.map((store) => ({ store, fs, share: isTrusted(store) ? 1 : 1 / 4 })) : []
})
const lanes = availableParallelism()
const shares = trials.reduce((sum, { share }) => sum + share, 0)
const [caught, tried] = [new Set(), new Set(trials.map(({ store }) => store))]
let isFailed = false
await Promise.all(
  Array.from({ length: lanes }, async () => {
    for (let next = trials.shift(); next !== undefined; next = trials.shift()) {
      const { store, fs, share } = next
      // A wrong store shows soon, or else needs many chances: some have to be hit within a fraction of a millisecond.
      const limits = isTrusted(store) ? { states, commits } : { states: 900, commits: commits * 2, enough: 50 }
      const seconds = (budget * lanes * share) / shares
      const outcome = await trial({ store, fs, seconds, ...limits })
      say(fs, store, outcome)
      if (outcome.broken !== undefined) isFailed = true
      else if (outcome.lost + outcome.unrecovered > 0) caught.add(store)
    }
  }),
)
for (const store of tried) {
  const isCaught = caught.has(store)
  if (isCaught !== isTrusted(store)) continue
  isFailed = true
  const verdict = isCaught ? 'broke a promise' : 'was not caught: the rig has proven nothing'
  if (values.json) console.log(JSON.stringify({ rig: 'powercut', store, seed, failed: verdict }))
  else console.log(`powercut ${store} ${verdict}`)
}
process.exit(isFailed ? 1 : 0)
