// The benchmarks: authkeep beside its peers, interleaved in one run.
//
//   npm run bench -- [<case> …]  [--quick] [--record] [--dist <folder>] [--rounds <n>]
//
// Without a case: all of them, and a summary. Results are printed, and written to bench/results/. With --record they are
// what later runs are compared with (bench/recorded/, kept with the source); with --quick they are compared, and nothing
// is written. Exit code 1: a goal was not met; with --quick, a ratio is more than twice the recorded one.
import { readdirSync } from 'node:fs'
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
  },
})
const unknown = positionals.filter((name) => !all.includes(name))
if (unknown.length > 0) {
  console.error(`There is no case ${unknown.join(', ')}. There are: ${all.join(', ')}`)
  process.exit(2)
}

const started = performance.now()
const results = []
for (const name of positionals.length > 0 ? positionals : all) results.push(await run(name))
console.log(summary(results))
console.log(`\n${Math.round((performance.now() - started) / 1_000)} s in all`)
const worse = values.quick ? results.flatMap(comparedWithRecorded) : []
for (const line of worse) console.error(line)
const isMissed = results.some(({ tables }) => tables.some(({ goals }) => goals.some(({ isMet }) => isMet === false)))
const hasFailed = results.some(({ failure }) => failure !== undefined)
if (!values.quick) write(results, { isComplete: positionals.length === 0, isRecorded: values.record })
process.exitCode = hasFailed || (values.quick ? worse.length > 0 : isMissed) ? 1 : 0

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
