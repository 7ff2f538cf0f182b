import { setTimeout as delay } from 'node:timers/promises'
import type { Owner } from '../credential.ts'
import { AuthkeepError, errnoOf } from '../errors.ts'
import { randomUUID } from '../on-demand.ts'
import { thisOwner, vitality } from '../owner.ts'
import { step, tidy } from './atomic-write.ts'
import type { FileOperations } from './file-operations.ts'
import {
  isLeftByUs,
  isSame,
  LockAdapter,
  lockPaths,
  look,
  ownerDetail,
  ownerOf,
  type Sighting,
} from './lock-adapter.ts'

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
  /** How long to wait for another holder before `store_busy`; default `outlasting(staleMs)`. */
  readonly timeoutMs?: number
  /** How old the last heartbeat of an unknown holder may be; default 10 s, twice what proper-lockfile takes for one. */
  readonly staleMs?: number
}

const defaultStaleMs = 10_000
const heartbeatMs = 2_000
/** A holder known to be alive may be stopped, or its machine asleep: it is given six times as long. */
const patience = 6
/** Part of the limit that must pass before our own eyes: wall clocks of two machines differ, and a sleeping one wakes up. */
const watchedShare = 0.25
/** Less than anybody waits for a lock. */
const mostWatchedMs = 8_000

/**
 * How long whoever waits is kept waiting: until a holder that died without a record counts as gone, where that is within
 * a minute. Milliseconds.
 */
export function outlasting(staleMs: number): number {
  const enough = staleMs + 10_000
  return enough <= 60_000 ? Math.max(enough, 20_000) : 20_000
}

/**
 * proper-lockfile, wrapped through its `fs` option. The directory and the heartbeat are its own, so its other users are
 * excluded and not harmed. Added here: who holds it, proof that a holder is dead, one guard for every takeover, and
 * ownership checked before anything is removed. Its own stale handling never acts, because locks that are not ours look fresh to it.
 */
export class FileLock {
  readonly #files: FileOperations
  readonly #path: string
  readonly #given: Owner | undefined
  readonly #timeoutMs: number
  readonly #staleMs: number
  readonly #adapter: LockAdapter

  constructor(options: FileLockOptions) {
    this.#files = options.files
    this.#path = options.path
    this.#given = options.owner
    this.#staleMs = options.staleMs ?? defaultStaleMs
    this.#timeoutMs = options.timeoutMs ?? outlasting(this.#staleMs)
    this.#adapter = new LockAdapter(options.files, lockPaths(options.path))
  }

  get #owner(): Owner {
    return this.#given ?? thisOwner()
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
    return (
      Date.now() - sighting.heartbeatMs > limit && watchedForMs > Math.min(this.#staleMs * watchedShare, mostWatchedMs)
    )
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
      step(this.#path, 'rmdir', () => this.#removeLock(paths.directory))
      return true
    } finally {
      if (this.#files.readRecord(paths.guard) === mine) tidy(() => this.#files.unlink(paths.guard))
    }
  }

  /** Other programs may lock with a file of this name. */
  #removeLock(path: string): void {
    try {
      this.#files.rmdir(path)
    } catch (error) {
      if (errnoOf(error) !== 'ENOTDIR') throw error
      this.#files.unlink(path)
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
