// Every file-related system call of a commit fails: once, or from there on for good. The caller must get a rejection
// and the old document, a rejection and the new one (told that it is not known to be durable), or success.
import * as fs from 'node:fs'
import { constants } from 'node:os'
import { inBatches, tally } from './lab.mjs'
import { rawProblems, reopen, scenarios, stage } from './scenarios.mjs'

const names = ['ENOSPC', 'EIO', 'EROFS', 'EACCES', 'EDQUOT', 'EMFILE']

/** @param {import('./lab.mjs').Lab} lab */
export async function* run(lab) {
  for (const scenario of scenarios.slice(0, 3)) {
    const { run: commit } = await stage(lab, scenario)
    const { calls, place } = await commit([])
    fs.rmSync(place, { recursive: true })
    for (const how of ['once', 'for good']) {
      const stride = lab.amount(1, 31) * (how === 'once' ? 1 : 3)
      const cases = calls
        .flatMap((_, n) => names.map((name) => ({ nth: n + 1, name })))
        .filter((_, n) => n % stride === 0)
      const results = (
        await lab.each(inBatches(cases, 8), 2, (batch) => failEach(lab, scenario, commit, batch, how))
      ).flat()
      const lost = results.filter((result) => result.lost.length > 0)
      const unrecovered = results.filter((result) => result.unrecovered.length > 0)
      const wrong = results.flatMap((r) => [...r.lost, ...r.unrecovered].map((what) => `${what} (${r.at})`))
      yield {
        attack: `errno ${how}: ${scenario.name}`,
        fs: lab.kindOf(lab.root),
        states: results.length,
        lost: lost.length,
        unrecovered: unrecovered.length,
        note: `${tally(results.map(({ outcome }) => outcome))}${wrong.length > 0 ? `; ${tally(wrong)}` : ''}`,
      }
    }
  }
}

async function failEach(lab, scenario, commit, batch, how) {
  const runs = []
  for (const { nth, name } of batch) {
    const option = how === 'once' ? '--fail' : '--fail-from'
    // With `again` the process goes on to a second commit, when nothing fails any more.
    const run = await commit([option, String(nth), String(constants.errno[name])], { again: true })
    runs.push({ ...run, name, call: run.calls[nth - 1]?.split(' ')[1] ?? 'not reached' })
  }
  const verdicts = await reopen(
    lab,
    { ...scenario, key: 'p:again-is-judged-below' },
    runs.map(({ path }) => path),
  )
  return runs.map((run, n) => conclude(scenario, run, verdicts[n]))
}

function conclude(scenario, { said, stderr, end, place, path, name, call }, verdict) {
  const lost = rawProblems(scenario, path)
  const unrecovered = [...verdict.unrecovered]
  // `neither` speaks of an entry that does not exist here.
  lost.push(...verdict.lost.filter((what) => !what.includes('neither')))
  const same = (value) => JSON.stringify(said.found) === JSON.stringify(value)
  const found = same(scenario.next) ? 'new' : same(scenario.old) ? 'old' : 'neither'
  const error = said.error
  let outcome
  if (!('commit' in said)) {
    outcome = 'never answered'
    const cause = stderr.split('\n').find((line) => line.includes('Error')) ?? ''
    unrecovered.push(`${outcome}, the process ended with ${end} ${cause}`.trim())
  } else if (said.commit?.ok === true) {
    outcome = `resolved+${found}`
    if (found !== 'new') lost.push('silent: resolved and not there')
  } else if (said.commit !== null) {
    outcome = 'refused'
    unrecovered.push(`refused: ${JSON.stringify(said.commit)}`)
  } else {
    const isTyped = ['store_failed', 'write_indeterminate', 'store_busy', 'store_corrupt'].includes(error.code)
    outcome = `rejected+${found} ${isTyped ? error.code : 'untyped'}`
    if (!isTyped) unrecovered.push(`the system's own error reaches the caller`)
    else if (found === 'new' && error.code !== 'write_indeterminate')
      unrecovered.push(`${error.code}, but the new document is there`)
    if (found === 'neither') lost.push('neither old nor new')
  }
  if (said.again?.ok !== true && 'commit' in said) {
    unrecovered.push(
      end === 'exit 0' ? 'the next commit of this process fails' : 'the next commit of this process is never answered',
    )
  }
  fs.rmSync(place, { recursive: true })
  return { outcome, lost, unrecovered, at: `${name} at ${call}` }
}
