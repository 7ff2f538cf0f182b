import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

const program = process.env['AUTHKEEP_OPENCLAW'] ?? ''

export interface Outcome {
  readonly code: number | null
  /** What it said on both streams. */
  readonly said: string
  readonly ms: number
}

export interface Running {
  /** The first match in what it says; rejects when it has ended without one. */
  saying(pattern: RegExp): Promise<RegExpExecArray>
  readonly done: Promise<Outcome>
  /** SIGKILL to it, and to the process in which it does its work: in a session of its own, so in no group with it. */
  kill(): void
}

/** Starts the real OpenClaw with a home of its own and next to no environment. */
export function openclaw(home: string, args: readonly string[]): Running {
  if (program === '') throw new Error('npm run test:openclaw runs these: it installs what they need')
  const began = performance.now()
  const child = spawn(
    join(program, 'node_modules/node/bin/node'),
    [join(program, 'node_modules/openclaw/openclaw.mjs'), ...args],
    {
      cwd: home,
      env: {
        PATH: process.env['PATH'] ?? '',
        HOME: home,
        OPENCLAW_STATE_DIR: join(home, 'openclaw'),
        AUTHKEEP_HOME: join(home, 'authkeep'),
        NO_COLOR: '1',
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      said += chunk
      child.emit('said')
    })
  }
  const ended = once(child, 'close')
  const kill = (): void => {
    const pids = execFileSync('pgrep', ['-P', String(child.pid)], { encoding: 'utf8' })
      .trim()
      .split('\n')
    for (const pid of [child.pid, ...pids.map(Number)]) process.kill(pid ?? 0, 'SIGKILL')
  }
  return {
    kill,
    async saying(pattern) {
      for (;;) {
        const match = pattern.exec(said)
        if (match !== null) return match
        if (child.exitCode !== null || child.signalCode !== null) throw new Error(`it ended: ${said}`)
        await Promise.race([once(child, 'said'), ended])
      }
    },
    done: ended.then(([code]) => ({ code: code as number | null, said, ms: Math.round(performance.now() - began) })),
  }
}
