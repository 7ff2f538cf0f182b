// The benchmarks: authkeep beside its peers, interleaved in one run.
//
//   npm run bench -- [<case> …]  [--quick] [--record] [--dist <folder>] [--rounds <n>]
//
// Without a case: all of them, and a summary. Results are printed, and written to bench/results/. With --record they are
// what later runs are compared with (bench/recorded/, kept with the source); with --quick they are compared, and nothing
// is written. Exit code 1: a case broke off, or, with --quick, a ratio is more than twice the recorded one, twice in a row.
// A goal that is not met is said and is no failure: on another machine it may be.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { environmentOf } from './environment.mjs'
import { Peers } from './peers.mjs'
import { asText, comparedWithRecorded, summary, write } from './report.mjs'
import { measure } from './runner.mjs'
import { Scratch } from './scratch.mjs'

const here = fileURLToPath(new URL('.', import.meta.url))
const all = readdirSync(join(here, 'cases')).map((file) => file.replace(/\.mjs$/, ''))
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    record: { type: 'boolean', default: false },
    dist: { type: 'string' },
    rounds: { type: 'string' },
    /** Where the result of one case is written for the process that asked for it. */
    result: { type: 'string' },
  },
})
const unknown = positionals.filter((name) => !all.includes(name))
if (unknown.length > 0) {
  console.error(`There is no case ${unknown.join(', ')}. There are: ${all.join(', ')}`)
  process.exit(2)
}

if (values.result === undefined) await runAll(positionals.length > 0 ? positionals : all)
else writeFileSync(values.result, JSON.stringify(await run(positionals[0])))

async function runAll(names) {
  const started = performance.now()
  const results = names.map(runApart)
  console.log(summary(results))
  console.log(`\n${Math.round((performance.now() - started) / 1_000)} s in all`)
  const worse = values.quick ? worseTwice(results) : []
  for (const line of worse) console.error(line)
  if (!values.quick) write(results, { isComplete: positionals.length === 0, isRecorded: values.record })
  const hasFailed = results.some(({ failure }) => failure !== undefined)
  process.exitCode = hasFailed || worse.length > 0 ? 1 : 0
}

/** In a process of its own: some libraries make every promise slower from the moment that they are loaded. */
function runApart(name) {
  const folder = mkdtempSync(join(tmpdir(), 'authkeep-bench-result-'))
  try {
    const path = join(folder, 'result.json')
    const words = process.argv.slice(2).filter((word) => !positionals.includes(word))
    const { status } = spawnSync(process.execPath, [import.meta.filename, name, '--result', path, ...words], {
      stdio: 'inherit',
    })
    if (status === 0) return JSON.parse(readFileSync(path, 'utf8'))
    return { name, about: '', environment: {}, tables: [], failure: `its process ended with ${status}` }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** What is worse than recorded, and is so again when its case is run once more: a busy moment is no change. */
function worseTwice(first) {
  const suspects = first.filter((result) => comparedWithRecorded(result).length > 0)
  return suspects.flatMap(({ name }) => comparedWithRecorded(runApart(name)))
}

/** One case; of one that breaks off, what was measured by then, and why. */
async function run(name) {
  const { about, tables } = await import(`./cases/${name}.mjs`)
  const scratch = new Scratch(name)
  const peers = new Peers()
  const measured = []
  let failure
  let environment
  try {
    const bench = {
      dist: resolve(values.dist ?? join(here, '../dist')),
      /** How many rounds: `--rounds`, or the first number, or with `--quick` the second. */
      rounds: (full, quick) => Number(values.rounds ?? (values.quick ? quick : full)),
      isQuick: values.quick,
      peers,
      scratch,
    }
    for await (const table of tables(bench)) measured.push(await measure(table))
  } catch (error) {
    failure = String(error)
    console.error(error)
  } finally {
    environment = environmentOf(scratch.path, peers.versions)
    await scratch.close()
  }
  const result = { name, about, environment, tables: measured, failure }
  console.log(`${asText(result)}\n`)
  return result
}
