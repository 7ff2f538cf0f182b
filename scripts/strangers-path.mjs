// Does what docs/quick-start.md says, as a stranger would: a fresh clone of HEAD, the packed tarball, a folder elsewhere,
// and a robot at the browser. What comes out is compared with what the page shows, "…" standing for anything. The times
// are printed, not judged.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const page = readFileSync(join(root, 'docs/quick-start.md'), 'utf8')
const folder = mkdtempSync(join(tmpdir(), 'authkeep-stranger-'))
const clone = join(folder, 'clone')
const elsewhere = join(folder, 'elsewhere')
const quiet = { npm_config_update_notifier: 'false', npm_config_fund: 'false', npm_config_audit: 'false' }
const times = []

/** The page as steps: what to run, with the output shown for it if any, and files to save. */
function stepsOf(markdown) {
  const steps = []
  let heading = ''
  const parts = markdown.matchAll(/^## (.+)$|^```(\w+)\n([\s\S]*?)^```$|Save this as `([^`]+)`/gm)
  let file
  for (const [, title, language, code, name] of parts) {
    if (title !== undefined) heading = title
    else if (name !== undefined) file = name
    else if (language === 'sh') steps.push({ heading, run: code })
    else if (language === 'text') steps.at(-1).shown = code
    else steps.push({ heading, file, code })
  }
  return steps
}

async function timed(what, act) {
  const begun = performance.now()
  const result = await act()
  times.push([what, performance.now() - begun])
  return result
}

/** Runs lines in one shell; whoever is asked to open an address is the robot. Resolves with stdout. */
async function shell(lines, { cwd, env = {}, until }) {
  const child = spawn('bash', ['-e', '-c', lines], {
    ...{ cwd, stdio: ['ignore', 'pipe', 'inherit'], detached: until !== undefined },
    env: { ...process.env, ...quiet, ...env },
  })
  const printed = []
  const exit = once(child, 'exit')
  for await (const line of createInterface({ input: child.stdout })) {
    printed.push(line)
    const [, address] = /^Open (http\S+)$/.exec(line) ?? []
    if (address !== undefined) await logIn(new URL(address))
    if (until !== undefined && line.includes(until)) return { child, printed }
  }
  const [code] = await exit
  if (code !== 0) throw new Error(`"${lines.trim()}" ended with ${code}:\n${printed.join('\n')}`)
  return { child, printed }
}

async function logIn(address) {
  const robot = pathToFileURL(join(clone, 'build/examples/server/robot.js')).href
  const { completeLogin } = await import(robot)
  const { status } = await completeLogin(address)
  if (status !== 200) throw new Error(`the login page ended with ${status}`)
}

function compare(printed, shown) {
  const escaped = shown.trimEnd().replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')
  const pattern = new RegExp(`^${escaped.replaceAll('…', '[\\s\\S]*')}[\\s]*$`)
  if (!pattern.test(printed)) throw new Error(`the page shows\n${shown}\nand what came was\n${printed}`)
}

let server
try {
  mkdirSync(elsewhere)
  await timed('git clone', () => execFileSync('git', ['clone', '-q', root, clone]))
  const [serve, settle, ...steps] = stepsOf(page)
  const [install = '', ...serverLines] = serve.run.trim().split('\n')
  await timed(install, () => shell(install, { cwd: clone }))
  const started = await timed(serverLines.join(' '), () =>
    shell(serverLines.join('\n'), { cwd: clone, until: 'Ctrl-C ends it' }),
  )
  server = started.child
  server.stdout.resume()
  const { printed: packed } = await timed('npm pack', () => shell('npm pack --silent --ignore-scripts', { cwd: clone }))
  const tarball = join(clone, packed.at(-1))
  const settling = settle.run.replace('npm install authkeep', `npm install ${tarball}`)
  await timed('npm init, npm install', () => shell(settling, { cwd: elsewhere }))
  const cwd = join(elsewhere, 'try-authkeep')
  const env = { AUTHKEEP_HOME: join(cwd, 'home') }
  for (const { run, shown, file, code } of steps) {
    if (file !== undefined) {
      writeFileSync(join(cwd, file), code)
      continue
    }
    await timed(run.trim().split('\n').join('; '), async () => {
      const { printed } = await shell(run, { cwd, env })
      if (shown !== undefined) compare(printed.join('\n'), shown)
    })
  }
  const total = times.reduce((sum, [, ms]) => sum + ms, 0)
  for (const [what, ms] of [...times, ['all', total]]) {
    console.log(`${(ms / 1000).toFixed(1).padStart(6)} s  ${what.length > 100 ? `${what.slice(0, 99)}…` : what}`)
  }
} finally {
  if (server !== undefined) process.kill(-server.pid)
  rmSync(folder, { recursive: true, force: true })
}
