// SIGKILL at every system call of one commit that touches the store's directory, each in a process of its own.
import * as fs from 'node:fs'
import { inBatches, tally } from './lab.mjs'
import { isOwnerless, rawProblems, reopen, scenarios, stage, staleLockMs } from './scenarios.mjs'

/** @param {import('./lab.mjs').Lab} lab */
export async function* run(lab) {
  let points = 0
  const waits = []
  for (const scenario of scenarios) {
    const { run: commit } = await stage(lab, scenario)
    const whole = await commit([])
    if (whole.said.commit?.ok !== true)
      throw new Error(`${scenario.name}: ${JSON.stringify(whole.said)} ${whole.stderr}`)
    const stride = lab.amount(1, 7)
    const nths = whole.calls.map((_, n) => n + 1).filter((n) => n % stride === 0 || n === whole.calls.length)

    const results = (
      await lab.each(inBatches(nths, 8), 2, async (batch) => {
        const killed = []
        for (const nth of batch) {
          const run = await commit(['--kill', String(nth)])
          killed.push({
            ...run,
            nth,
            call: run.calls.at(-1)?.split(' ')[1] ?? '',
            raw: rawProblems(scenario, run.path),
            isOwnerless: isOwnerless(run.path),
          })
        }
        const verdicts = await reopen(
          lab,
          scenario,
          killed.map(({ path }) => path),
        )
        return killed.map((run, n) => conclude(run, verdicts[n]))
      })
    ).flat()
    // And the one that died, by itself, with everything done.
    const [verdict] = await reopen(lab, scenario, [whole.path])
    results.push(conclude({ ...whole, nth: 0, call: 'the end', raw: rawProblems(scenario, whole.path) }, verdict))

    points += nths.length
    waits.push(...results.filter(({ isOwnerless }) => isOwnerless))
    const lost = results.filter((result) => result.lost.length > 0)
    const unrecovered = results.filter((result) => result.unrecovered.length > 0)
    const wrong = results.flatMap((r) => [...r.lost, ...r.unrecovered].map((what) => `${what} (at ${r.call})`))
    yield {
      attack: `SIGKILL at a system call: ${scenario.name}`,
      fs: lab.kindOf(lab.root),
      states: results.length,
      lost: lost.length,
      unrecovered: unrecovered.length,
      note: `at ${nths.length} of ${whole.calls.length} calls; then ${tally(results.map(({ is }) => is))}${wrong.length > 0 ? `; ${tally(wrong, 4)}` : ''}`,
      problems: wrong,
    }
  }
  lab.figure('kill points', String(points))
  const longest = Math.max(0, ...waits.map(({ commitMs }) => commitMs))
  const where = `killed before ${tally(waits.map(({ call }) => call))}; the next writer waited at most ${longest.toFixed(0)} ms`
  lab.figure(
    `kill points that leave a lock without a record, so that staleLockMs must pass (here ${staleLockMs} ms, by default 10 s)`,
    `${waits.length}${waits.length > 0 ? `, ${where}` : ''}`,
  )
}

function conclude({ said, end, place, nth, call, raw, isOwnerless }, { lost, unrecovered, is, commitMs }) {
  const expectedEnd = nth === 0 ? 'exit 0' : 'signal 9'
  const isAcknowledged = said.commit?.ok === true
  fs.rmSync(place, { recursive: true })
  return {
    ...{ call, is, commitMs, isOwnerless },
    lost: [...raw, ...lost, ...(isAcknowledged && is !== 'new' ? ['acknowledged and not there'] : [])],
    unrecovered: [...unrecovered, ...(end === expectedEnd ? [] : [`the writer ended with ${end}`])],
  }
}
