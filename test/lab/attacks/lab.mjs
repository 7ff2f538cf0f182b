// What every attack stands on: a place of its own, worker processes, mounts, chance from a seed, and the clean-up.
import { spawn, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/**
 * One line of the report.
 * @typedef {object} Row
 * @property {string} attack
 * @property {string} fs the file system it ran on
 * @property {number} states how many states or runs were tried
 * @property {number} lost how many of them lost something that had been acknowledged, or nearly: anything torn or silent
 * @property {number} unrecovered how many of them needed a person, or left something behind
 * @property {string} note
 * @property {string[]} [problems] everything that was wrong, for `--json`
 * @property {string} [subject] who was attacked, where it is not authkeep: then losing is the expected result
 * @property {boolean} [mustLose] an attack that does not hurt this subject proves nothing
 */

/** This machine does not permit it, or lacks a tool. */
export class NotRun extends Error {}

const repository = fileURLToPath(new URL('../../../', import.meta.url))
const workers = fileURLToPath(new URL('./workers/', import.meta.url))

export class Lab {
  /**
   * @param {{ root: string, quick: boolean, seed: number, built?: string }} options `root`: an empty directory for all
   * that is made; `built`: the library to attack, by default `dist/`
   */
  constructor({ root, quick, seed, built }) {
    this.quick = quick
    this.seed = seed
    this.built = resolve(built ?? join(repository, 'dist'))
    this.figures = /** @type {[string, string][]} */ ([])
    this.root = root
    // A child that has put off root must be able to read the code.
    fs.chmodSync(this.root, 0o755)
    this.children = new Set()
    this.mounts = /** @type {string[]} */ ([])
    this.made = 0
    this.dist = this.#copyOfDist('authkeep', [])
  }

  /** Of the two numbers the one for this mode. */
  amount(full, quick) {
    return this.quick ? quick : full
  }

  /** A number that belongs in the report and in no column. */
  figure(name, value) {
    this.figures.push([name, value])
  }

  /** Chance that is the same for the same seed and name. */
  chance(name) {
    let state = [...name].reduce(
      (hash, letter) => Math.imul(hash ^ letter.charCodeAt(0), 16777619),
      this.seed ^ 0x811c9dc5,
    )
    return () => {
      state = (state + 0x6d2b79f5) | 0
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
    }
  }

  // --- places ------------------------------------------------------------------------------------------------------

  /** A new, empty directory. */
  directory(name = 'place', parent = this.root) {
    const path = join(parent, `${name}-${this.made++}`)
    fs.mkdirSync(path, { mode: 0o700 })
    return path
  }

  /** One in memory where there is such a place: for attacks on bytes, not on the disk. */
  fastDirectory(name) {
    if (this.memory === undefined) {
      try {
        this.memory = this.mount(['-t', 'tmpfs', '-o', 'size=2g', 'tmpfs'], 'memory')
      } catch {
        this.memory = this.root
      }
    }
    return this.directory(name, this.memory)
  }

  /** What kind of file system a path is on. */
  kindOf(path) {
    const mounts = fs
      .readFileSync('/proc/self/mounts', 'utf8')
      .trim()
      .split('\n')
      .map((line) => line.split(' '))
    const over = mounts.filter(([, at]) => at === '/' || path === at || path.startsWith(`${at}/`))
    return over.reduce((best, mount) => (mount[1].length >= best[1].length ? mount : best), ['', '', 'unknown'])[2]
  }

  // --- mounts ------------------------------------------------------------------------------------------------------

  /** mount(8) with these arguments on a new directory (or `on` an existing file), undone at the end. */
  mount(words, name, on = this.directory(name)) {
    const inside = process.env['AUTHKEEP_LAB_INSIDE']
    if (inside !== 'namespaces') throw new NotRun(`no mount namespace of its own: ${inside}`)
    this.system('mount', [...words, on])
    this.mounts.push(on)
    return on
  }

  unmount(path) {
    this.mounts = this.mounts.filter((other) => other !== path)
    this.system('umount', [path])
  }

  /** A file system in a file. */
  image(kind, megabytes, mkfs) {
    const image = join(this.root, `${kind}-${this.made++}.img`)
    fs.closeSync(fs.openSync(image, 'w'))
    fs.truncateSync(image, megabytes * 2 ** 20)
    this.system(`mkfs.${kind}`, [...mkfs, image])
    // The loop device goes with the last mount of it, also when we are killed.
    return this.mount(['-o', 'loop', image], kind)
  }

  /** Runs a tool that this machine may lack, or not permit. */
  system(tool, words) {
    const { status, stderr, error } = spawnSync(tool, words, {
      encoding: 'utf8',
      timeout: 60_000,
      killSignal: 'SIGKILL',
    })
    if (error?.code === 'ENOENT') throw new NotRun(`${tool} is not installed`)
    if (error !== undefined) throw new NotRun(`${tool} did not end: ${error.code}`)
    if (status !== 0) throw new NotRun(`${basename(tool)} failed: ${reasonIn(stderr)}`)
  }

  // --- code under attack -------------------------------------------------------------------------------------------

  /** A copy of the built library with one thing broken. */
  mutant(name, edits) {
    return this.#copyOfDist(name, edits)
  }

  #copyOfDist(name, edits) {
    const home = join(this.root, name)
    fs.mkdirSync(home)
    if (!fs.existsSync(join(this.built, 'index.js'))) throw new Error(`${this.built} holds no library: npm run build`)
    fs.cpSync(this.built, join(home, 'dist'), { recursive: true })
    fs.writeFileSync(join(home, 'package.json'), '{ "type": "module" }\n')
    fs.symlinkSync(join(repository, 'node_modules'), join(home, 'node_modules'))
    for (const [pattern, replacement] of edits) {
      const folder = join(home, 'dist')
      const files = fs.readdirSync(folder, { recursive: true }).filter((file) => file.endsWith('.js'))
      const changed = files.filter((file) => {
        const text = fs.readFileSync(join(folder, file), 'utf8')
        const broken = text.replace(pattern, replacement)
        fs.writeFileSync(join(folder, file), broken)
        return broken !== text
      })
      if (changed.length === 0) throw new Error(`mutant "${name}": nothing in dist/ matches ${pattern}`)
    }
    return join(home, 'dist')
  }

  /** A module of the library under attack, in this process. */
  library(path, dist = this.dist) {
    return import(join(dist, path))
  }

  /** A store of `count` entries `p:00`…, made by the library itself; resolves with their revisions. */
  async fill(path, count, width = 40) {
    const { fileBackend } = await this.library('index.js')
    const backend = fileBackend({ path })
    const keys = Array.from({ length: count }, (_, n) => `p:${String(n).padStart(2, '0')}`)
    await backend.commit(keys.map((key) => ({ key, next: valueOf(key, width), expected: null })))
    const revisions = Object.fromEntries(
      await Promise.all(keys.map(async (key) => [key, (await backend.read(key)).revision])),
    )
    await backend.close()
    return revisions
  }

  // --- processes ---------------------------------------------------------------------------------------------------

  /** A worker of this folder, which prints JSON lines. */
  worker(script, options, { uid, before = [] } = {}) {
    const words = [...before, process.execPath, join(workers, script), JSON.stringify({ dist: this.dist, ...options })]
    return new Worker(this, words, uid)
  }

  /** Whether another user can start workers at all: where node or this repository lies in /root, nobody else can. */
  mayBeRunBy(uid) {
    const needed = JSON.stringify([workers, join(repository, 'node_modules')])
    const look = ['-e', `for (const path of ${needed}) fs.accessSync(path, fs.constants.X_OK)`]
    const { status } = spawnSync(process.execPath, look, { uid, gid: uid, stdio: 'ignore' })
    if (status !== 0) throw new NotRun(`an unprivileged user cannot reach node or ${repository}`)
  }

  /** The program of tracer.c, compiled and tried once: it must be able to see and to read another process's calls. */
  tracer() {
    this.traced ??= this.#tracer()
    return this.traced
  }

  async #tracer() {
    const program = join(this.root, 'tracer')
    this.system('gcc', ['-O2', '-o', program, join(workers, '../tracer.c')])
    const log = `${program}.log`
    const touch = `for (const path of ['/authkeep-lab/begin', ${JSON.stringify(this.root)}]) fs.existsSync(path)`
    this.system(program, ['--under', this.root, '--log', log, '--', process.execPath, '-e', touch])
    if (!/^begin\n1 /.test(fs.readFileSync(log, 'utf8')))
      throw new NotRun('no process may look at the calls of another')
    return program
  }

  /** Runs a job for each item, `width` at a time. */
  async each(items, width, job) {
    const waiting = [...items.entries()]
    const results = []
    const lane = async () => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        results[next[0]] = await job(next[1], next[0])
      }
    }
    await Promise.all(Array.from({ length: Math.min(width, waiting.length) }, lane))
    return results
  }

  /** Ends every process that was started; whoever waits for one hears of it. */
  killAll() {
    for (const child of this.children) child.kill('SIGKILL')
  }

  /** Everything that was started, mounted or written. Synchronous: it also runs when the process is going down. */
  clean() {
    this.killAll()
    for (const path of this.mounts.reverse()) {
      if (spawnSync('umount', [path], { stdio: 'ignore' }).status !== 0)
        spawnSync('umount', ['-l', path], { stdio: 'ignore' })
    }
    fs.rmSync(this.root, { recursive: true, force: true })
  }
}

/** A child process that prints JSON lines and reads words, one a line. */
class Worker {
  constructor(lab, [program, ...words], uid) {
    this.lines = /** @type {Record<string, any>[]} */ ([])
    this.waiting = []
    this.stderr = ''
    this.child = spawn(program, words, {
      stdio: 'pipe',
      env: { ...process.env, TMPDIR: lab.root },
      ...(uid === undefined ? {} : { uid, gid: uid, groups: [uid] }),
    })
    lab.children.add(this.child)
    this.child.stdin.on('error', () => {})
    // One that cannot be started has ended early, and says why.
    this.child.on('error', (error) => (this.stderr += error.message))
    this.child.stderr.setEncoding('utf8').on('data', (text) => (this.stderr += text))
    const reader = createInterface({ input: this.child.stdout })
    reader.on('line', (line) => {
      this.lines.push(JSON.parse(line))
      for (const wake of this.waiting.splice(0)) wake()
    })
    this.gone = new Promise((resolve) => {
      this.child.on('close', (code, signal) => resolve([code, signal]))
    }).then(([code, signal]) => {
      lab.children.delete(this.child)
      this.isGone = true
      for (const wake of this.waiting.splice(0)) wake()
      return { code, signal }
    })
    this.read = 0
  }

  /** The next line; rejects when the process ends without one. */
  async next() {
    while (this.lines.length <= this.read) {
      if (this.isGone)
        throw new Error(`a worker ended early: ${this.stderr.trim().split('\n').slice(0, 6).join(' | ')}`)
      await new Promise((resolve) => this.waiting.push(resolve))
    }
    return this.lines[this.read++]
  }

  say(word) {
    this.child.stdin.write(`${word}\n`)
  }

  async kill(signal = 'SIGKILL') {
    this.child.kill(signal)
    return this.gone
  }

  async end() {
    this.child.stdin.end()
    return this.gone
  }
}

/** The line that says why: of a compiler the first error, of other tools the last word. */
function reasonIn(stderr) {
  const lines = stderr.trim().split('\n')
  return lines.find((line) => / error: /.test(line)) ?? lines.at(-1)
}

/** What an entry of `Lab.fill` holds: something that looks like a secret and is found again. */
export function valueOf(key, width = 40) {
  return { token: `secret-of-${key}-`.padEnd(width, 'x') }
}

/**
 * Names in a directory that do not belong there: neither the file nor its copy, quarantined bytes or generations. The
 * guard of a take-over that was cut short may stay: it holds no secret, and the next take-over removes it.
 */
export function strangers(path) {
  const base = basename(path)
  const known = /^(\.bak|\.lock\.guard|\.(corrupt|gen)-[0-9T-]+(\.\d+)?Z|)$/
  return fs.readdirSync(dirname(path)).filter((name) => !(name.startsWith(base) && known.test(name.slice(base.length))))
}

export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}

/** `text 3, other 1`, the most frequent first, no more than `most` of them. */
export function tally(words, most = 6) {
  const counts = new Map()
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1)
  const sorted = [...counts].sort((a, b) => b[1] - a[1]).map(([word, count]) => `${word} ${count}`)
  const rest = sorted.length > most ? [`and ${sorted.length - most} more kinds (--json has all)`] : []
  return [...sorted.slice(0, most), ...rest].join(', ')
}

/** A list cut into pieces. */
export function inBatches(items, size) {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, n) => items.slice(n * size, (n + 1) * size))
}
