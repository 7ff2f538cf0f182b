import type { Owner } from '../credential.ts'
import { errnoOf } from '../errors.ts'
import { randomUUID } from '../on-demand.ts'
import { thisOwner } from '../owner.ts'
import { tidy } from './atomic-write.ts'
import type { FileOperations } from './file-operations.ts'

/** What a waiter sees of a lock: its holder, if a record says so, and its last heartbeat. */
export interface Sighting {
  readonly record: string | null
  readonly directory: string
  readonly heartbeatMs: number
}

export interface LockPaths {
  readonly directory: string
  readonly record: string
  readonly guard: string
}

export function lockPaths(path: string): LockPaths {
  return { directory: `${path}.lock`, record: `${path}.lock.owner`, guard: `${path}.lock.guard` }
}

/** Locks that this copy of the library holds, by record, and directories of ours that it failed to remove. */
const heldRecords = new Set<string>()
const leftDirectories = new Set<string>()

/** A lock of our own that nobody here holds any more: its release failed, and no heartbeat has to be waited for. */
export function isLeftByUs({ record, directory }: Sighting): boolean {
  if (record === null) return leftDirectories.has(directory)
  return parseRecord(record).instance === thisOwner().instance && !heldRecords.has(record)
}

export function look(files: FileOperations, paths: LockPaths): Sighting | null {
  const directory = identityOf(files, paths.directory)
  if (directory === null) return null
  const record = files.readRecord(paths.record)
  // A record speaks of the directory it was made for; beside another one it was left over.
  return { ...directory, record: recordedDirectory(record) === directory.directory ? record : null }
}

/** Which directory this is. File systems reuse inode numbers, so the time it was made belongs to it. */
function identityOf(files: FileOperations, path: string): { directory: string; heartbeatMs: number } | null {
  const stat = files.lstat(path)
  return stat === null ? null : { directory: `${stat.ino}.${stat.birthtimeMs}`, heartbeatMs: stat.mtimeMs }
}

export function isSame(a: Sighting, b: Sighting): boolean {
  return a.record === b.record && a.directory === b.directory && a.heartbeatMs === b.heartbeatMs
}

export function ownerOf(record: string | null): Owner | null {
  const { host, bootId, pidNamespace, pid, startTime } = parseRecord(record)
  if (typeof host !== 'string' || typeof pid !== 'number') return null
  return { host, bootId: bootId ?? null, pidNamespace: pidNamespace ?? null, pid, startTime: startTime ?? null }
}

function recordedDirectory(record: string | null): string | undefined {
  return parseRecord(record).directory
}

function parseRecord(record: string | null): Partial<Owner> & { directory?: string } {
  if (record === null) return {}
  try {
    return JSON.parse(record) as Partial<Owner> & { directory?: string }
  } catch {
    // A record of another program, or of another version: nothing can be proven about its owner.
    return {}
  }
}

export function ownerDetail(sighting: Sighting): { owner?: string } {
  const owner = ownerOf(sighting.record)
  return owner === null ? {} : { owner: `pid ${owner.pid} on ${owner.host}` }
}

type Callback<T = void> = (error: Error | null, value?: T) => void

/**
 * The part of `fs` that proper-lockfile calls, with ownership in it. One object per lock for its whole life, because
 * the library keeps what it learned about the file system's time stamps on it.
 */
export class LockAdapter {
  readonly #files: FileOperations
  readonly #paths: LockPaths
  #owner: Owner | undefined
  /** The record of the lock that we hold, and the directory it was made for. */
  #held: { readonly record: string; readonly directory: string } | undefined

  constructor(files: FileOperations, paths: LockPaths) {
    this.#files = files
    this.#paths = paths
  }

  become(owner: Owner): this {
    this.#owner = owner
    this.forget()
    return this
  }

  forget(): void {
    if (this.#held !== undefined) heldRecords.delete(this.#held.record)
    this.#held = undefined
  }

  isOurs(): boolean {
    return (
      this.#held !== undefined &&
      this.#files.readRecord(this.#paths.record) === this.#held.record &&
      identityOf(this.#files, this.#paths.directory)?.directory === this.#held.directory
    )
  }

  readonly mkdir = (path: string, done: Callback): void =>
    answer(done, () => {
      this.#files.mkdir(path)
      try {
        const directory = identityOf(this.#files, path)?.directory ?? ''
        const record = JSON.stringify({ ...this.#owner, nonce: randomUUID(), directory })
        this.#writeRecord(record)
        this.#held = { record, directory }
        heldRecords.add(record)
        leftDirectories.delete(directory)
      } catch (error) {
        tidy(() => this.#files.rmdir(path))
        throw error
      }
    })

  readonly stat = (path: string, done: Callback<{ mtime: Date }>): void =>
    answer(done, () => {
      if (this.#held === undefined) return { mtime: new Date() }
      const stat = this.isOurs() ? this.#files.lstat(path) : null
      if (stat === null) throw Object.assign(new Error('the lock is gone'), { code: 'ENOENT' })
      // A time that is set comes back a microsecond less, often: cut off, it would be another one.
      return { mtime: new Date(Math.round(stat.mtimeMs)) }
    })

  readonly utimes = (path: string, time: Date, _: Date, done: Callback): void =>
    answer(done, () => {
      if (this.isOurs()) this.#files.utimes(path, time)
    })

  readonly rmdir = (path: string, done: Callback): void => answer(done, () => this.rmdirSync(path))

  /** Also called by the library when the process exits. */
  readonly rmdirSync = (path: string): void => {
    if (this.#held === undefined || !this.isOurs()) return
    const { directory } = this.#held
    this.forget()
    leftDirectories.add(directory)
    // The record goes first: the other way round, the next holder could write its record between the two, and lose it.
    this.#files.unlink(this.#paths.record)
    this.#files.rmdir(path)
    leftDirectories.delete(directory)
  }

  #writeRecord(record: string): void {
    try {
      this.#files.createRecord(this.#paths.record, record)
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error
      // Left over beside a directory that is gone. The directory that stands here now is ours, and so is its record.
      this.#files.unlink(this.#paths.record)
      this.#files.createRecord(this.#paths.record, record)
    }
  }
}

function answer<T>(done: Callback<T>, run: () => T): void {
  let value: T
  try {
    value = run()
  } catch (error) {
    done(error as Error)
    return
  }
  done(null, value)
}
