import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

/** A session bus with a Secret Service on it whose keyring is unlocked, and a home of its own. */
export interface Session {
  /** What a program must have in its environment to ask this one. */
  readonly env: Readonly<Record<string, string>>
  /** Locks what it holds: nobody is there to type the password. */
  lock(): void
  /** Stops the service in the middle of whatever it does, or lets it go on. */
  signal(signal: 'SIGSTOP' | 'SIGCONT' | 'SIGKILL'): void
  end(): Promise<void>
}

// The daemon is the child of the bus's session, prints its number, and ends with it.
const script = `
  mkdir -p "$HOME" && chmod 700 "$XDG_RUNTIME_DIR"
  printf 'pass' | gnome-keyring-daemon --unlock --foreground --components=secrets >/dev/null 2>&1 &
  gdbus wait --session org.freedesktop.secrets
  echo "{\\"bus\\":\\"$DBUS_SESSION_BUS_ADDRESS\\",\\"pid\\":$!}"
  wait
`

export async function startSession(): Promise<Session> {
  const directory = mkdtempSync(join(tmpdir(), 'authkeep-keychain-'))
  const { PATH = '' } = process.env
  const env = { PATH, HOME: join(directory, 'home'), XDG_RUNTIME_DIR: directory }
  const child = spawn('dbus-run-session', ['--', 'bash', '-c', script], {
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
    detached: true,
  })
  const { bus, pid } = await firstLine(child)
  return {
    env: { ...env, DBUS_SESSION_BUS_ADDRESS: bus },
    lock() {
      const service = ['--dest', 'org.freedesktop.secrets', '--object-path', '/org/freedesktop/secrets']
      const method = ['--method', 'org.freedesktop.Secret.Service.Lock', "['/org/freedesktop/secrets/aliases/default']"]
      const options = { env: { ...env, DBUS_SESSION_BUS_ADDRESS: bus } }
      const { status } = spawnSync('gdbus', ['call', '--session', ...service, ...method], options)
      if (status !== 0) throw new Error('it cannot be locked')
    },
    signal: (signal) => void process.kill(pid, signal),
    async end() {
      const ended = new Promise((resolve) => child.once('close', resolve))
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
      await ended
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

async function firstLine(child: ChildProcess): Promise<{ bus: string; pid: number }> {
  if (child.stdout === null) throw new Error('no stdout')
  for await (const line of createInterface({ input: child.stdout })) {
    return JSON.parse(line) as { bus: string; pid: number }
  }
  throw new Error('the session has ended')
}
