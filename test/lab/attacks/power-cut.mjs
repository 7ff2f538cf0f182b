// The power-cut rig, as one attack among the others.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { NotRun } from './lab.mjs'

const rig = fileURLToPath(new URL('../powercut/run.mjs', import.meta.url))

/** @param {import('./lab.mjs').Lab} lab */
export async function* run(lab) {
  if (!existsSync(rig)) throw new NotRun('test/lab/powercut is not there')
  const limits = lab.quick
    ? ['--states', '150', '--seconds', '120', '--fs', 'ext4']
    : ['--states', '600', '--seconds', '150']
  const words = [rig, '--json', '--seed', String(lab.seed), '--dist', lab.dist, ...limits]
  const child = spawn(process.execPath, words, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, TMPDIR: lab.root },
  })
  lab.children.add(child)
  const closed = once(child, 'close')
  for await (const line of createInterface({ input: child.stdout })) {
    const { fs, store, states, lost, unrecovered, perSecond, failures = [], skipped, broken, failed } = JSON.parse(line)
    const attack = 'power cut'
    if (skipped !== undefined) yield { attack, fs, notRun: skipped }
    else if (broken !== undefined) yield { attack: `${attack}: ${store} on ${fs}`, broken: gist(broken) }
    else if (failed !== undefined) yield { attack: `${attack}: ${store}`, broken: failed }
    else {
      const subject = store.startsWith('authkeep') ? {} : { subject: store }
      const first = subject.subject === undefined && failures.length > 0 ? `; ${JSON.stringify(failures[0])}` : ''
      yield {
        attack: store.startsWith('authkeep') ? `${attack}: ${store}` : attack,
        ...subject,
        fs,
        states,
        lost,
        unrecovered,
        note: `${perSecond} images a second${first}`,
      }
    }
  }
  await closed
  lab.children.delete(child)
  if (child.signalCode !== null)
    yield { attack: 'power cut', broken: `the rig did not end in time (${child.signalCode})` }
}

/** The line of a stack trace that says what it is about. */
function gist(text) {
  return text.split('\n').find((line) => /^\w*Error: /.test(line)) ?? text.split('\n')[0]
}
