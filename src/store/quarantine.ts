import { basename, dirname, join } from 'node:path'
import type { JsonObject } from '../credential.ts'
import { slowStep, step, tidy } from './atomic-write.ts'
import type { FileOperations } from './file-operations.ts'

const kept = 5
/** Shorter strings are names and types; no token is this short. */
const shortestSecret = 16

/** The bytes of damaged files, `auth.json.corrupt-<time>`: somebody may read more out of them than we can. */
export class Quarantine {
  readonly #files: FileOperations
  readonly #target: string

  constructor(files: FileOperations, target: string) {
    this.#files = files
    this.#target = target
  }

  /** Keeps a copy of bytes and returns its path; of several only the newest five stay. */
  async keep(bytes: Uint8Array): Promise<string> {
    const path = `${this.#target}.corrupt-${new Date().toISOString().replaceAll(':', '')}`
    await slowStep(this.#target, 'quarantine', () => this.#files.replaceBeside(path, bytes))
    for (const old of this.#paths().slice(0, -kept)) tidy(() => this.#files.unlink(old))
    return path
  }

  /** Overwrites the secrets of a deleted entry wherever they stand in quarantined bytes. */
  async forget(value: JsonObject): Promise<void> {
    const secrets = stringsIn(value).filter((text) => text.length >= shortestSecret)
    for (const path of this.#paths()) {
      const found = this.#files.read(path)
      if (found === null) continue
      const clean = secrets.reduce((bytes, secret) => blackened(bytes, Buffer.from(secret)), found.bytes)
      if (!clean.equals(found.bytes))
        await slowStep(this.#target, 'quarantine', () => this.#files.replaceBeside(path, clean))
    }
  }

  /** Oldest first. */
  #paths(): readonly string[] {
    const directory = dirname(this.#target)
    const prefix = `${basename(this.#target)}.corrupt-`
    const names = step(this.#target, 'readdir', () => this.#files.readdir(directory))
    // A temporary file of the writer bears a number behind the name.
    return names
      .filter((name) => name.startsWith(prefix) && name.endsWith('Z'))
      .sort()
      .map((name) => join(directory, name))
  }
}

function stringsIn(value: unknown): readonly string[] {
  if (typeof value === 'string') return [value]
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(stringsIn) : []
}

function blackened(bytes: Buffer, secret: Buffer): Buffer {
  const clean = Buffer.from(bytes)
  for (let at = clean.indexOf(secret); at !== -1; at = clean.indexOf(secret, at)) {
    clean.fill('*', at, at + secret.byteLength)
  }
  return clean
}
