import { basename, dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Owner } from '../credential.ts'
import { AuthkeepError, errnoOf, isAuthkeepError } from '../errors.ts'
import { type Document, type Entry, type Format, FormatError } from '../formats/format.ts'
import { nativeFormat } from '../formats/native.ts'
import { isRunning } from '../owner.ts'
import { realTarget, slowStep, step, temporaryOwner, tidy, writeDraft } from './atomic-write.ts'
import type { Change, CommitResult, StoreBackend, Versioned } from './backend.ts'
import type { StoreEvent, StoreReport } from './events.ts'
import { FileLock, type HeldLock } from './file-lock.ts'
import { type FileOperations, type FileStat, systemFiles } from './file-operations.ts'
import { examine, expiredQuarantines, type Finding, restored } from './recover.ts'

export interface FileBackendOptions {
  readonly path: string
  readonly format?: Format
  /** How long a commit waits for another process before `store_busy`; default 20 s. */
  readonly lockTimeoutMs?: number
  /** How long the lock of a holder of whom nothing is known must have been silent; default 10 s, and rarely to be changed. */
  readonly staleLockMs?: number
  /** Hears of recoveries. */
  readonly onEvent?: (event: StoreEvent) => void
  /** Every system call, for tests that stop or fail one. */
  readonly files?: FileOperations
  /** Who we are to other processes, for tests. */
  readonly owner?: Owner
}

/** A backend that keeps one file, and can say how that file is. */
export interface FileBackend extends StoreBackend {
  readonly path: string
  /** How the file and its second copy are. Changes nothing. */
  verify(): Promise<StoreReport>
  /** Brings a damaged file back from its second copy; with `startEmpty`, also where no copy is left. */
  recover(options?: { startEmpty?: boolean }): Promise<StoreReport>
  onEvent(listener: (event: StoreEvent) => void): Disposable
}

/** A file as it was read: which inode state, and what it said. */
interface Snapshot {
  readonly document: Document
  readonly stat: FileStat | null
  /** Written so recently that another write could bear the same time stamp: not to be reused without reading. */
  readonly isRacy: boolean
}

interface PendingCommit {
  readonly changes: readonly Change[]
  readonly resolve: (result: CommitResult) => void
  readonly reject: (error: unknown) => void
}

const emptyRereads = 5
const rereadPauseMs = 20
const racyMs = 50
const attemptsAgainstForeignWriters = 20

/**
 * Credentials in one file that is, at every instant and under every crash, a complete old or a complete new document.
 * Most users call `openStore({ path })` instead.
 *
 * Commits are atomic, durable before they are acknowledged, and exclude every other committer, proper-lockfile users
 * included. The last committed state also stands in `<path>.bak`, so that a program that empties the file in place
 * loses nothing. Reads take no lock.
 */
export function fileBackend(options: FileBackendOptions): FileBackend {
  return new FileStore(options)
}

class FileStore implements FileBackend {
  readonly exclusion = 'cas'
  readonly path: string
  readonly #format: Format
  readonly #files: FileOperations
  readonly #options: FileBackendOptions
  readonly #listeners = new Set<(event: StoreEvent) => void>()
  readonly #queue: PendingCommit[] = []
  #lock: { readonly target: string; readonly lock: FileLock } | undefined
  #snapshot: Snapshot | undefined
  #working: Promise<void> | undefined
  #hasSwept = false
  #isClosed = false

  constructor(options: FileBackendOptions) {
    this.path = options.path
    this.#options = options
    this.#format = options.format ?? nativeFormat
    this.#files = options.files ?? systemFiles
    if (options.onEvent !== undefined) this.#listeners.add(options.onEvent)
  }

  async read(key: string): Promise<Versioned | null> {
    const { document } = await this.#current()
    return copyOf(this.#entry(document, key))
  }

  async keys(): Promise<readonly string[]> {
    const { document } = await this.#current()
    return this.#format.keys(document)
  }

  async commit(changes: readonly Change[]): Promise<CommitResult> {
    this.#assertOpen()
    if (new Set(changes.map(({ key }) => key)).size !== changes.length) throw new TypeError('a key occurs twice')
    const answer = new Promise<CommitResult>((resolve, reject) => this.#queue.push({ changes, resolve, reject }))
    this.#working ??= this.#work()
    return answer
  }

  async waitForChange(key: string, since: string | null, timeoutMs: number): Promise<void> {
    this.#assertOpen()
    const deadline = performance.now() + timeoutMs
    while (!this.#isClosed) {
      const { document } = await this.#current()
      if ((this.#entry(document, key)?.revision ?? null) !== since) return
      const left = deadline - performance.now()
      if (left <= 0) return
      await delay(Math.min(left, 8 + Math.random() * 8))
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await this.#working
  }

  onEvent(listener: (event: StoreEvent) => void): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) }
  }

  async verify(): Promise<StoreReport> {
    this.#assertOpen()
    const target = this.#target()
    const finding = this.#examine(target)
    const copy = this.#examine(copyPath(target))
    const keys = finding.kind === 'valid' ? this.#format.keys(finding.document) : []
    const unreadable = keys.filter((key) => finding.kind === 'valid' && !this.#isReadable(finding.document, key))
    return {
      path: this.path,
      state: finding.kind,
      ...('what' in finding ? { what: finding.what } : {}),
      entries: keys.filter((key) => !key.startsWith(':')).length,
      unreadable,
      copy: copy.kind,
    }
  }

  async recover(options: { startEmpty?: boolean } = {}): Promise<StoreReport> {
    this.#assertOpen()
    const target = this.#target()
    await this.#underLock(target, (held) => this.#loadOrRestore(target, held, options.startEmpty === true))
    return this.verify()
  }

  // --- reading ---------------------------------------------------------------------------------------------------

  async #current(): Promise<Snapshot> {
    this.#assertOpen()
    const target = this.#target()
    const cached = this.#snapshot
    if (cached !== undefined && !cached.isRacy && this.#isUnchanged(target, cached)) return cached
    for (let reread = 0; ; reread++) {
      const loaded = this.#load(target)
      if ('document' in loaded) return this.#remember(loaded)
      // Somebody may be writing in place right now: look again before calling it damage.
      if (reread === emptyRereads) break
      await delay(rereadPauseMs)
    }
    return this.#underLock(target, (held) => this.#loadOrRestore(target, held, false))
  }

  #load(target: string): Snapshot | Exclude<Finding, { kind: 'valid' }> {
    const found = step(this.path, 'read', () => this.#files.read(target))
    const finding = examine(found?.bytes ?? null, this.#format)
    const stat = found?.stat ?? null
    switch (finding.kind) {
      case 'valid':
        return { document: finding.document, stat, isRacy: isRacy(stat) }
      case 'newer':
        throw new AuthkeepError('store_corrupt', { path: this.path, what: finding.what })
      case 'absent':
        // A copy without a file: somebody removed the file, and that is no logout.
        if (this.#files.lstat(copyPath(target)) !== null) return finding
        return { document: this.#format.empty(), stat: null, isRacy: true }
      case 'damaged':
        return finding
    }
  }

  #remember(snapshot: Snapshot): Snapshot {
    this.#snapshot = snapshot
    return snapshot
  }

  #isUnchanged(target: string, snapshot: Snapshot): boolean {
    const stat = step(this.path, 'stat', () => this.#files.lstat(target))
    return (stat?.identity ?? null) === (snapshot.stat?.identity ?? null)
  }

  #examine(path: string): Finding {
    return examine(step(this.path, 'read', () => this.#files.read(path))?.bytes ?? null, this.#format)
  }

  #entry(document: Document, key: string): Entry | null {
    try {
      return this.#format.entry(document, key)
    } catch (error) {
      if (error instanceof FormatError) {
        throw new AuthkeepError('store_corrupt', { path: this.path, key, what: error.what })
      }
      throw error
    }
  }

  #isReadable(document: Document, key: string): boolean {
    try {
      this.#entry(document, key)
      return true
    } catch (error) {
      if (isAuthkeepError(error, 'store_corrupt')) return false
      throw error
    }
  }

  #target(): string {
    return realTarget(this.#files, this.path)
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new TypeError('the store is closed')
  }

  #emit(event: StoreEvent): void {
    for (const listener of this.#listeners) listener(event)
  }

  // --- recovering ------------------------------------------------------------------------------------------------

  /** Under the lock: what the file says, restored first if it has to be. */
  async #loadOrRestore(target: string, held: HeldLock, startEmpty: boolean): Promise<Snapshot> {
    const loaded = this.#load(target)
    if ('document' in loaded) return loaded
    const what = loaded.kind === 'absent' ? 'the file is gone' : loaded.what
    const copy = this.#examine(copyPath(target))
    if (copy.kind !== 'valid' && !startEmpty) {
      throw new AuthkeepError('store_corrupt', { path: this.path, what: `${what}, and there is no good copy of it` })
    }
    const quarantine = await this.#quarantine(target)
    const good = copy.kind === 'valid' ? restored(copy.document, this.#format) : this.#format.empty()
    const snapshot = await this.#write(target, good, this.#files.lstat(target), held)
    if (snapshot === null) {
      if (held.isHeld()) return this.#loadOrRestore(target, held, startEmpty)
      throw new AuthkeepError('store_busy', { path: this.path })
    }
    this.#emit({
      type: 'recovered',
      path: this.path,
      what,
      restoredFrom: copy.kind === 'valid' ? copyPath(target) : null,
      quarantine,
    })
    return snapshot
  }

  /** Keeps the bytes of a damaged file: somebody may be able to read more out of them than we can. */
  async #quarantine(target: string): Promise<string | null> {
    const found = step(this.path, 'read', () => this.#files.read(target))
    if (found === null) return null
    const base = basename(target)
    const path = join(dirname(target), `${base}.corrupt-${new Date().toISOString().replaceAll(':', '')}`)
    await slowStep(this.path, 'quarantine', () => this.#files.replaceBeside(path, found.bytes))
    const names = step(this.path, 'readdir', () => this.#files.readdir(dirname(target)))
    for (const name of expiredQuarantines(names, base)) tidy(() => this.#files.unlink(join(dirname(target), name)))
    return path
  }

  // --- writing ---------------------------------------------------------------------------------------------------

  /** Takes what waits and commits it as one write, until nothing waits. */
  async #work(): Promise<void> {
    while (this.#queue.length > 0) {
      let group: readonly PendingCommit[] = []
      try {
        const target = this.#target()
        let isDone = false
        while (!isDone) {
          isDone = await this.#underLock(target, (held) => {
            // Whatever was asked for while we waited for the lock is part of this write.
            group = [...group, ...this.#queue.splice(0)]
            return this.#commitGroup(target, group, held)
          })
        }
      } catch (error) {
        for (const commit of [...group, ...this.#queue.splice(0)]) commit.reject(error)
      }
    }
    // In the tick that saw the queue empty: a commit that comes a moment later must find nobody at work.
    this.#working = undefined
  }

  /**
   * Each commit of the group on top of the one before it; answered only once what it speaks of is durable. False: the
   * lock was lost on the way, and nobody has been answered.
   */
  async #commitGroup(target: string, group: readonly PendingCommit[], held: HeldLock): Promise<boolean> {
    for (let attempt = 0; attempt < attemptsAgainstForeignWriters; attempt++) {
      if (!held.isHeld()) return false
      const before = await this.#loadOrRestore(target, held, false)
      const outcome = this.#apply(before.document, group)
      const after = outcome.changed ? await this.#write(target, outcome.document, before.stat, held) : before
      if (after === null) continue
      this.#remember(after)
      for (const [index, commit] of group.entries()) {
        const refused = outcome.refusals[index]
        if (refused == null) commit.resolve({ ok: true })
        else commit.resolve({ ok: false, key: refused, current: copyOf(this.#entry(after.document, refused)) })
      }
      return true
    }
    throw new AuthkeepError('store_busy', { path: this.path, owner: 'a program that does not take the lock' })
  }

  /** Pure: the document after every commit whose expectations hold, and the first key that did not for the others. */
  #apply(
    document: Document,
    group: readonly PendingCommit[],
  ): { document: Document; changed: boolean; refusals: readonly (string | null)[] } {
    let result = document
    const refusals = group.map(({ changes }) => {
      const refused = changes.find(({ key, expected }) => (this.#entry(result, key)?.revision ?? null) !== expected)
      if (refused !== undefined) return refused.key
      result = this.#format.put(
        result,
        changes.map(({ key, next }) => [key, next]),
      )
      return null
    })
    return { document: result, changed: result !== document, refusals }
  }

  /**
   * One durable write under the lock. Null: the file is no longer the one we read, or the lock is no longer ours;
   * nothing visible has changed, and the caller starts again from reading.
   */
  async #write(target: string, document: Document, seen: FileStat | null, held: HeldLock): Promise<Snapshot | null> {
    const bytes = Buffer.from(this.#format.print(document))
    if (examine(bytes, this.#format).kind !== 'valid')
      throw new TypeError('a document must read back as it was written')
    const isStillOurs = (): boolean =>
      held.isHeld() && (this.#files.lstat(target)?.identity ?? null) === (seen?.identity ?? null)

    const draft = await writeDraft(this.#files, target, bytes, seen)
    try {
      if (!isStillOurs()) return discard(this.#files, draft)
      // The copy first: a full disk shows while the file itself is untouched, and a successor that made it into the
      // copy is not lost should we die before the rename.
      await slowStep(target, 'copy', () => this.#files.replaceBeside(copyPath(target), bytes))
      // From here to the rename nothing is awaited: nobody can come between the look and the deed but by the fence.
      if (!isStillOurs()) return discard(this.#files, draft)
      step(target, 'rename', () => this.#files.rename(draft, target))
    } catch (error) {
      tidy(() => this.#files.unlink(draft))
      throw error
    }
    const stat = this.#files.lstat(target)
    await this.#makeDurable(target)
    return { document, stat, isRacy: true }
  }

  /** The new document is visible; whether it survives a power cut is decided here. There is no way back from here. */
  async #makeDurable(target: string): Promise<void> {
    try {
      await this.#files.fsyncDirectory(dirname(target))
    } catch (error) {
      const errno = errnoOf(error)
      // Some FUSE and SMB file systems know no such call: as durable as they make it.
      if (errno === 'EINVAL' || errno === 'ENOTSUP') return
      if (errno === undefined) throw error
      this.#snapshot = undefined
      throw new AuthkeepError('write_indeterminate', { key: this.path })
    }
  }

  async #underLock<T>(target: string, run: (held: HeldLock) => Promise<T>): Promise<T> {
    step(this.path, 'mkdir', () => this.#files.makeDirectories(dirname(target)))
    if (this.#lock?.target !== target) {
      const { owner, lockTimeoutMs, staleLockMs } = this.#options
      this.#lock = {
        target,
        lock: new FileLock({
          files: this.#files,
          path: target,
          ...(owner === undefined ? {} : { owner }),
          ...(lockTimeoutMs === undefined ? {} : { timeoutMs: lockTimeoutMs }),
          ...(staleLockMs === undefined ? {} : { staleMs: staleLockMs }),
        }),
      }
    }
    const held = await this.#lock.lock.acquire()
    try {
      if (!this.#hasSwept || held.wasTakenOver) this.#sweep(target)
      return await run(held)
    } finally {
      await held.release()
    }
  }

  /**
   * Removes what dead writers left behind: drafts hold secrets. One that bears our own number is left over as well,
   * because we write only with the lock held: in a container every process may be number 1.
   */
  #sweep(target: string): void {
    const directory = dirname(target)
    for (const name of step(this.path, 'readdir', () => this.#files.readdir(directory))) {
      const pid = temporaryOwner(target, name)
      const isDeadDraft = pid !== null && (pid === process.pid || !isRunning(pid))
      const isDeadCopy = name.startsWith(`${basename(copyPath(target))}.`)
      if (isDeadDraft || isDeadCopy) tidy(() => this.#files.unlink(join(directory, name)))
    }
    this.#hasSwept = true
  }
}

/** Where the newest committed state stands a second time, in an inode of its own. */
export function copyPath(target: string): string {
  return `${target}.bak`
}

function isRacy(stat: FileStat | null): boolean {
  return stat === null || Date.now() - stat.mtimeMs < racyMs
}

function copyOf(entry: Entry | null): Versioned | null {
  return entry === null ? null : { value: structuredClone(entry.value), revision: entry.revision }
}

function discard(files: FileOperations, draft: string): null {
  tidy(() => files.unlink(draft))
  return null
}
