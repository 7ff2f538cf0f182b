import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { Owner } from '../credential.ts'
import { AuthkeepError, errnoOf } from '../errors.ts'
import { thisOwner, vitality } from '../owner.ts'
import { step, tidy } from './atomic-write.ts'
import type { FileOperations } from './file-operations.ts'

/** A lock that is ours until it is released or somebody, with reason, takes it away. */
export interface HeldLock {
  /** Its last holder left it behind, and perhaps more. */
  readonly wasTakenOver: boolean
  /** The fence: still ours, on disk, now. To be asked in the same tick as what it protects. */
  isHeld(): boolean
  release(): Promise<void>
}

export interface FileLockOptions {
  readonly files: FileOperations
  /** The credential file, links resolved; the lock is `<path>.lock`, as every default proper-lockfile user has it. */
  readonly path: string
  readonly owner?: Owner
  /** How long to wait for another holder before `store_busy`; default 20 s. */
  readonly timeoutMs?: number
  /** How old the last heartbeat of an unknown holder may be; default 10 s, twice what proper-lockfile takes for one. */
  readonly staleMs?: number
}

/** What a waiter sees of a lock: its holder, if a record says so, and its last heartbeat. */
interface Sighting {
  readonly record: string | null
  readonly directory: string
  readonly heartbeatMs: number
}

const defaultStaleMs = 10_000
const heartbeatMs = 2_000
/** A holder known to be alive may be stopped, or its machine asleep: it is given six times as long. */
const patience = 6
/** Part of the limit that must pass before our own eyes: wall clocks of two machines differ, and a sleeping one wakes up. */
const watchedShare = 0.25

/**
 * proper-lockfile, wrapped through its `fs` option. The directory and the heartbeat are its own, so its other users are
 * excluded and not harmed. Added here: who holds it, proof that a holder is dead, one guard for every takeover, and
 * ownership checked before anything is removed. Its own stale handling never acts, because locks that are not ours look fresh to it.
 */
export class FileLock {
  readonly #files: FileOperations
  readonly #path: string
  readonly #owner: Owner
  readonly #timeoutMs: number
  readonly #staleMs: number
  readonly #adapter: LockAdapter

  constructor(options: FileLockOptions) {
    this.#files = options.files
    this.#path = options.path
    this.#owner = options.owner ?? thisOwner()
    this.#timeoutMs = options.timeoutMs ?? 20_000
    this.#staleMs = options.staleMs ?? defaultStaleMs
    this.#adapter = new LockAdapter(options.files, lockPaths(options.path))
  }

  /**
   * Waits for the lock.
   * @throws AuthkeepError `store_busy` after the time-out, `store_failed` when this directory cannot hold a lock
   */
  async acquire(): Promise<HeldLock> {
    const deadline = performance.now() + this.#timeoutMs
    let watched: { sighting: Sighting; since: number } | undefined
    let wasTakenOver = false
    for (;;) {
      const held = await this.#tryAcquire(wasTakenOver)
      if (held !== null) return held
      const sighting = step(this.#path, 'lock', () => this.#look())
      if (sighting !== null && (watched === undefined || !isSame(watched.sighting, sighting))) {
        watched = { sighting, since: performance.now() }
      }
      const watchedForMs = performance.now() - (watched?.since ?? 0)
      if (sighting !== null && this.#isAbandoned(sighting, watchedForMs) && this.#takeOver(sighting)) {
        wasTakenOver = true
        continue
      }
      if (performance.now() >= deadline) {
        throw new AuthkeepError('store_busy', { path: this.#path, ...(sighting === null ? {} : ownerDetail(sighting)) })
      }
      await delay(1 + Math.random() * 11)
    }
  }

  async #tryAcquire(wasTakenOver: boolean): Promise<HeldLock | null> {
    const { default: properLockfile } = await import('proper-lockfile')
    const adapter = this.#adapter
    try {
      const release = await properLockfile.lock(this.#path, {
        realpath: false,
        retries: 0,
        stale: defaultStaleMs,
        update: heartbeatMs,
        fs: adapter.become(this.#owner),
        // The default throws inside a timer, which would end the process. A lost lock is a state: the fence sees it.
        onCompromised: () => adapter.forget(),
      })
      return {
        wasTakenOver,
        isHeld: () => step(this.#path, 'fence', () => adapter.isOurs()),
        release: () => release().catch((error: unknown) => this.#onReleaseFailure(error)),
      }
    } catch (error) {
      adapter.forget()
      const errno = errnoOf(error)
      if (errno === 'ELOCKED') return null
      if (errno === undefined) throw error
      throw new AuthkeepError('store_failed', { path: this.#path, operation: 'lock', errno, unspent: true })
    }
  }

  /** What was committed is committed: a lock that cannot be removed only makes the next writer look at our record. */
  #onReleaseFailure(error: unknown): void {
    if (errnoOf(error) === undefined) throw error
  }

  #look(): Sighting | null {
    return look(this.#files, lockPaths(this.#path))
  }

  #isAbandoned(sighting: Sighting, watchedForMs: number): boolean {
    if (isLeftByUs(sighting)) return true
    const owner = ownerOf(sighting.record)
    const state = owner === null ? 'unknown' : vitality(owner, this.#owner)
    if (state === 'dead') return true
    const limit = state === 'alive' ? patience * this.#staleMs : this.#staleMs
    return Date.now() - sighting.heartbeatMs > limit && watchedForMs > this.#staleMs * watchedShare
  }

  /**
   * Removes an abandoned lock. All of it is one tick under one guard, and under the guard it looks again: two takers
   * that judged the same lock cannot both remove it, the second would remove the first one's new lock. Whether it did.
   */
  #takeOver(judged: Sighting): boolean {
    const paths = lockPaths(this.#path)
    const mine = JSON.stringify({ ...this.#owner, nonce: randomUUID() })
    if (!this.#enterGuard(paths.guard, mine)) return false
    try {
      const now = this.#look()
      if (now === null || !isSame(now, judged)) return false
      tidy(() => this.#files.unlink(paths.record))
      step(this.#path, 'rmdir', () => this.#files.rmdir(paths.directory))
      return true
    } finally {
      if (this.#files.readRecord(paths.guard) === mine) tidy(() => this.#files.unlink(paths.guard))
    }
  }

  #enterGuard(guard: string, mine: string): boolean {
    try {
      this.#files.createRecord(guard, mine)
      return true
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error
      // A guard lives for one tick. One whose process died inside that tick would block every takeover for ever.
      const owner = ownerOf(this.#files.readRecord(guard))
      const age = Date.now() - (this.#files.lstat(guard)?.mtimeMs ?? Date.now())
      if ((owner !== null && vitality(owner, this.#owner) === 'dead') || age > patience * this.#staleMs) {
        tidy(() => this.#files.unlink(guard))
      }
      return false
    }
  }
}

interface LockPaths {
  readonly directory: string
  readonly record: string
  readonly guard: string
}

function lockPaths(path: string): LockPaths {
  return { directory: `${path}.lock`, record: `${path}.lock.owner`, guard: `${path}.lock.guard` }
}

/** Locks that this copy of the library holds, by record, and directories of ours that it failed to remove. */
const heldRecords = new Set<string>()
const leftDirectories = new Set<string>()

/** A lock of our own that nobody here holds any more: its release failed, and no heartbeat has to be waited for. */
function isLeftByUs({ record, directory }: Sighting): boolean {
  if (record === null) return leftDirectories.has(directory)
  return parseRecord(record).instance === thisOwner().instance && !heldRecords.has(record)
}

function look(files: FileOperations, paths: LockPaths): Sighting | null {
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

function isSame(a: Sighting, b: Sighting): boolean {
  return a.record === b.record && a.directory === b.directory && a.heartbeatMs === b.heartbeatMs
}

function ownerOf(record: string | null): Owner | null {
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

function ownerDetail(sighting: Sighting): { owner?: string } {
  const owner = ownerOf(sighting.record)
  return owner === null ? {} : { owner: `pid ${owner.pid} on ${owner.host}` }
}

type Callback<T = void> = (error: Error | null, value?: T) => void

/**
 * The part of `fs` that proper-lockfile calls, with ownership in it. One object per lock for its whole life, because
 * the library keeps what it learned about the file system's time stamps on it.
 */
class LockAdapter {
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
      return { mtime: new Date(stat.mtimeMs) }
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
