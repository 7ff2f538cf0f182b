// Tests what would be published: packs it, installs it into an empty folder, and uses it as a stranger would.
import { execFileSync } from 'node:child_process'
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const consumer = mkdtempSync(join(tmpdir(), 'authkeep-package-'))
const cases = join(root, 'test', 'package')
const quietNpm = {
  ...process.env,
  npm_config_update_notifier: 'false',
  npm_config_fund: 'false',
  npm_config_audit: 'false',
}

/** Runs a program and returns its stdout; anything but success ends the test with what it printed. */
function run(program, args, options = {}) {
  try {
    const stdio = ['ignore', 'pipe', 'pipe']
    return execFileSync(program, args, { cwd: consumer, encoding: 'utf8', env: quietNpm, stdio, ...options }).trim()
  } catch (error) {
    console.error(`${program} ${args.join(' ')}\n${error.stdout ?? ''}${error.stderr ?? ''}`)
    throw new Error(`${program} failed with ${error.status ?? error.code}`)
  }
}

function assert(condition, sentence) {
  if (!condition) throw new Error(sentence)
  console.log(`  ${sentence}`)
}

function pack() {
  if (!process.argv.includes('--no-build')) run(process.execPath, ['scripts/build.mjs'], { cwd: root })
  const [{ filename, files }] = JSON.parse(
    run('npm', ['pack', '--json', '--pack-destination', consumer], { cwd: root }),
  )
  const paths = files.map(({ path }) => path)
  for (const path of [
    'package.json',
    'dist/index.js',
    'dist/index.d.ts',
    'dist/cli/main.js',
    'dist/store/contract.js',
  ]) {
    if (!paths.includes(path)) throw new Error(`${path} is not in the package`)
  }
  const stray = paths.filter(
    (path) =>
      !/^(dist\/.*\.(js|js\.map|d\.ts)|src\/.*\.ts|docs\/schemas\/.*\.json|package\.json|[A-Z]+(\.md)?)$/.test(path),
  )
  assert(stray.length === 0, `the package holds nothing but what it should${stray.map((path) => ` (${path})`)}`)
  return filename
}

function install(tarball) {
  writeFileSync(join(consumer, 'package.json'), '{ "name": "consumer", "private": true, "type": "module" }\n')
  run('npm', ['install', `./${tarball}`])
  const { packages } = JSON.parse(readFileSync(join(consumer, 'package-lock.json'), 'utf8'))
  const scripted = Object.entries(packages).filter(([, each]) => each.hasInstallScript === true)
  assert(
    scripted.length === 0,
    `none of ${Object.keys(packages).length - 1} packages has an install script${scripted.map(([name]) => ` (${name})`)}`,
  )
  for (const file of readdirSync(cases)) copyFileSync(join(cases, file), join(consumer, file))
}

function tryOn(node) {
  const version = run(node, ['--version'])
  console.log(`node ${version}`)
  for (const file of ['import.mjs', 'require.mjs']) assert(run(node, [file]) === 'ok', `${file} works`)
  const { version: own } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const main = join('node_modules', 'authkeep', 'dist', 'cli', 'main.js')
  assert(run(node, [main, '--version']) === own, `authkeep --version prints ${own}`)
}

/** The examples against what is packed; the authorization server in them is the one of this repository. */
function tryExamples() {
  const examples = join(root, 'build/examples')
  const js = (path) => !/\.[a-z.]+$/.test(path) || path.endsWith('.js')
  cpSync(examples, join(consumer, 'examples'), { recursive: true, filter: (path) => js(path.slice(root.length)) })
  symlinkSync(join(root, 'node_modules/oidc-provider'), join(consumer, 'node_modules/oidc-provider'))
  const env = { ...quietNpm, AUTHKEEP_HOME: join(consumer, 'home') }
  const example = (name) => run(process.execPath, [join('examples', `${name}.js`)], { env })
  assert(example('embedded').includes('GET /mail with a token for mail:read: 200'), 'examples/embedded.ts works')
  assert(example('onboarding') === 'Everything is set up.', 'examples/onboarding.ts works')
  assert(example('demo/main').includes('8 of 8 scenes hold'), 'the demo works')
}

/** The path of another line's node, from the registry. */
function nodeOfLine(line) {
  return run('npx', ['-y', `node@${line}`, '-p', 'process.execPath'])
    .split('\n')
    .at(-1)
}

/** Type-checks a consumer and, by name, every declaration file, none of them excused by skipLibCheck. */
function typeCheck(module, moduleResolution) {
  const emitted = readdirSync(join(consumer, 'node_modules/authkeep/dist'), { recursive: true })
    .filter((path) => path.endsWith('.d.ts'))
    .map((path) => `node_modules/authkeep/dist/${path}`)
  const config = {
    compilerOptions: {
      ...{ module, moduleResolution, target: 'es2022', strict: true, exactOptionalPropertyTypes: true },
      ...{ noEmit: true, skipLibCheck: false, types: ['node'], typeRoots: [join(root, 'node_modules/@types')] },
    },
    files: ['consumer.ts', ...emitted],
  }
  const path = join(consumer, `tsconfig.${moduleResolution}.json`)
  writeFileSync(path, JSON.stringify(config))
  run(process.execPath, [resolve(root, 'node_modules/typescript/bin/tsc'), '-p', path])
  assert(emitted.length > 0, `a consumer and ${emitted.length} declaration files type-check under ${moduleResolution}`)
}

try {
  mkdirSync(consumer, { recursive: true })
  install(pack())
  tryOn(process.execPath)
  for (const line of [22, 24]) tryOn(nodeOfLine(line))
  assert(/^\d+\.\d+\.\d+/.test(run('npx', ['--no-install', 'authkeep', '--version'])), 'npx authkeep --version works')
  tryExamples()
  typeCheck('nodenext', 'nodenext')
  typeCheck('esnext', 'bundler')
} finally {
  rmSync(consumer, { recursive: true, force: true })
}
