// The benchmarks: authkeep beside its peers, interleaved in one run.
//
//   npm run bench -- <case> …  [--quick] [--dist <folder>] [--rounds <n>]
//
// Results are printed, and written to bench/results/. Exit code 1: a goal was not met.
import { readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { environmentOf } from './environment.mjs'
import { Peers } from './peers.mjs'
import { report } from './report.mjs'
import { measure } from './runner.mjs'
import { Scratch } from './scratch.mjs'

const here = fileURLToPath(new URL('.', import.meta.url))
const all = readdirSync(join(here, 'cases')).map((file) => file.replace(/\.mjs$/, ''))
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: 'boolean', default: false }, dist: { type: 'string' }, rounds: { type: 'string' } },
})
const unknown = positionals.filter((name) => !all.includes(name))
if (unknown.length > 0 || positionals.length === 0) {
  console.error(`Name one or more of: ${all.join(', ')}`)
  process.exit(2)
}

let isMissed = false
for (const name of positionals) {
  const { about, tables } = await import(`./cases/${name}.mjs`)
  const scratch = new Scratch(name)
  const peers = new Peers()
  try {
    const bench = {
      dist: resolve(values.dist ?? join(here, '../dist')),
      /** How many rounds: `--rounds`, or the first number, or with `--quick` the second. */
      rounds: (full, quick) => Number(values.rounds ?? (values.quick ? quick : full)),
      isQuick: values.quick,
      peers,
      scratch,
    }
    const measured = []
    for await (const table of tables(bench)) measured.push(await measure(table))
    console.log(`${report(name, about, environmentOf(scratch.path, peers.versions), measured)}\n`)
    isMissed ||= measured.some(({ goals }) => goals.some(({ isMet }) => isMet === false))
  } finally {
    await scratch.close()
  }
}
process.exitCode = isMissed ? 1 : 0
