import { readFileSync, readlinkSync } from 'node:fs'
import type { Owner } from './credential.ts'
import { hostname, outputOf, randomUUID } from './on-demand.ts'

/** A process among others: who it is in its leases, and what it knows of those who hold the others. */
export interface Process {
  readonly owner: Owner
  vitality(owner: Owner): 'alive' | 'dead' | 'unknown'
}

/** The process that this is. */
export function thisProcess(): Process {
  return { owner: thisOwner(), vitality }
}

let self: Owner | undefined

/** This process, described so that others on the machine can tell when it is gone. */
export function thisOwner(): Owner {
  self ??= {
    host: hostname(),
    bootId: bootId(),
    pidNamespace: orNull(() => readlinkSync('/proc/self/ns/pid')),
    pid: process.pid,
    startTime: processStart(process.pid)?.startTime ?? null,
    instance: randomUUID(),
  }
  return self
}

/**
 * What can be *known* about an owner from here: `dead` only with proof (same host, same boot, same pid namespace, and
 * the process missing, a zombie, or another one under its number); `alive` on the same terms; everything else,
 * another container or another machine for instance, is `unknown` and must never be taken for dead.
 */
export function vitality(owner: Owner, observer: Owner = thisOwner()): 'alive' | 'dead' | 'unknown' {
  const comparable =
    owner.host === observer.host &&
    owner.bootId !== null &&
    owner.bootId === observer.bootId &&
    owner.pidNamespace === observer.pidNamespace
  if (!comparable) return 'unknown'
  if (!isRunning(owner.pid)) return 'dead'
  if (process.platform !== 'linux') return 'alive'
  // On Linux the namespace decides what a number means, and without /proc a number may have been given to another.
  const found = owner.pidNamespace === null ? null : processStart(owner.pid)
  if (found === null) return 'unknown'
  if (found.zombie) return 'dead'
  return owner.startTime === null || owner.startTime === found.startTime ? 'alive' : 'dead'
}

function bootId(): string | null {
  switch (process.platform) {
    case 'linux':
      return orNull(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim())
    case 'darwin':
      return orNull(() => outputOf('/usr/sbin/sysctl', ['-n', 'kern.bootsessionuuid']).trim())
    default:
      return null
  }
}

/** Fields 3 (state) and 22 (start time) of /proc/<pid>/stat, counted after the command name, which may hold anything. */
function processStart(pid: number): { startTime: string; zombie: boolean } | null {
  const stat = orNull(() => readFileSync(`/proc/${pid}/stat`, 'utf8'))
  if (stat === null) return null
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const state = fields[0] ?? ''
  return { startTime: fields[19] ?? '', zombie: state === 'Z' || state === 'X' }
}

/** Whether a process has this number now, in our pid namespace. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}

function orNull<T>(read: () => T): T | null {
  try {
    return read()
  } catch {
    // Not offered by this platform or not permitted here: then nothing can be proven, which is always safe.
    return null
  }
}
