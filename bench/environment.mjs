import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, release, type } from 'node:os'

/** Where the numbers come from: without this they mean nothing. */
export function environmentOf(directory, versions) {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  return {
    date: new Date().toISOString(),
    authkeep: [version, output('git', 'rev-parse', '--short', 'HEAD')].filter(Boolean).join(' '),
    node: process.version,
    system: `${type()} ${release()}`,
    processor: `${cpus()[0]?.model ?? '?'}, ${availableParallelism()} cores`,
    // With its options: `discard`, for one, makes every replaced file cost a millisecond.
    'file system': output('findmnt', '-no', 'FSTYPE,OPTIONS', '-T', directory)?.replace(/\s+/, ', ') ?? '?',
    'load average': loadavg()[0]?.toFixed(1),
    peers:
      Object.entries(versions)
        .map(([name, one]) => `${name} ${one}`)
        .join(', ') || 'none',
  }
}

/** What a program prints, or undefined where there is no such program. */
function output(program, ...words) {
  try {
    return execFileSync(program, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return undefined
  }
}
