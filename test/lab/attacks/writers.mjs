// Many processes, one entry, one increment after the other: none may be missing. Then the same beside programs that
// know nothing of authkeep but proper-lockfile on the same path.
import * as fs from 'node:fs'
import { join } from 'node:path'

/** @param {import('./lab.mjs').Lab} lab */
export async function* run(lab) {
  yield await race(lab, 'many writers', { ours: 16, theirs: 0, times: lab.amount(200, 40) })
  yield await race(lab, 'many writers, half of them plain proper-lockfile users', {
    ours: 8,
    theirs: 8,
    times: lab.amount(60, 20),
  })
}

async function race(lab, attack, { ours, theirs, times }) {
  const path = join(lab.directory('writers'), 'auth.json')
  await lab.fill(path, 3)
  const make = (isPlain) => lab.worker('writer.mjs', { path, times, isPlain })
  const workers = [
    ...Array.from({ length: ours }, () => make(false)),
    ...Array.from({ length: theirs }, () => make(true)),
  ]
  await Promise.all(workers.map((worker) => worker.next()))
  for (const worker of workers) worker.say('go')
  const answers = await Promise.all(workers.map((worker) => worker.next().catch((error) => ({ error: error.message }))))
  await Promise.all(workers.map((worker) => worker.gone))
  const expected = (ours + theirs) * times
  const { credentials } = JSON.parse(fs.readFileSync(path, 'utf8'))
  const found = credentials['p:count']?.count ?? 0
  const problems = answers.flatMap(({ error }) => (error === undefined ? [] : [error]))
  const durations = answers.slice(0, ours).map(({ ms }) => ms)
  const ratio = Math.max(...durations) / Math.min(...durations)
  const seconds = Math.max(...answers.map(({ ms }) => ms ?? 0)) / 1_000
  lab.figure(
    `${attack}: slowest ÷ fastest process`,
    `${ratio.toFixed(2)} (${(expected / seconds).toFixed(0)} commits a second in all)`,
  )
  return {
    ...{ attack, fs: lab.kindOf(lab.root), states: expected, lost: expected - found, unrecovered: problems.length },
    note: `${found} of ${expected} there; ${ours + theirs} processes × ${times}${problems.length > 0 ? `; ${problems[0]}` : ''}`,
  }
}
