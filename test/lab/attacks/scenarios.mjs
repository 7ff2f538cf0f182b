// The commits that are killed and failed at each of their system calls, and how the store is judged afterwards.
import { execFile } from 'node:child_process'
import * as fs from 'node:fs'
import { dirname, join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { strangers, valueOf } from './lab.mjs'

/** The lock of a holder that died before it could write who it was: what a successor waits for here, not 10 s. */
export const staleLockMs = 150

const after = { token: 'secret-after' }
const others = Array.from({ length: 19 }, (_, n) => `p:${String(n + 1).padStart(2, '0')}`)

/**
 * @typedef {object} Scenario
 * @property {string} name
 * @property {string[]} others entries that the commit does not speak of
 * @property {string} key the entry that it changes
 * @property {object | null} old what that entry holds before
 * @property {object | null} next what it is to hold
 * @property {boolean} [isDamaged] the file is damaged before the commit
 * @property {(path: string) => void} [damage]
 * @property {boolean} [hasDeadLock]
 */

/** @type {Scenario[]} */
export const scenarios = [
  { name: 'first commit in a new directory', others: [], key: 'p:00', old: null, next: after },
  { name: 'change of one entry of 20', others, key: 'p:00', old: valueOf('p:00'), next: after },
  { name: 'delete of one entry of 20', others, key: 'p:00', old: valueOf('p:00'), next: null },
  {
    name: 'recovery of a 0-byte file, then a change',
    ...{ others, key: 'p:00', old: valueOf('p:00'), next: after, isDamaged: true },
    damage: (path) => fs.truncateSync(path, 0),
  },
  {
    name: 'recovery of a removed file, then a change',
    ...{ others, key: 'p:00', old: valueOf('p:00'), next: after, isDamaged: true },
    damage: (path) => fs.unlinkSync(path),
  },
  {
    name: 'take-over of the lock of a dead holder, then a change',
    ...{ others, key: 'p:00', old: valueOf('p:00'), next: after, hasDeadLock: true },
  },
]

/** Sets a scenario once and gives each run a copy of it. */
export async function stage(lab, scenario) {
  const tracer = await lab.tracer()
  const template = lab.directory('template')
  let revisions = {}
  if (scenario.others.length > 0) {
    revisions = await lab.fill(join(template, 'auth.json'), scenario.others.length + 1)
    scenario.damage?.(join(template, 'auth.json'))
  }

  /** One run of the commit in a place of its own, with these words for the tracer. */
  async function run(words, options = {}) {
    const place = lab.directory('run')
    const path = join(place, 'store', 'auth.json')
    if (scenario.others.length > 0) fs.cpSync(template, dirname(path), { recursive: true })
    if (scenario.hasDeadLock) await leaveDeadLock(path)
    const outcome = await commit(path, words, {
      ...options,
      read: scenario.isDamaged,
      expected: revisions[scenario.key] ?? null,
    })
    return { ...outcome, place, path }
  }

  async function commit(path, words, options) {
    const { key, next } = scenario
    const log = join(lab.root, `calls-${lab.made++}.log`)
    const arguments_ = { dist: lab.dist, path, key, next, staleLockMs, ...options }
    const { stdout, stderr } = await new Promise((resolve) => {
      const script = new URL('./workers/commit.mjs', import.meta.url).pathname
      const program = [process.execPath, script, JSON.stringify(arguments_)]
      execFile(
        tracer,
        ['--under', dirname(dirname(path)), '--log', log, ...words, '--', ...program],
        { timeout: 60_000, killSignal: 'SIGKILL' },
        (_, stdout, stderr) => resolve({ stdout, stderr }),
      )
    })
    const calls = fs
      .readFileSync(log, 'utf8')
      .trim()
      .split('\n')
      .filter((line) => line !== 'begin')
    fs.unlinkSync(log)
    const said = Object.assign(
      {},
      ...stdout
        .split('\n')
        .filter((line) => line.endsWith('}'))
        .map((line) => JSON.parse(line)),
    )
    return { said, stderr, end: calls.pop() ?? '', calls }
  }

  /** A holder that is killed with its draft written and not yet renamed. */
  async function leaveDeadLock(path) {
    const { readdirSync } = fs
    if (leaveDeadLock.at === undefined) {
      const probe = lab.directory('probe')
      fs.cpSync(template, join(probe, 'store'), { recursive: true })
      const { calls } = await commit(join(probe, 'store/auth.json'), [], {
        next: { token: 'x' },
        key: 'p:01',
        expected: revisions['p:01'],
      })
      leaveDeadLock.at = calls.findIndex((line) => /^\d+ rename .*\.tmp$/.test(line)) + 1
    }
    await commit(path, ['--kill', String(leaveDeadLock.at)], {
      next: { token: 'x' },
      key: 'p:01',
      expected: revisions['p:01'],
    })
    if (!readdirSync(dirname(path)).includes('auth.json.lock')) throw new Error('the dead holder left no lock')
  }

  return { run, template, revisions }
}

/** What an independent eye sees in the directory: problems of the file itself, before anybody repairs anything. */
export function rawProblems(scenario, path) {
  const stat = fs.lstatSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return scenario.old === null || scenario.isDamaged ? [] : ['the file is gone']
  const problems = []
  if (!stat.isFile() || stat.nlink !== 1) problems.push(`${stat.nlink} links`)
  if ((stat.mode & 0o777) !== 0o600) problems.push(`mode ${(stat.mode & 0o777).toString(8)}`)
  const text = fs.readFileSync(path, 'utf8')
  if (text === '' && scenario.isDamaged) return problems
  try {
    const { credentials } = JSON.parse(text)
    const missing = scenario.others.filter((key) => credentials[key]?.token !== valueOf(key).token)
    if (missing.length > 0) problems.push(`${missing.length} other entries wrong in the file`)
  } catch {
    problems.push('torn file')
  }
  return problems
}

/** A lock stands there and nothing says whose it is: it can be taken over only when its time has run out. */
export function isOwnerless(path) {
  const stands = (name) => fs.lstatSync(name, { throwIfNoEntry: false }) !== undefined
  return stands(`${path}.lock`) && !stands(`${path}.lock.owner`)
}

/** A fresh process reads everything in each of these places, commits, and is judged. Resolves with one verdict a place. */
export async function reopen(lab, scenario, paths) {
  const keys = [...scenario.others, scenario.key]
  const worker = lab.worker('reopen.mjs', { paths, keys, staleLockMs })
  const verdicts = []
  for (const path of paths) {
    const seen = await worker.next().catch((error) => ({ error: String(error.message) }))
    verdicts.push({ ...judge(scenario, path, seen), commitMs: seen.commitMs ?? 0 })
  }
  await worker.gone
  return verdicts
}

function judge(scenario, path, seen) {
  const lost = []
  const unrecovered = []
  if (seen.error !== undefined) return { lost: [`not readable: ${seen.error}`], unrecovered, is: 'unreadable' }
  const wrong = scenario.others.filter((key) => !isDeepStrictEqual(seen.values[key], valueOf(key)))
  if (wrong.length > 0) lost.push(`${wrong.length} other entries lost`)
  const value = seen.values[scenario.key]
  const is = isDeepStrictEqual(value, scenario.next)
    ? 'new'
    : isDeepStrictEqual(value, scenario.old)
      ? 'old'
      : 'neither'
  if (is === 'neither') lost.push('the entry is neither old nor new')
  if (seen.commitError !== null) unrecovered.push(`next commit: ${seen.commitError}`)
  const left = strangers(path)
  if (left.length > 0)
    unrecovered.push(`left behind: ${left.map((name) => name.replaceAll(/\d{3,}|[0-9a-f]{16}/g, '#')).join(' ')}`)
  return { lost, unrecovered, is }
}
