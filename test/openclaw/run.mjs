// The real OpenClaw with the plugin of examples/openclaw-plugin, against servers on this machine. OpenClaw and the Node
// that it wants come from the registry, some 770 MB on disk, and stay in the temporary directory for the next run.
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const versions = { openclaw: '2026.9.6', node: '24.21.0' }

const root = fileURLToPath(new URL('../..', import.meta.url))
const program = join(tmpdir(), `authkeep-openclaw-${versions.openclaw}-node-${versions.node}`)
const folder = mkdtempSync(join(tmpdir(), 'authkeep-openclaw-'))
const quiet = ['--no-audit', '--no-fund', '--no-update-notifier', '--loglevel=error']

/** What it printed; anything but success ends the run. */
function run(command, args, cwd) {
  try {
    return execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim()
  } catch (error) {
    console.error(`${command} ${args.join(' ')}\n${error.stdout ?? ''}${error.stderr ?? ''}`)
    throw new Error(`${command} failed with ${error.status ?? error.code}`)
  }
}

function installProgram() {
  const done = join(program, 'complete')
  if (existsSync(done)) return
  mkdirSync(program, { recursive: true })
  writeFileSync(join(program, 'package.json'), '{ "private": true }\n')
  // The scripts of OpenClaw's installation run on the Node that is there by then, whichever runs npm.
  for (const name of ['node', 'openclaw']) {
    run('npm', ['install', '--save-exact', '--engine-strict=false', ...quiet, `${name}@${versions[name]}`], program)
  }
  writeFileSync(done, '')
}

/** The plugins as directories to install from, ours with the authkeep that would be published. */
function makePlugins() {
  const plugin = join(folder, 'plugin')
  cpSync(join(root, 'examples/openclaw-plugin'), plugin, { recursive: true })
  const [{ filename }] = JSON.parse(
    run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], root),
  )
  run('npm', ['install', '--omit=peer', '--ignore-scripts', ...quiet, join(folder, filename)], plugin)
  cpSync(join(root, 'test/openclaw/usual-plugin'), join(folder, 'usual-plugin'), { recursive: true })
}

/** What openClawProvider returns is what OpenClaw's own declarations ask for. */
function typeCheck() {
  const compilerOptions = {
    ...{ allowJs: true, checkJs: true, strict: true, skipLibCheck: true, noEmit: true },
    ...{ module: 'nodenext', target: 'es2023', types: ['node'], typeRoots: [join(root, 'node_modules/@types')] },
    paths: { 'openclaw/*': [join(program, 'node_modules/openclaw/dist/*.d.ts')] },
  }
  const path = join(folder, 'tsconfig.json')
  writeFileSync(path, JSON.stringify({ compilerOptions, files: ['plugin/index.js'] }))
  run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', path], folder)
  console.log("The plugin type-checks against OpenClaw's declarations.")
}

try {
  installProgram()
  makePlugins()
  typeCheck()
  const node = join(program, 'node_modules/node/bin/node')
  const { version } = JSON.parse(readFileSync(join(program, 'node_modules/openclaw/package.json'), 'utf8'))
  console.log(`openclaw ${version} on node ${run(node, ['--version'], program)}`)
  const { status } = spawnSync(
    process.execPath,
    [resolve(root, 'node_modules/vitest/vitest.mjs'), 'run', '--mode', 'openclaw', ...process.argv.slice(2)],
    {
      cwd: root,
      stdio: 'inherit',
      env: { ...process.env, AUTHKEEP_OPENCLAW: program, AUTHKEEP_OPENCLAW_FOLDER: folder },
    },
  )
  process.exitCode = status ?? 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
