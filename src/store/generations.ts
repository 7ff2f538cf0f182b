import { basename, dirname, join } from 'node:path'
import type { JsonObject } from '../credential.ts'
import { type Document, type Format, FormatError } from '../formats/format.ts'
import { isDeepStrictEqual } from '../on-demand.ts'
import { slowStep, step, tidy } from './atomic-write.ts'
import type { Backup } from './events.ts'
import type { FileOperations } from './file-operations.ts'
import { credentialsIn, entriesOf, examine } from './recover.ts'

/** A generation is not made more often than this: what was an hour ago is worth keeping, what was a second ago is in the copy. */
const spacingMs = 3_600_000

/**
 * Older states of a credential file: `auth.json.gen-<time>`, a few of them, spaced in time. They are for what the
 * second copy cannot undo, because it follows every commit: a mistake that was noticed late.
 */
export class Generations {
  readonly #files: FileOperations
  readonly #target: string
  readonly #format: Format
  readonly #keep: number
  /** The newest one's time, as far as we have seen: no commit has to look for it. */
  #newest: number | null = null

  constructor(files: FileOperations, target: string, format: Format, keep: number) {
    this.#files = files
    this.#target = target
    this.#format = format
    this.#keep = keep
  }

  /** Newest first. One that cannot be read is left out: it can restore nothing. */
  list(): readonly (Backup & { readonly document: Document })[] {
    return this.#names().flatMap((name) => {
      const document = this.#read(name)
      const takenAt = timeOf(name)
      if (document === null || takenAt === null) return []
      const entries = credentialsIn(document, this.#format)
      return [{ id: name.slice(this.#prefix.length), takenAt, entries, document }]
    })
  }

  /** Keeps the state before a commit, if the newest generation is old enough. An empty state is not worth keeping. */
  async keep(before: Document, now: number): Promise<void> {
    if (this.#keep === 0 || isFresh(this.#newest, now)) return
    const names = this.#names()
    this.#newest = names[0] === undefined ? null : timeOf(names[0])
    if (isFresh(this.#newest, now) || credentialsIn(before, this.#format) === 0) return
    const name = `${this.#prefix}${new Date(now).toISOString().replaceAll(':', '')}`
    await this.#write(name, before)
    this.#newest = now
    for (const old of names.slice(this.#keep - 1)) tidy(() => this.#files.unlink(join(dirname(this.#target), old)))
  }

  /** Takes deleted entries out of every generation: a logout forgets the secret here too. */
  async forget(keys: readonly string[]): Promise<void> {
    for (const name of this.#names()) {
      const document = this.#read(name)
      const has = document === null ? [] : keys.filter((key) => this.#format.keys(document).includes(key))
      if (document === null || has.length === 0) continue
      await this.#write(
        name,
        this.#format.put(
          document,
          has.map((key) => [key, null]),
        ),
      )
    }
  }

  /**
   * Other values for the entries of every generation; one that comes back as it was is not written.
   *
   * @param underLock what keeps others from writing; `change` is not called under it
   */
  async rewrite(
    change: (key: string, value: JsonObject) => Promise<JsonObject>,
    underLock: <T>(run: () => Promise<T>) => Promise<T>,
  ): Promise<void> {
    for (const name of this.#names()) {
      for (;;) if (await this.#rewriteOne(name, change, underLock)) break
    }
  }

  /** False: somebody has written in between. */
  async #rewriteOne(
    name: string,
    change: (key: string, value: JsonObject) => Promise<JsonObject>,
    underLock: <T>(run: () => Promise<T>) => Promise<T>,
  ): Promise<boolean> {
    const document = this.#read(name)
    const changes = document === null ? [] : await this.#changesOf(document, change)
    if (document === null || changes.length === 0) return true
    return underLock(async () => {
      const isSame = isDeepStrictEqual(this.#read(name), document)
      if (isSame) await this.#write(name, this.#format.put(document, changes))
      return isSame
    })
  }

  async #changesOf(
    document: Document,
    change: (key: string, value: JsonObject) => Promise<JsonObject>,
  ): Promise<readonly (readonly [string, JsonObject])[]> {
    const changes: [string, JsonObject][] = []
    for (const [key, value] of entriesOf(document, this.#format)) {
      const next = key.startsWith(':') ? value : await change(key, value)
      if (next !== value) changes.push([key, next])
    }
    return changes
  }

  get #prefix(): string {
    return `${basename(this.#target)}.gen-`
  }

  #names(): readonly string[] {
    const names = step(this.#target, 'readdir', () => this.#files.readdir(dirname(this.#target)))
    return names
      .filter((name) => name.startsWith(this.#prefix) && timeOf(name) !== null)
      .sort()
      .reverse()
  }

  #read(name: string): Document | null {
    try {
      const found = this.#files.read(join(dirname(this.#target), name))
      const finding = examine(found?.bytes ?? null, this.#format)
      return finding.kind === 'valid' ? finding.document : null
    } catch (error) {
      if (error instanceof FormatError) return null
      throw error
    }
  }

  #write(name: string, document: Document): Promise<void> {
    const bytes = Buffer.from(this.#format.print(document))
    const path = join(dirname(this.#target), name)
    return slowStep(this.#target, 'generation', () => this.#files.replaceBeside(path, bytes))
  }
}

function isFresh(newest: number | null, now: number): boolean {
  return newest !== null && Math.abs(now - newest) < spacingMs
}

/** `….gen-2026-11-22T180518.217Z` → Unix milliseconds. */
function timeOf(name: string): number | null {
  const match = /\.gen-(\d{4}-\d\d-\d\dT)(\d\d)(\d\d)(\d\d\.\d{3}Z)$/.exec(name)
  if (match === null) return null
  const [, day = '', hours = '', minutes = '', seconds = ''] = match
  const time = Date.parse(`${day}${hours}:${minutes}:${seconds}`)
  return Number.isNaN(time) ? null : time
}
