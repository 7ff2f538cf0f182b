// The crash laboratory: attacks on the built library, and one table of what was lost.
//
//   node test/lab/run.mjs [--quick] [--only kill,chaos] [--seed 1] [--dist dist] [--json]
//
// Run as root on Linux after `npm run build` and test/lab/install.sh. What this machine does not permit is a row "not
// run" with the reason, and named again in the last line. Exit code 1: something was lost or not recovered, or an attack
// did not even hurt a peer that must lose.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Lab, NotRun } from './attacks/lab.mjs'
import { figuresText, legend, tableText } from './table.mjs'

const attacks = [
  ...[
    'kill',
    'onboarding',
    'errno',
    'permissions',
    'full',
    'dead-holder',
    'stampede',
    'chaos',
    'writers',
    'corruption',
    'mounts',
  ],
  'power-cut',
]
const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    only: { type: 'string' },
    seed: { type: 'string', default: '1' },
    dist: { type: 'string' },
  },
})
const chosen = values.only === undefined ? attacks : values.only.split(',')
const unknown = chosen.filter((name) => !attacks.includes(name))
if (unknown.length > 0) {
  console.error(`no attack is called ${unknown.join(', ')}; there are ${attacks.join(', ')}`)
  process.exit(2)
}

if (process.platform !== 'linux') {
  console.log(tableText(chosen.map((attack) => ({ attack, notRun: 'needs Linux' }))))
  process.exit(0)
}

// In namespaces of our own every mount, loop device and child is gone when we are, whatever ends us.
const inside = process.env['AUTHKEEP_LAB_INSIDE']
if (inside === undefined) {
  const ways = ['--mount', '--pid', '--fork', '--mount-proc', '--kill-child', '--propagation', 'private']
  const trial = spawnSync('setpriv', ['--pdeathsig', 'KILL', 'unshare', ...ways, 'true'], { encoding: 'utf8' })
  const isPermitted = trial.status === 0
  const refusal = trial.stderr?.trim() || 'setpriv and unshare are not installed'
  const script = [process.execPath, fileURLToPath(import.meta.url), ...process.argv.slice(2)]
  // A shell as the first process of the namespace collects orphans that have died.
  const inNamespaces = ['setpriv', '--pdeathsig', 'KILL', 'unshare', ...ways, 'bash', '-c', '"$@"; exit $?', 'lab']
  const [program, ...words] = [...(isPermitted ? inNamespaces : []), ...script]
  const root = mkdtempSync(join(tmpdir(), 'authkeep-lab-'))
  process.on('exit', () => rmSync(root, { recursive: true, force: true }))
  const child = spawn(program, words, {
    stdio: 'inherit',
    env: { ...process.env, AUTHKEEP_LAB_INSIDE: isPermitted ? 'namespaces' : refusal, AUTHKEEP_LAB_ROOT: root },
  })
  // Ctrl-C reaches the child by itself. What ends us ends it, and then what it has left is removed.
  process.on('SIGINT', () => {})
  for (const signal of /** @type {const} */ (['SIGTERM', 'SIGHUP'])) process.on(signal, () => child.kill('SIGKILL'))
  const [code] = await once(child, 'close')
  process.exit(code ?? 1)
}

const lab = new Lab({
  quick: values.quick,
  root: process.env['AUTHKEEP_LAB_ROOT'],
  seed: Number(values.seed),
  built: values.dist,
})
process.on('exit', () => lab.clean())
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) process.on(signal, () => process.exit(130))

const started = performance.now()
/** @type {(import('./attacks/lab.mjs').Row | { attack: string, notRun: string } | { attack: string, broken: string })[]} */
const rows = []
for (const name of chosen) {
  const from = performance.now()
  if (!values.json) process.stderr.write(`${name} …`)
  const { run } = await import(`./attacks/${name}.mjs`)
  // A process that hangs must not hang the laboratory: without it, whoever waits for it goes on, and says so.
  const watchdog = setTimeout(() => lab.killAll(), 300_000)
  try {
    for await (const row of run(lab)) rows.push(row)
  } catch (error) {
    rows.push(
      error instanceof NotRun ? { attack: name, notRun: error.message } : { attack: name, broken: String(error.stack) },
    )
  }
  clearTimeout(watchdog)
  if (!values.json) process.stderr.write(` ${((performance.now() - from) / 1000).toFixed(1)} s\n`)
}
lab.figure('the whole run', `${((performance.now() - started) / 1000).toFixed(0)} s, seed ${lab.seed}`)

/** Why the run as a whole is not well, in words. */
const faults = rows.flatMap((row) => {
  if ('broken' in row) return [`${row.attack}: ${row.broken}`]
  if ('notRun' in row) return []
  if (row.subject !== undefined) {
    return row.mustLose && row.lost === 0
      ? [`${row.attack}: ${row.subject} was not hurt, so the attack proves nothing`]
      : []
  }
  return row.lost + row.unrecovered > 0
    ? [`${row.attack} (${row.fs}): ${row.lost} lost, ${row.unrecovered} unrecovered`]
    : []
})
if (values.json) {
  console.log(JSON.stringify({ seed: lab.seed, quick: lab.quick, rows, figures: lab.figures, faults }, null, 2))
} else {
  console.log(`${tableText(rows)}\n\n${legend}\n\n${figuresText(lab.figures)}\n`)
  const notRun = rows.filter((row) => 'notRun' in row).length
  console.log(
    [
      faults.length === 0 ? 'Nothing was lost.' : `NOT WELL:\n${faults.map((fault) => `  ${fault}`).join('\n')}`,
      ...(notRun > 0 ? [`Not run on this machine: ${notRun} of ${rows.length} rows; the table says why.`] : []),
    ].join('\n'),
  )
}
process.stdout.write('', () => process.exit(faults.length === 0 ? 0 : 1))
