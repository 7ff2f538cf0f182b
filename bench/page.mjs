// Writes the recorded results into docs/benchmarks.md, between its two marks; with --check: says whether they are there.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { section } from './report.mjs'

const recorded = fileURLToPath(new URL('recorded', import.meta.url))
const path = fileURLToPath(new URL('../docs/benchmarks.md', import.meta.url))
const results = readdirSync(recorded)
  .filter((file) => file.endsWith('.json'))
  .map((file) => JSON.parse(readFileSync(join(recorded, file), 'utf8')))

const tables = results.flatMap(({ name, about, tables }) => [
  `### ${name}: ${about}`,
  ...tables.map((table) => section(table, '####')),
])
const peers = new Set(results.flatMap(({ environment }) => environment.peers.split(', ')))
peers.delete('none')
const [{ environment }] = results
const where = [
  `${environment.date.slice(0, 10)}, Node ${environment.node.slice(1)}, ${environment.system}, ${environment.processor}.`,
  `Beside it: ${[...peers].sort().join(', ')}.`,
].join(' ')

const page = readFileSync(path, 'utf8')
const [begin, end] = ['<!-- begin: made of bench/recorded by bench/page.mjs -->', '<!-- end -->']
const fresh = `${page.slice(0, page.indexOf(begin))}${begin}\n\n${[where, ...tables].join('\n\n')}\n\n${page.slice(page.indexOf(end))}`
if (!process.argv.includes('--check')) writeFileSync(path, fresh)
else if (fresh !== page) {
  console.error('docs/benchmarks.md is not what was recorded: node bench/page.mjs')
  process.exitCode = 1
}
