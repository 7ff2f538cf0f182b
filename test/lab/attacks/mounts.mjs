// File systems that are not a plain directory on a disk: memory, layers, FUSE, read-only, a file mounted by itself.
import { spawn, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { dirname, join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { NotRun, strangers, valueOf } from './lab.mjs'

const fresh = { token: 'new' }
/** Larger than what is left on a small file system, smaller than what the old document takes. */
const large = { token: 'n'.repeat(60_000) }

/** @param {import('./lab.mjs').Lab} lab */
export async function* run(lab) {
  for (const { name, kind, check } of cases) {
    const problems = { lost: [], unrecovered: [] }
    let states
    let note
    try {
      ;({ states, note = '' } = await check(lab, problems))
    } catch (error) {
      if (!(error instanceof NotRun)) throw error
      yield { attack: `mount: ${name}`, fs: kind, notRun: error.message }
      continue
    }
    const { lost, unrecovered } = problems
    const text = [note, ...lost, ...unrecovered].filter((part) => part !== '').join('; ')
    yield {
      ...{ attack: `mount: ${name}`, fs: kind, states },
      lost: lost.length,
      unrecovered: unrecovered.length,
      note: text,
    }
  }
}

const cases = [
  {
    name: 'a directory in memory',
    kind: 'tmpfs',
    check: (lab, problems) => works(lab, problems, lab.mount(['-t', 'tmpfs', 'tmpfs'], 'memory')),
  },
  {
    name: 'a directory of layers, the file in the lower one',
    kind: 'overlay',
    async check(lab, problems) {
      const layers = lab.mount(['-t', 'tmpfs', 'tmpfs'], 'layers')
      const [lower, upper, work] = ['lower', 'upper', 'work'].map((layer) => join(layers, layer))
      for (const layer of [lower, upper, work]) fs.mkdirSync(layer)
      await lab.fill(join(lower, 'store', 'auth.json'), 20)
      const before = fs.readFileSync(join(lower, 'store', 'auth.json'))
      const top = lab.mount(
        ['-t', 'overlay', '-o', `lowerdir=${lower},upperdir=${upper},workdir=${work}`, 'overlay'],
        'overlay',
      )
      const result = await works(lab, problems, top, { isFilled: true })
      if (!before.equals(fs.readFileSync(join(lower, 'store', 'auth.json'))))
        problems.lost.push('the lower layer has changed')
      return result
    },
  },
  {
    name: 'a directory through FUSE (bindfs)',
    kind: 'fuse',
    async check(lab, problems) {
      const below = lab.directory('below')
      const { top, child } = await bindfs(lab, below)
      const result = await works(lab, problems, top)
      lab.unmount(top)
      child.kill('SIGKILL')
      if (!fs.existsSync(join(below, 'store', 'auth.json'))) problems.unrecovered.push('nothing arrived below')
      return result
    },
  },
  { name: 'a read-only mount: reads work, commits are refused', kind: 'ext4, ro', check: readOnly },
  {
    name: 'a file mounted by itself: written in place',
    kind: 'bind',
    check: (lab, problems) => single(lab, problems, lab.directory('host')),
  },
  {
    name: 'a file mounted by itself, disk full: the old document stays',
    kind: 'bind on tmpfs',
    check: async (lab, problems) =>
      fullSingle(lab, problems, lab.mount(['-t', 'tmpfs', '-o', 'size=200k', 'tmpfs'], 'small')),
  },
  {
    name: 'a file mounted by itself, disk full: the old document stays',
    kind: 'bind on ext4',
    check: async (lab, problems) => fullSingle(lab, problems, lab.image('ext4', 8, ['-q', '-F', '-m', '0'])),
  },
  { name: 'a file mounted by itself, killed at every call', kind: 'bind', check: killedSingle },
  { name: 'a file mounted by itself, replaced by the host', kind: 'bind', check: replacedSingle },
]

/** One process reads and tries to change an entry; this is what came of it. */
async function attempt(lab, path, next = fresh) {
  const worker = lab.worker('try.mjs', { path, key: 'p:00', next })
  const line = await worker.next()
  await worker.gone
  return line
}

async function works(lab, problems, top, { isFilled = false } = {}) {
  const path = join(top, 'store', 'auth.json')
  if (!isFilled) await lab.fill(path, 20)
  for (const next of [fresh, { token: 'newer' }, { token: 'newest' }]) {
    const { commit, commitError, exclusion } = await attempt(lab, path, next)
    if (commit?.ok !== true) problems.unrecovered.push(`commit: ${JSON.stringify(commitError)}`)
    if (exclusion !== 'cas') problems.unrecovered.push(`exclusion ${exclusion}`)
    lookAt(problems, path, next)
  }
  const left = strangers(path)
  if (left.length > 0) problems.unrecovered.push(`left behind: ${left.join(' ')}`)
  return { states: 3 }
}

/** What a program that knows nothing of authkeep reads in the file. */
function lookAt(problems, path, first) {
  let credentials
  try {
    ;({ credentials } = JSON.parse(fs.readFileSync(path, 'utf8')))
  } catch {
    problems.lost.push('the file does not parse')
    return
  }
  const expected = (key) => (key === 'p:00' ? first : valueOf(key))
  const wrong = Object.keys(credentials).filter(
    (key) => !isDeepStrictEqual(withoutRev(credentials[key]), expected(key)),
  )
  if (wrong.length > 0) problems.lost.push(`wrong in the file: ${wrong.join(' ')}`)
  if (Object.keys(credentials).length !== 20)
    problems.lost.push(`${Object.keys(credentials).length} entries in the file`)
}

function withoutRev({ rev: _, ...value }) {
  return value
}

async function bindfs(lab, below) {
  const top = lab.directory('fuse')
  const child = spawn('bindfs', ['-f', below, top], { stdio: ['ignore', 'ignore', 'pipe'] })
  let complaint = ''
  child.stderr.on('data', (text) => (complaint += text))
  lab.children.add(child)
  const isGone = new Promise((resolve) => {
    child.on('error', () => resolve('bindfs is not installed'))
    child.on('close', () => resolve(`bindfs: ${complaint.trim()}`))
  })
  for (let tries = 0; tries < 100; tries++) {
    if (lab.kindOf(join(top, 'x')).startsWith('fuse')) {
      lab.mounts.push(top)
      return { top, child }
    }
    const reason = await Promise.race([isGone, new Promise((resolve) => setTimeout(resolve, 50, ''))])
    if (reason !== '') throw new NotRun(reason)
  }
  throw new NotRun('bindfs does not mount')
}

async function readOnly(lab, problems) {
  const place = lab.directory('writable')
  const path = join(place, 'auth.json')
  await lab.fill(path, 20)
  const top = lab.mount(['--bind', place], 'read-only')
  lab.system('mount', ['-o', 'remount,bind,ro', top])
  const seen = join(top, 'auth.json')
  let states = 0
  for (const damage of [() => {}, () => fs.writeFileSync(path, '')]) {
    damage()
    states++
    const before = fs.readFileSync(path)
    const names = fs.readdirSync(place).sort().join()
    const { value, readError, commit, commitError } = await attempt(lab, seen)
    if (before.length > 0 && !isDeepStrictEqual(value, valueOf('p:00')))
      problems.unrecovered.push(`read: ${JSON.stringify(readError)}`)
    if (before.length === 0 && readError?.code !== 'store_failed' && !isDeepStrictEqual(value, valueOf('p:00'))) {
      problems.lost.push(`a damaged file reads as ${JSON.stringify(value)}, ${JSON.stringify(readError)}`)
    }
    if (commit !== null || commitError.code !== 'store_failed' || commitError.errno !== 'EROFS') {
      problems.unrecovered.push(`commit: ${JSON.stringify(commit ?? commitError)}`)
    }
    if (!before.equals(fs.readFileSync(path)) || names !== fs.readdirSync(place).sort().join())
      problems.lost.push('something has changed')
  }
  return { states, note: 'also with a damaged file: an error, not "no credentials"' }
}

/** The host's file, and where a container sees it: alone, in a directory of its own layer. */
function mountAlone(lab, hostPath) {
  const inside = join(lab.directory('container'), 'auth.json')
  fs.writeFileSync(inside, '')
  return lab.mount(['--bind', hostPath], 'unused', inside)
}

async function single(lab, problems, host) {
  const path = join(host, 'auth.json')
  await lab.fill(path, 20)
  const { ino } = fs.statSync(path)
  const inside = mountAlone(lab, path)
  const said = new Set()
  for (const next of [fresh, { token: 'longer'.repeat(100) }, { token: '' }]) {
    const { commit, commitError, exclusion } = await attempt(lab, inside, next)
    said.add(exclusion)
    if (commit?.ok !== true) problems.unrecovered.push(`commit: ${JSON.stringify(commitError)}`)
    lookAt(problems, path, next)
  }
  if (fs.statSync(path).ino !== ino) problems.unrecovered.push('another inode')
  const left = strangers(inside)
  if (left.length > 0) problems.unrecovered.push(`left behind: ${left.join(' ')}`)
  lab.unmount(inside)
  return { states: 3, note: `exclusion ${[...said].join(', ')}` }
}

async function fullSingle(lab, problems, top) {
  const path = join(top, 'auth.json')
  await lab.fill(path, 20)
  const inside = mountAlone(lab, path)
  const filler = join(top, 'filler')
  try {
    for (;;) fs.appendFileSync(filler, Buffer.alloc(1024, 7))
  } catch (error) {
    if (error.code !== 'ENOSPC') throw error
  }
  let states = 0
  for (const keptFree of [0, 8, 16, 32, 48]) {
    fs.truncateSync(filler, Math.max(0, fs.statSync(filler).size - (keptFree > 0 ? 8_192 : 0)))
    spawnSync('sync', ['-f', top])
    states++
    const { commit, commitError } = await attempt(lab, inside, large)
    if (commit?.ok === true) {
      lookAt(problems, path, large)
      break
    }
    if (commitError?.code !== 'store_failed' || commitError.errno !== 'ENOSPC')
      problems.unrecovered.push(`commit: ${JSON.stringify(commitError)}`)
    lookAt(problems, path, valueOf('p:00'))
  }
  fs.unlinkSync(filler)
  const { commit, commitError } = await attempt(lab, inside, fresh)
  if (commit?.ok !== true) problems.unrecovered.push(`with room again: ${JSON.stringify(commitError)}`)
  else lookAt(problems, path, fresh)
  lab.unmount(inside)
  lab.unmount(top)
  return { states: states + 1 }
}

async function killedSingle(lab, problems) {
  const tracer = await lab.tracer()
  const host = lab.directory('template')
  const revisions = await lab.fill(join(host, 'auth.json'), 20)
  const script = new URL('./workers/commit.mjs', import.meta.url).pathname
  const once = (nth) => {
    const path = join(lab.directory('host'), 'auth.json')
    fs.copyFileSync(join(host, 'auth.json'), path)
    const inside = mountAlone(lab, path)
    const log = join(lab.root, `calls-${lab.made++}.log`)
    const options = {
      dist: lab.dist,
      path: inside,
      key: 'p:00',
      next: fresh,
      expected: revisions['p:00'],
      staleLockMs: 100,
    }
    const words = ['--under', dirname(inside), '--log', log, '--kill', String(nth)]
    spawnSync(tracer, [...words, '--', process.execPath, script, JSON.stringify(options)])
    return { path, inside, calls: fs.readFileSync(log, 'utf8').trim().split('\n').slice(1, -1) }
  }
  const { calls, inside: first } = once(0)
  lab.unmount(first)
  const stride = lab.amount(1, 9)
  const nths = calls.map((_, n) => n + 1).filter((n) => n % stride === 0)
  for (const nth of nths) {
    const { path, inside } = once(nth)
    const { credentials } = parsed(path)
    const value = withoutRev(credentials?.['p:00'] ?? {})
    if (!isDeepStrictEqual(value, fresh) && !isDeepStrictEqual(value, valueOf('p:00')))
      problems.lost.push(`neither old nor new at ${calls[nth - 1]}`)
    // The container is started anew: what lay beside the file is gone, the file is not.
    for (const name of strangers(inside)) fs.rmSync(join(dirname(inside), name), { recursive: true, force: true })
    const { commit, commitError } = await attempt(lab, inside, { token: 'after' })
    if (commit?.ok !== true)
      problems.unrecovered.push(`at ${calls[nth - 1]}: next commit ${JSON.stringify(commitError)}`)
    else lookAt(problems, path, { token: 'after' })
    lab.unmount(inside)
  }
  return { states: nths.length, note: `of ${calls.length} calls` }
}

function parsed(path) {
  try {
    return JSON.parse(fs.readFileSync(path, 'utf8'))
  } catch {
    return {}
  }
}

async function replacedSingle(lab, problems) {
  const path = join(lab.directory('host'), 'auth.json')
  await lab.fill(path, 20)
  const inside = mountAlone(lab, path)
  fs.copyFileSync(path, `${path}.new`)
  fs.renameSync(`${path}.new`, path)
  const { commit, commitError } = await attempt(lab, inside)
  if (commit !== null || commitError.code !== 'store_failed')
    problems.lost.push(`a commit into the void: ${JSON.stringify(commit ?? commitError)}`)
  lookAt(problems, path, valueOf('p:00'))
  lab.unmount(inside)
  return { states: 1, note: `told ${commitError?.code} ${commitError?.errno}` }
}
