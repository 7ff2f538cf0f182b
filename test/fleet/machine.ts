import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Worker } from '../e2e/process.ts'

/** A part of this machine that its programs take for another one: network, host name, processes, boot and clock. */
export interface Machine {
  /** A program of test/e2e there. */
  start(script: string, options: object): Promise<Worker>
  /** To the program itself, whose number there is another one here. */
  signal(worker: Worker, signal: NodeJS.Signals): void
  stop(): Promise<void>
}

const faketime = '/usr/$LIB/faketime/libfaketimeMT.so.1'

/** Why there can be none here, or undefined. */
export function missingForMachines(): string | undefined {
  if (process.platform !== 'linux') return 'namespaces are a feature of Linux'
  if (spawnSync('faketime', ['--version']).error !== undefined) return 'faketime is not installed'
  const words = ['--net', '--uts', '--pid', '--mount', '--fork', '--mount-proc', 'ip', 'link', 'set', 'lo', 'up']
  const { status, stderr, error } = spawnSync('unshare', words, { encoding: 'utf8' })
  return status === 0 ? undefined : (error?.message ?? stderr.trim())
}

/** @param ports of 127.0.0.1 here, that are to be on 127.0.0.1 there; @param clock as faketime wants it: `+600` */
export async function openMachine(
  name: string,
  { number, clock, ports }: { number: number; clock: string; ports: readonly number[] },
): Promise<Machine> {
  const directory = await mkdtemp(join(tmpdir(), 'authkeep-machine-'))
  await writeFile(join(directory, 'boot_id'), `${randomUUID()}\n`)
  const init = `hostname ${name} && mount --bind ${directory}/boot_id /proc/sys/kernel/random/boot_id && ip link set lo up &&
    echo ready && exec cat`
  const words = ['--net', '--uts', '--pid', '--mount', '--fork', '--kill-child', '--mount-proc', 'sh', '-c', init]
  const child = spawn('unshare', words, { stdio: ['pipe', 'pipe', 'inherit'] })
  await firstLine(child)
  const pid = childOf(child.pid ?? 0)
  const inside = ['nsenter', '-t', String(pid), '-n', '-u', '-p', '-m']
  const [here, there, cable] = [`10.231.${number}.1`, `10.231.${number}.2`, `akm${number}`]
  run(['ip', 'link', 'add', cable, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(pid)])
  run(['ip', 'addr', 'add', `${here}/24`, 'dev', cable])
  run(['ip', 'link', 'set', cable, 'up'])
  run([...inside, 'ip', 'addr', 'add', `${there}/24`, 'dev', 'eth0'])
  run([...inside, 'ip', 'link', 'set', 'eth0', 'up'])
  // Two relays and a cable between them: a server that is on this machine only is on that one, too.
  const plan = (from: string, to: string): object =>
    ports.map((port) => [
      { host: from, port },
      { host: to, port },
    ])
  const near = new Worker('../fleet/relay.mjs', plan(here, '127.0.0.1'))
  const far = new Worker('../fleet/relay.mjs', plan('127.0.0.1', here), process.env, inside)
  await Promise.all([near.next(), far.next()])
  const through = [...inside, 'env', `LD_PRELOAD=${faketime}`, `FAKETIME=${clock}`, 'DONT_FAKE_MONOTONIC=1']
  return {
    async start(script, options) {
      const worker = new Worker(script, options, process.env, through)
      await worker.next()
      return worker
    },
    signal: ({ child }, signal) => void process.kill(childOf(child.pid ?? 0), signal),
    async stop() {
      const ended = once(child, 'close')
      child.kill('SIGKILL')
      await ended
      spawnSync('ip', ['link', 'del', cable])
      await near.kill()
      await far.kill()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

function childOf(pid: number): number {
  const [child = ''] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')
  return Number(child)
}

function run([command = '', ...words]: readonly string[]): void {
  const { status, stderr } = spawnSync(command, words, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${command} ${words.join(' ')}: ${stderr}`)
}

async function firstLine(child: ChildProcess): Promise<void> {
  if (child.stdout === null) throw new Error('no stdout')
  const lines = createInterface({ input: child.stdout })
  await Promise.race([once(lines, 'line'), once(child, 'exit').then(() => Promise.reject(new Error('it has ended')))])
}
