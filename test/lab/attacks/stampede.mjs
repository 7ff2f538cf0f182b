// Eight processes meet one lock whose holder is dead. How often do two of them hold it at once? The witness is a file
// that a holder creates exclusively and removes: it fails for whoever comes second, whatever the lock believes.
import * as fs from 'node:fs'
import { join } from 'node:path'

const processes = 8

/** @param {import('./lab.mjs').Lab} lab */
export async function* run(lab) {
  const rounds = lab.amount(300, 40)
  yield* attack(lab, rounds, {})
  yield* attack(lab, rounds, { subject: 'plain proper-lockfile', mustLose: true })
}

async function* attack(lab, rounds, { subject, mustLose }) {
  const isPlain = subject !== undefined
  const paths = Array.from({ length: rounds }, () => join(lab.directory('stampede'), 'auth.json'))
  if (isPlain) for (const path of paths) leavePlainLock(path)
  else await leaveLocks(lab, paths)

  const workers = Array.from({ length: processes }, () => lab.worker('stampede.mjs', { isPlain }))
  await Promise.all(workers.map((worker) => worker.next()))
  let doubles = 0
  const problems = []
  let wrong = 0
  for (const path of paths) {
    for (const worker of workers) worker.say(path)
    const answers = await Promise.all(workers.map((worker) => worker.next()))
    if (answers.some(({ met }) => met)) doubles++
    problems.push(...answers.flatMap(({ error }) => (error === undefined ? [] : [error])))
    if (!isPlain && countIn(path) !== processes) wrong++
  }
  await Promise.all(workers.map((worker) => worker.end()))
  yield {
    attack: `stale-lock stampede, ${processes} processes`,
    ...(isPlain ? { subject, mustLose } : {}),
    fs: lab.kindOf(lab.root),
    states: rounds,
    lost: doubles + wrong,
    unrecovered: isPlain ? 0 : problems.length,
    note: `two holders at once in ${doubles} rounds${isPlain ? '' : `; wrong count in ${wrong}`}${problems.length > 0 ? `; ${problems.length} errors: ${problems[0]}` : ''}`,
  }
}

/** Real ones: of a process that is killed in the middle of that many commits. */
async function leaveLocks(lab, paths) {
  const holder = lab.worker('stuck-writer.mjs', { paths })
  await holder.next()
  await holder.kill()
}

function leavePlainLock(path) {
  fs.mkdirSync(`${path}.lock`)
  const longAgo = new Date(Date.now() - 60_000)
  fs.utimesSync(`${path}.lock`, longAgo, longAgo)
}

function countIn(path) {
  return JSON.parse(fs.readFileSync(path, 'utf8')).credentials['p:count']?.count
}
