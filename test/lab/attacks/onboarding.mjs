// SIGKILL at every system call of an onboarding that touches the agent's directory: a program imports `onboard` and adds
// three logins to an OpenClaw `auth.json` that has five. Afterwards there are five or eight, and the five are the same
// bytes (openclaw/openclaw#68033 left none).
import { execFile } from 'node:child_process'
import * as fs from 'node:fs'
import { dirname, join } from 'node:path'
import { strangers, tally } from './lab.mjs'
import { isOwnerless } from './scenarios.mjs'

/** As people and programs leave them: each with its own spelling. */
const before = [
  ['anthropic', '{ "type": "oauth", "refresh": "r-1", "access": "a-1", "expires": 1790000000000 }'],
  ['openai-codex', '{"type":"oauth","refresh":"r-2","access":"a-2","expires":1.79e12,"accountId":"acct"}'],
  ['openrouter', '{ "type": "api_key", "key": "k-3", "note": "caf\\u00e9" }'],
  ['google', '{ "mode": "api_key", "apiKey": "k-4" }'],
  ['of-tomorrow', '{ "type": "passkey", "handle": [1, 2.50, {}] }'],
]
const file = `{\n${before.map(([name, entry]) => `  "${name}": ${entry}`).join(',\n')}\n}\n`
const added = ['x', 'y', 'z']

/** @param {import('./lab.mjs').Lab} lab */
export async function* run(lab) {
  const tracer = await lab.tracer()

  async function onboarding(path, words) {
    const log = join(lab.root, `calls-${lab.made++}.log`)
    const script = new URL('./workers/onboarding.mjs', import.meta.url).pathname
    const program = [process.execPath, script, JSON.stringify({ dist: lab.dist, path, added })]
    const stderr = await new Promise((resolve) => {
      const traced = ['--under', dirname(path), '--log', log, ...words, '--', ...program]
      execFile(tracer, traced, { timeout: 60_000, killSignal: 'SIGKILL' }, (_, __, text) => resolve(text))
    })
    const lines = fs.readFileSync(log, 'utf8').trim().split('\n')
    fs.unlinkSync(log)
    return { stderr, end: lines.pop() ?? '', calls: lines.filter((line) => line !== 'begin') }
  }

  async function attempt(words) {
    const place = lab.directory('agents')
    const path = join(place, 'main', 'agent', 'auth.json')
    fs.mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    fs.writeFileSync(path, file, { mode: 0o600 })
    const first = await onboarding(path, words)
    const found = judge(path)
    const ownerless = isOwnerless(path)
    // The one that comes after it does the whole of it again.
    const again = await onboarding(path, [])
    const then = judge(path)
    const unrecovered = [
      ...(again.end === 'exit 0' ? [] : [`the next onboarding ended with ${again.end}: ${again.stderr.slice(0, 200)}`]),
      ...(then.count === 8 ? [] : [`${then.count} after the next onboarding`]),
      ...strangers(path).map((name) => `left behind: ${name.replaceAll(/\d{3,}|[0-9a-f]{16}/g, '#')}`),
    ]
    fs.rmSync(place, { recursive: true })
    return { ...first, count: found.count, lost: [...found.lost, ...then.lost], unrecovered, ownerless }
  }

  const whole = await attempt([])
  if (whole.end !== 'exit 0' || whole.count !== 8) throw new Error(`${whole.end} ${whole.count}: ${whole.stderr}`)
  const stride = lab.amount(1, 7)
  const nths = whole.calls.map((_, n) => n + 1).filter((n) => n % stride === 0 || n === whole.calls.length)
  const results = await lab.each(nths, 2, async (nth) => {
    const result = await attempt(['--kill', String(nth)])
    return result.end === 'signal 9' ? result : { ...result, unrecovered: [`ended with ${result.end}`] }
  })
  const problems = results.flatMap((r) => [...r.lost, ...r.unrecovered].map((what) => `${what} (at ${r.calls.at(-1)})`))
  yield {
    attack: 'SIGKILL at a system call: an onboarding of three beside five',
    fs: lab.kindOf(lab.root),
    states: results.length,
    lost: results.filter(({ lost }) => lost.length > 0).length,
    unrecovered: results.filter(({ unrecovered }) => unrecovered.length > 0).length,
    note: `at ${nths.length} of ${whole.calls.length} calls; then ${tally(results.map(({ count }) => `${count} logins`))}${problems.length > 0 ? `; ${tally(problems, 4)}` : ''}`,
    problems,
  }
}

/** What an independent eye sees in the file, before anybody repairs anything. */
function judge(path) {
  const text = fs.readFileSync(path, 'utf8')
  let entries
  try {
    entries = JSON.parse(text)
  } catch {
    return { count: 0, lost: ['torn file'] }
  }
  const names = Object.keys(entries)
  const wanted = names.length === 5 ? before.map(([name]) => name) : [...before.map(([name]) => name), ...added]
  return {
    count: names.length,
    lost: [
      ...(names.sort().join() === wanted.sort().join() ? [] : [`holds ${names.join()}`]),
      ...before.flatMap(([name, entry]) => (text.includes(`"${name}": ${entry}`) ? [] : [`${name} was touched`])),
      ...added.flatMap((name) =>
        names.length === 5 || entries[name]?.key === `sk-${name}` ? [] : [`${name} is wrong`],
      ),
    ],
  }
}
