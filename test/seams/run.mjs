// The programs of examples/seams as a stranger has them: the packed authkeep beside the real packages of the others, in
// a folder of their own, type-checked there and run by the tests of --mode seams. Needs Node 22.19, as those packages do.
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'authkeep-seams-'))
const typescript = resolve(root, 'node_modules/typescript/bin/tsc')
const quiet = ['--no-audit', '--no-fund', '--no-update-notifier', '--ignore-scripts', '--loglevel=error']

/** What it printed; anything but success ends the run. */
function run(program, args, cwd) {
  try {
    return execFileSync(program, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim()
  } catch (error) {
    console.error(`${program} ${args.join(' ')}\n${error.stdout ?? ''}${error.stderr ?? ''}`)
    throw new Error(`${program} failed with ${error.status ?? error.code}`)
  }
}

function suitableNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  if (major > 22 || (major === 22 && minor >= 19)) return process.execPath
  return run('npx', ['-y', 'node@24', '-p', 'process.execPath'], root).split('\n').at(-1)
}

try {
  cpSync(join(root, 'examples/seams'), folder, { recursive: true, filter: (path) => !path.includes('node_modules') })
  const [{ filename }] = JSON.parse(
    run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], root),
  )
  run('npm', ['ci', ...quiet], folder)
  run('npm', ['install', '--no-save', ...quiet, `./${filename}`], folder)
  run(process.execPath, [typescript, '-p', folder, '--typeRoots', join(root, 'node_modules/@types')], folder)
  console.log('The programs of examples/seams type-check against the packed authkeep and the real packages.')
  const node = suitableNode()
  console.log(`They run on node ${run(node, ['--version'], folder)}`)
  const { status } = spawnSync(
    node,
    [resolve(root, 'node_modules/vitest/vitest.mjs'), 'run', '--mode', 'seams', ...process.argv.slice(2)],
    { cwd: root, stdio: 'inherit', env: { ...process.env, AUTHKEEP_SEAMS: folder } },
  )
  process.exitCode = status ?? 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
