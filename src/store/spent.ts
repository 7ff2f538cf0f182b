import type { JsonObject } from '../credential.ts'
import { slowStep, step } from './atomic-write.ts'
import type { FileOperations } from './file-operations.ts'

/*
 * Secrets that must never be used again, by fingerprint, and when that was known. They stand outside the document: who
 * writes an old state of the document back brings an old secret back, and must not bring the old memory back with it.
 */

/** Enough for every entry of a large store to be brought back from some days ago. */
const kept = 2_000

/** Refresh tokens that have been used up: fingerprint → when that was known (Unix milliseconds). */
export type Spent = ReadonlyMap<string, number>

/** One line each, oldest first. A line that makes no sense is none: this memory can only ever be incomplete. */
export function parseSpent(text: string): Spent {
  const lines = text.split('\n').map((line) => /^([\w-]{22}) (\d{1,16})$/.exec(line))
  return new Map(lines.flatMap((match) => (match === null ? [] : [[match[1] ?? '', Number(match[2])] as const])))
}

export function printSpent(spent: Spent): string {
  return [...spent].map(([fingerprint, at]) => `${fingerprint} ${at}\n`).join('')
}

/** With one more, and without the oldest where they are too many. */
export function withSpent(spent: Spent, fingerprint: string, at: number, most: number = kept): Spent {
  const others = [...spent].filter(([other]) => other !== fingerprint)
  return new Map([...others, [fingerprint, at] as const].slice(-most))
}

/** Where a backend has nothing but its keys: beside the entry, under a name of its own. */
export function spentName(name: string): string {
  return `:spent:${name}`
}

const keptInState = 100

export function spentInState(state: JsonObject | null): Spent {
  const { fingerprints } = state ?? {}
  return parseSpent(typeof fingerprints === 'string' ? fingerprints : '')
}

export function withSpentInState(state: JsonObject | null, fingerprint: string, at: number): JsonObject {
  return { ...state, fingerprints: printSpent(withSpent(spentInState(state), fingerprint, at, keptInState)) }
}

/** `auth.json.spent`, beside the file: private, and replaced as a whole. */
export class SpentFile {
  readonly #files: FileOperations
  readonly #path: string
  #seen: { readonly identity: string; readonly spent: Spent } | undefined

  constructor(files: FileOperations, target: string) {
    this.#files = files
    this.#path = `${target}.spent`
  }

  read(): Spent {
    const stat = step(this.#path, 'stat', () => this.#files.lstat(this.#path))
    if (stat === null) return new Map()
    if (this.#seen?.identity === stat.identity) return this.#seen.spent
    const found = step(this.#path, 'read', () => this.#files.read(this.#path))
    const spent = parseSpent(found?.bytes.toString('utf8') ?? '')
    if (found !== null) this.#seen = { identity: found.stat.identity, spent }
    return spent
  }

  /** With the lock of the store held. The name is made durable by the next commit, which syncs the directory. */
  async add(fingerprint: string, at: number): Promise<void> {
    const bytes = Buffer.from(printSpent(withSpent(this.read(), fingerprint, at)))
    await slowStep(this.#path, 'write', () => this.#files.replaceBeside(this.#path, bytes))
  }
}
