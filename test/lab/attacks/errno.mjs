// Every file-related system call of a commit fails: once, or from there on for good. The caller must get a rejection
// and the old document, a rejection that says the new one may not be durable, or success; and can go on afterwards.
import * as fs from 'node:fs'
import { constants } from 'node:os'
import { basename, join } from 'node:path'
import { inBatches, tally } from './lab.mjs'
import { rawProblems, reopen, scenarios, stage, staleLockMs } from './scenarios.mjs'

const names = ['ENOSPC', 'EIO', 'EROFS', 'EACCES', 'EDQUOT', 'EMFILE']
const attacks = { once: 'a system call fails', 'for-good': 'a system call and all after it fail' }

/** @param {import('./lab.mjs').Lab} lab */
export async function* run(lab) {
  for (const scenario of scenarios.slice(0, 3)) {
    const staged = await stage(lab, scenario)
    const { calls } = await staged.run([])
    for (const how of Object.keys(attacks)) {
      const stride = lab.amount(1, 11)
      const cases = calls
        .flatMap((_, n) => names.map((name) => ({ nth: n + 1, name })))
        .filter((_, n) => n % stride === 0)
      const results = (
        await lab.each(inBatches(cases, 25), 2, (batch) => failEach(lab, scenario, staged, batch, how))
      ).flat()
      const wrong = results.flatMap((r) => [...r.lost, ...r.unrecovered].map((what) => `${what} (${r.at})`))
      yield {
        attack: `${attacks[how]}: ${scenario.name}`,
        fs: lab.kindOf(lab.root),
        states: results.length,
        lost: results.filter((result) => result.lost.length > 0).length,
        unrecovered: results.filter((result) => result.unrecovered.length > 0).length,
        note: `${tally(results.map(({ outcome }) => outcome))}${wrong.length > 0 ? `; ${tally(wrong, 4)}` : ''}`,
        problems: wrong,
      }
    }
  }
}

async function failEach(lab, scenario, { template, revisions }, batch, how) {
  const tracer = await lab.tracer()
  const place = lab.directory('failing')
  const log = join(lab.root, `calls-${lab.made++}.log`)
  const cases = batch.map(({ nth, name }, n) => {
    const path = join(place, String(n), 'store', 'auth.json')
    fs.mkdirSync(join(place, String(n)))
    if (scenario.others.length > 0) fs.cpSync(template, join(path, '..'), { recursive: true })
    return { path, mark: `begin/${nth}/${constants.errno[name]}/${how}` }
  })
  const { key, next } = scenario
  const worker = lab.worker(
    'failing-commits.mjs',
    { cases, key, next, expected: revisions[key] ?? null, staleLockMs },
    { before: [tracer, '--under', place, '--log', log, '--'] },
  )
  const said = []
  for (const _ of cases) said.push(await worker.next().catch((error) => ({ ended: error.message })))
  await worker.gone
  const calls = fs.readFileSync(log, 'utf8').split('begin\n').slice(1)
  const raw = cases.map(({ path }) => rawProblems(scenario, path))
  const verdicts = await reopen(
    lab,
    { ...scenario, key: 'p:none' },
    cases.map(({ path }) => path),
  )
  fs.rmSync(place, { recursive: true })
  return batch.map(({ nth, name }, n) => {
    const [, call, file = ''] = calls[n]?.split('\n')[nth - 1]?.split(' ') ?? ['', 'a call that was not reached']
    const below = file.includes('/store') ? basename(file) : 'a directory above'
    const where = below.replaceAll(/[0-9a-f]{16}|\d{3,}/g, '#')
    return { ...conclude(scenario, said[n], raw[n], verdicts[n]), at: `${name} at ${call} ${where}`.trim() }
  })
}

const typed = ['store_failed', 'write_indeterminate', 'store_busy', 'store_corrupt']

function conclude(scenario, { commit, found, again, stray, ended }, raw, verdict) {
  if (ended !== undefined) return { outcome: 'crash', lost: [...raw], unrecovered: [`the process ended: ${ended}`] }
  // The entry that `reopen` is asked for does not exist here: what was changed is judged below.
  const lost = [...raw, ...verdict.lost.filter((what) => !what.includes('neither'))]
  const unrecovered = [...verdict.unrecovered]
  const value = JSON.stringify(found.value?.value ?? null)
  const is =
    value === JSON.stringify(scenario.next) ? 'new' : value === JSON.stringify(scenario.old) ? 'old' : 'neither'
  let outcome
  if (commit.never) {
    outcome = 'never answered'
    unrecovered.push(outcome)
  } else if (commit.value !== undefined) {
    outcome = commit.value.ok ? `resolved+${is}` : 'refused'
    if (!commit.value.ok) unrecovered.push('refused')
    else if (is !== 'new') lost.push('silent: resolved and not there')
  } else {
    const { code } = commit.error
    const isTyped = typed.includes(code)
    outcome = `rejected+${is} ${isTyped ? code : 'untyped'}`
    if (!isTyped) unrecovered.push(`the system's own error reaches the caller: ${code}`)
    else if (is === 'new' && code !== 'write_indeterminate') unrecovered.push(`${code}, but the new document is there`)
    if (is === 'neither') lost.push(`neither old nor new: ${found.error?.message ?? value}`)
  }
  if (again.value?.ok !== true)
    unrecovered.push(`its next commit: ${again.never ? 'never answered' : (again.error?.code ?? 'refused')}`)
  if (stray) unrecovered.push('an unhandled rejection')
  return { outcome, lost, unrecovered }
}
