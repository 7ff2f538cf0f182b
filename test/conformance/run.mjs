// The OAuth client suite of @modelcontextprotocol/conformance against authkeep, and one table of what it found.
//
//   node test/conformance/run.mjs [--only auth/scope-step-up] [--verbose]
//
// Run after `npm run build`. The suite's servers listen on every interface, so it is run in a network namespace with
// nothing but loopback in it; where that is not permitted it is "not run", and the reason is said. Exit code 1: a check
// failed or warned, a scenario was left out, or the client did not end as it must.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { runs } from './scenarios.mjs'

const { values } = parseArgs({
  options: { only: { type: 'string' }, verbose: { type: 'boolean', default: false } },
})
const here = fileURLToPath(new URL('.', import.meta.url))
// In a folder of its own, or its package.json would stand between the client and the name of our package.
const installed = join(here, 'harness')
const harness = join(installed, 'node_modules/@modelcontextprotocol/conformance/dist/index.js')

/** The command words that put a program into a network namespace of its own, or why there are none. */
function isolation() {
  if (process.platform !== 'linux') return { reason: 'network namespaces are a feature of Linux' }
  let reason
  for (const ways of [['-n'], ['-rn']]) {
    const words = ['unshare', ...ways, 'sh', '-c', 'ip link set lo up && exec "$0" "$@"']
    const { error, status, stderr } = spawnSync(words[0], [...words.slice(1), 'true'], { encoding: 'utf8' })
    if (status === 0) return { words }
    reason ??= error?.message ?? stderr.trim().split('\n')[0]
  }
  return { reason: `no network namespace of our own (${reason})` }
}

/** The harness needs Node 22, and the client that it starts is TypeScript. */
function recentNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  if (major > 22 || (major === 22 && minor >= 18)) return process.execPath
  return output('npx', ['-y', 'node@24', '-p', 'process.execPath']).trim()
}

function output(command, words, options = {}) {
  const { error, status, stdout, stderr } = spawnSync(command, words, { encoding: 'utf8', ...options })
  if (status === 0) return stdout
  throw new Error(`${command} ${words.join(' ')}: ${error?.message ?? stderr.trim()}`)
}

const { words, reason } = isolation()
if (words === undefined) {
  console.log(`conformance: not run: ${reason}`)
  process.exit(0)
}
if (!existsSync(harness)) output('npm', ['ci', '--no-audit', '--no-fund'], { cwd: installed })
const node = recentNode()
const directory = mkdtempSync(join(tmpdir(), 'authkeep-conformance-'))
const env = { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env.PATH ?? ''}` }
let rows
try {
  rows = runs.flatMap((run) => rowsOf(run))
} finally {
  rmSync(directory, { recursive: true, force: true })
}
console.log(tableText(rows))
const bad = rows.filter(({ problems }) => problems.length > 0)
for (const { name, at, problems } of bad)
  console.log(`\n${name} (${at})\n${problems.map((each) => `  ${each}`).join('\n')}`)
const checks = rows.reduce((sum, { passed }) => sum + passed, 0)
console.log(`\n${rows.length - bad.length} of ${rows.length} scenarios, ${checks} checks passed`)
process.exit(bad.length > 0 || rows.length === 0 ? 1 : 0)

function rowsOf({ at, options, scenarios }) {
  const wanted = values.only === undefined ? scenarios : scenarios.filter(({ name }) => name === values.only)
  if (wanted.length === 0) return []
  const results = mkdtempSync(join(directory, 'results-'))
  const command = [node, harness, 'client', '--command', 'node client.ts', '--output-dir', results, ...options]
  if (values.only !== undefined) command.splice(command.indexOf('--suite'), 2, '--scenario', values.only)
  const { stdout, stderr } = spawnSync(words[0], [...words.slice(1), ...command], { cwd: here, env, encoding: 'utf8' })
  if (values.verbose) console.log(stdout, stderr)
  return wanted.map((scenario) => ({ at, ...rowOf(scenario, results, stderr) }))
}

/** One scenario: what it checked, and how our client ended. Only what the harness wrote down counts. */
function rowOf({ name, needs, ends = 'served' }, results, stderr) {
  const there = resultsOf(results, name)
  if (there === undefined) return { name, needs, passed: 0, problems: [`not run: ${stderr.trim().split('\n').at(-1)}`] }
  const checks = JSON.parse(readFileSync(join(there, 'checks.json'), 'utf8'))
  const failed = checks.filter(({ status }) => status === 'FAILURE' || status === 'WARNING')
  const problems = failed.map(({ status, id, description, errorMessage }) => {
    return `${status} ${id}: ${description}${errorMessage === undefined ? '' : ` (${errorMessage})`}`
  })
  const passed = checks.filter(({ status }) => status === 'SUCCESS').length
  if (passed === 0) problems.push('no check was made')
  const said = readFileSync(join(there, 'stdout.txt'), 'utf8').trim().split('\n').at(-1)
  const told =
    readFileSync(join(there, 'stderr.txt'), 'utf8')
      .split('\n')
      .find((line) => /error/i.test(line)) ?? ''
  if (!said.startsWith(ends)) problems.push(`the client must end "${ends}" and ended "${said || told}"`)
  return { name, needs, passed, problems }
}

function resultsOf(results, name) {
  const [folder, scenario] = name.split('/')
  if (!existsSync(join(results, folder))) return undefined
  const found = readdirSync(join(results, folder)).find((each) => each.replace(/-\d{4}-\d\d-\d\dT.*$/, '') === scenario)
  return found === undefined ? undefined : join(results, folder, found)
}

function tableText(list) {
  const lines = [
    ['scenario', 'at', 'passed', 'failed', 'what it needs'],
    ...list.map(({ name, at, needs, passed, problems }) => [name, at, String(passed), String(problems.length), needs]),
  ]
  const widths = lines[0].map((_, n) => Math.max(...lines.map((line) => line[n].length)))
  const text = (line) => line.map((cell, n) => (n === 2 || n === 3 ? cell.padStart(widths[n]) : cell.padEnd(widths[n])))
  return lines.map((line) => text(line).join('  ').trimEnd()).join('\n')
}
