// What a package can do wrong besides its code, judged on the tarball that would be published: its entries and types,
// its size, what it brings along, and whether it is as free of side effects as it says. The limits are in budget.json.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { rolldown } from 'rolldown'

const root = fileURLToPath(new URL('..', import.meta.url))
const consumer = mkdtempSync(join(tmpdir(), 'authkeep-hygiene-'))
const budget = JSON.parse(readFileSync(join(root, 'scripts/budget.json'), 'utf8'))
const env = { ...process.env, npm_config_update_notifier: 'false', npm_config_fund: 'false', npm_config_audit: 'false' }
const read = (...path) => JSON.parse(readFileSync(join(consumer, ...path), 'utf8'))
const failures = []

function check(good, sentence) {
  console.log(`${good ? '  ok  ' : '  FAIL'} ${sentence}`)
  if (!good) failures.push(sentence)
}

const within = (what, bytes, limit) =>
  check(bytes <= limit, `${what}: ${bytes} bytes of ${limit ?? 'no limit in budget.json'}`)

const npm = (args, cwd = consumer) =>
  execFileSync('npm', args, { cwd, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })

function pack() {
  const [packed] = JSON.parse(npm(['pack', '--json', '--pack-destination', consumer], root))
  within('packed', packed.size, budget.tarball.packed)
  within('unpacked', packed.unpackedSize, budget.tarball.unpacked)
  return join(consumer, packed.filename)
}

async function lint(tarball) {
  const { messages, pkg } = await publint({
    pack: { tarball: Uint8Array.from(readFileSync(tarball)).buffer },
    strict: true,
  })
  check(
    messages.length === 0,
    `publint, strict${messages.map((each) => `\n         ${formatMessage(each, pkg)}`).join('')}`,
  )
  const attw = join(dirname(fileURLToPath(import.meta.resolve('@arethetypeswrong/cli/package.json'))), 'dist/index.js')
  const { status, stdout } = spawnSync(process.execPath, [attw, tarball, '--profile', 'esm-only', '--no-emoji'], {
    encoding: 'utf8',
  })
  check(status === 0, `are the types wrong, esm-only${status === 0 ? '' : `\n${stdout}`}`)
}

/** What comes with the package, as it resolves today, each with its licence; optional peers do not come with it. */
function dependencies(tarball) {
  writeFileSync(join(consumer, 'package.json'), '{ "name": "consumer", "private": true, "type": "module" }\n')
  npm(['install', '--silent', '--ignore-scripts', tarball])
  const installed = Object.entries(read('node_modules/.package-lock.json').packages)
  for (const [path, { version, hasInstallScript }] of installed) {
    const { name, license } = read(path, 'package.json')
    const good = budget.licences.includes(license) && hasInstallScript !== true
    check(good, `${name} ${version}, ${license ?? 'no licence'}${hasInstallScript ? ', with an install script' : ''}`)
  }
}

function audit() {
  const { stdout } = spawnSync('npm', ['audit', '--omit=dev', '--json'], { cwd: consumer, env, encoding: 'utf8' })
  const { message, error, vulnerabilities } = JSON.parse(stdout)
  if (vulnerabilities === undefined) console.log(`  not run: npm audit: ${message ?? error?.summary}`)
  else
    check(Object.keys(vulnerabilities).length === 0, `npm audit: ${Object.keys(vulnerabilities).join(', ') || 'none'}`)
}

/** Bundles an entry with all that comes with the package; files are reached from it at once, or when they are needed. */
async function bundled(code, external) {
  const input = join(consumer, 'entry.mjs')
  writeFileSync(input, code)
  const built = await rolldown({ input, cwd: consumer, platform: 'node', external })
  const { output } = await built.generate({ format: 'esm', minify: true })
  await built.close()
  const files = new Map(output.map((each) => [each.fileName, each]))
  const reach = (edges, name = output.find(({ isEntry }) => isEntry).fileName, seen = new Set()) => {
    const file = files.get(name)
    if (file === undefined || seen.has(file)) return seen
    seen.add(file)
    for (const next of edges(file)) reach(edges, next, seen)
    return seen
  }
  const size = (reached) => [...reached].reduce((sum, file) => sum + Buffer.byteLength(file.code), 0)
  const start = reach(({ imports }) => imports)
  const all = reach(({ imports, dynamicImports }) => [...imports, ...dynamicImports])
  return { start: size(start), all: size(all), modules: [...all].flatMap(({ moduleIds }) => moduleIds) }
}

async function bundles({ exports, peerDependencies }) {
  const external = Object.keys(peerDependencies)
  const subpaths = Object.keys(exports).filter((path) => path !== './package.json')
  const named = (path) => path.replace('.', 'authkeep')
  const entries = [
    ['a broker over a file', "export { openStore, TokenBroker } from 'authkeep'"],
    ...subpaths.map((path) => [named(path), `export * from '${named(path)}'`]),
  ]
  for (const [what, code] of entries) {
    const { start, all } = await bundled(code, external)
    within(`${what}, loaded at once`, start, budget.bundled[what]?.start)
    within(`${what}, with what is loaded when it is needed`, all, budget.bundled[what]?.all)
  }
  const known = entries.map(([what]) => what)
  check(
    Object.keys(budget.bundled).every((what) => known.includes(what)),
    'budget.json names nothing that is not there',
  )
  const effects = subpaths.map((path) => `import '${named(path)}'`).join('\n')
  const { modules } = await bundled(effects, external)
  const left = modules.filter((id) => id.includes('node_modules'))
  check(left.length === 0, `nothing is left of imports for their side effects${left.map((id) => `\n         ${id}`)}`)
  for (const path of subpaths)
    check(changedBy(named(path)) === '', `${named(path)} changes nothing when it is imported`)
}

/** A bundler believes `sideEffects: false`; this looks. */
function changedBy(specifier) {
  const program = `
    const seen = () => JSON.stringify({
      globals: Reflect.ownKeys(globalThis).map(String),
      builtins: [Object, Array, String, Promise, Error, Function, Map, Set, Date, URL, Headers, Request, Response].map(
        (each) => [each, each.prototype].map((owner) => Reflect.ownKeys(owner).map(String)),
      ),
      fetch: String(globalThis.fetch),
      listeners: process.eventNames().map((name) => [String(name), process.listenerCount(name)]),
      environment: process.env,
      active: process.getActiveResourcesInfo(),
    })
    seen() // Node itself loads some of its globals when they are first looked at
    await new Promise(setImmediate)
    const before = seen()
    await import('${specifier}')
    await new Promise(setImmediate)
    if (seen() !== before) console.log(before + '\\n' + seen())`
  return execFileSync(process.execPath, ['--input-type=module', '-e', program], { cwd: consumer, encoding: 'utf8' })
}

try {
  const tarball = pack()
  await lint(tarball)
  dependencies(tarball)
  audit()
  await bundles(read('node_modules/authkeep/package.json'))
} finally {
  rmSync(consumer, { recursive: true, force: true })
}
if (failures.length > 0) process.exitCode = 1
console.log(failures.length === 0 ? 'all is well' : `${failures.length} of these fail`)
