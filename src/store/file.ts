import { dirname } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { JsonObject, Owner } from '../credential.ts'
import { AuthkeepError, isAuthkeepError } from '../errors.ts'
import { type Document, type Entry, type Format, FormatError } from '../formats/format.ts'
import { nativeFormat } from '../formats/native.ts'
import { realTarget, step } from './atomic-write.ts'
import { type Change, type CommitResult, copyOf, type Versioned, type VersionedBackend } from './backend.ts'
import { type Damage, DocumentFile, type Snapshot } from './document-file.ts'
import { type Backup, type StoreEvent, type StoreReport, tell } from './events.ts'
import { FileLock, type HeldLock } from './file-lock.ts'
import { type FileOperations, systemFiles } from './file-operations.ts'
import { withOlder } from './recover.ts'
import { type Spent, SpentFile } from './spent.ts'
import { StateBeside } from './state-beside.ts'

/** Which file, how it is spelled, and how long to wait for others who write it. */
export interface FileBackendOptions {
  readonly path: string
  readonly format?: Format
  /** How many older generations to keep beside the second copy, at most one an hour; default 3. */
  readonly backups?: number
  /** How long a commit waits for another process before `store_busy`; default 20 s, in a file of pi's 40 s. */
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

/**
 * A backend that keeps one file, and can say how that file is. Every method rejects with `store_failed` when the file
 * cannot be read or written, those that write also with `store_busy`; an error changes nothing.
 */
export interface FileBackend extends VersionedBackend {
  readonly path: string
  /** Where the file really is, symbolic links followed. */
  readonly target: string
  /** How the file and its second copy are. Changes nothing. */
  verify(): Promise<StoreReport>
  /**
   * Brings a damaged file back; with `startEmpty`, also where nothing is left to bring back. Else that rejects with
   * `store_corrupt`.
   */
  recover(options?: { startEmpty?: boolean }): Promise<StoreReport>
  /** Older states that can be gone back to, newest first. */
  backups(): Promise<readonly Backup[]>
  /** Brings the entries of an older state back. Rejects with a TypeError for an id that `backups` does not list. */
  restore(id: string): Promise<StoreReport>
  /** Other values for the entries of older states; the names stay. */
  rewriteOlder(change: (key: string, value: JsonObject) => Promise<JsonObject>): Promise<void>
  /** What is known to be spent, from beside the file. */
  spent(): Promise<Spent>
  /** Remembers a refresh token, by its fingerprint, as spent since `at` (Unix milliseconds). */
  noteSpent(fingerprint: string, at: number): Promise<void>
  /** The program whose file it is and that refreshes under its own lock, where there is one. */
  readonly refreshOwner: string | undefined
  /** Keeps other committers, and the owner of the file, out until `run` has ended; `isHeld` says whether it still does. */
  whileLocked<T>(run: (isHeld: () => boolean) => Promise<T>): Promise<T>
  /** The entry as it stands in the second copy; null where there is none that can be read. */
  readCopy(key: string): Promise<JsonObject | null>
  /** Hears of recoveries, until what is returned is disposed of. */
  onEvent(listener: (event: StoreEvent) => void): Disposable
}

interface PendingCommit {
  readonly changes: readonly Change[]
  readonly resolve: (result: CommitResult) => void
  readonly reject: (error: unknown) => void
}

/** The file behind the path, and its lock; another one when a symbolic link has been pointed elsewhere. */
interface Opened {
  readonly file: DocumentFile
  readonly lock: FileLock
  readonly spent: SpentFile
  hasSwept: boolean
}

/** The lock, held for more than one write; by several at once in this process. */
interface Session {
  readonly file: DocumentFile
  readonly held: HeldLock
  users: number
}

/** What one commit of a group comes to. */
type Verdict = 'accepted' | { readonly refused: string } | { readonly error: unknown }

const rereads = 5
const rereadPauseMs = 20
const attemptsAgainstForeignWriters = 20

/**
 * Credentials in one file that is, at every instant and under every crash, a complete old or a complete new document.
 * Most users call `openStore({ path })` instead.
 *
 * Commits are atomic, durable before they are acknowledged, and exclude every other committer, proper-lockfile users
 * included. The last committed state also stands in `<path>.bak`, so that a program that empties the file in place
 * loses nothing. Reads take no lock. A file that is mounted by itself is written in place, and then excludes only
 * committers on this side of the mount (`exclusion: 'none'`).
 */
export function fileBackend(options: FileBackendOptions): FileBackend {
  const { format = nativeFormat } = options
  if (format.state !== 'beside') return new FileStore(options)
  return new StateBeside(new FileStore(options), (target) => {
    return new FileStore({ ...options, path: `${target}.state`, format: nativeFormat, backups: 0 })
  })
}

class FileStore implements FileBackend {
  readonly path: string
  readonly #format: Format
  readonly #files: FileOperations
  readonly #options: FileBackendOptions
  readonly #listeners = new Set<(event: StoreEvent) => void>()
  readonly #queue: PendingCommit[] = []
  #open: Opened | undefined
  #snapshot: Snapshot | undefined
  #working: Promise<void> | undefined
  #turn: Promise<unknown> = Promise.resolve()
  #session: Session | undefined
  #isClosed = false

  constructor(options: FileBackendOptions) {
    this.path = options.path
    this.#options = options
    this.#format = options.format ?? nativeFormat
    this.#files = options.files ?? systemFiles
    if (options.onEvent !== undefined) this.#listeners.add(options.onEvent)
  }

  get refreshOwner(): string | undefined {
    return this.#format.refreshLock === undefined ? undefined : this.#format.owner
  }

  get target(): string {
    return realTarget(this.#files, this.path)
  }

  get exclusion(): 'cas' | 'none' {
    return this.#open?.file.exclusion ?? 'cas'
  }

  async read(key: string): Promise<Versioned | null> {
    const { document } = await this.#current()
    const entry = this.#entry(document, key)
    return entry === null ? null : copyOf(entry)
  }

  async keys(): Promise<readonly string[]> {
    const { document } = await this.#current()
    return this.#format.keys(document)
  }

  /** What has been read is read again only after a change, so its identity is the file's. */
  async version(): Promise<unknown> {
    return (await this.#current()).document
  }

  async commit(changes: readonly Change[]): Promise<CommitResult> {
    this.#assertOpen()
    if (new Set(changes.map(({ key }) => key)).size !== changes.length) throw new TypeError('a key occurs twice')
    const own = changes.map((change) => ({ ...change, next: copiedJson(change.next) }))
    const answer = new Promise<CommitResult>((resolve, reject) => this.#queue.push({ changes: own, resolve, reject }))
    this.#working ??= this.#work()
    return answer
  }

  async waitForChange(key: string, since: string | null, timeoutMs: number): Promise<void> {
    this.#assertOpen()
    const startedAt = performance.now()
    while (!this.#isClosed) {
      const { document } = await this.#current()
      if ((this.#entry(document, key)?.revision ?? null) !== since) return
      const waitedMs = performance.now() - startedAt
      if (waitedMs >= timeoutMs) return
      // Who has waited long can wait a little longer.
      const pauseMs = Math.min(16, 2 + waitedMs / 8) * (0.5 + Math.random() / 2)
      await delay(Math.min(timeoutMs - waitedMs, pauseMs))
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await this.#working
    await this.#turn
  }

  onEvent(listener: (event: StoreEvent) => void): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) }
  }

  // --- looking after the file ------------------------------------------------------------------------------------

  async verify(): Promise<StoreReport> {
    this.#assertOpen()
    const file = this.#file()
    const copy = file.copy().kind
    const loaded = this.#loadAnyVersion(file)
    const common = { path: this.path, copy }
    if ('newer' in loaded) return { ...common, state: 'newer', what: loaded.newer, entries: 0, unreadable: [] }
    if ('what' in loaded) {
      const state = loaded.stat === null ? 'absent' : 'damaged'
      return { ...common, state, what: loaded.what, entries: 0, unreadable: [] }
    }
    const keys = this.#format.keys(loaded.document).filter((key) => !key.startsWith(':'))
    const unreadable = keys.filter((key) => !this.#isReadable(loaded.document, key))
    return { ...common, state: loaded.stat === null ? 'absent' : 'valid', entries: keys.length, unreadable }
  }

  async recover(options: { startEmpty?: boolean } = {}): Promise<StoreReport> {
    this.#assertOpen()
    await this.#underLock((file, held) => this.#loadOrRestore(file, held, options.startEmpty === true))
    return this.verify()
  }

  async backups(): Promise<readonly Backup[]> {
    this.#assertOpen()
    return this.#file()
      .generations.list()
      .map(({ id, takenAt, entries }) => ({ id, takenAt, entries }))
  }

  async restore(id: string): Promise<StoreReport> {
    this.#assertOpen()
    await this.#underLock(async (file, held) => {
      const generation = file.generations.list().find((one) => one.id === id)
      if (generation === undefined) throw new TypeError('there is no generation of that id')
      const current = await this.#loadOrRestore(file, held, true)
      const next = withOlder(current.document, generation.document, this.#format, Date.now())
      const written = await file.write(next, current, held)
      if (written === null) throw new AuthkeepError('store_busy', { path: this.path })
      this.#snapshot = written
    })
    return this.verify()
  }

  async rewriteOlder(change: (key: string, value: JsonObject) => Promise<JsonObject>): Promise<void> {
    this.#assertOpen()
    await this.#file().generations.rewrite(change, (run) => this.#underLock(run))
  }

  async spent(): Promise<Spent> {
    this.#assertOpen()
    return this.#opened().spent.read()
  }

  async noteSpent(fingerprint: string, at: number): Promise<void> {
    this.#assertOpen()
    const { spent } = this.#opened()
    await this.#underLock(() => spent.add(fingerprint, at))
  }

  async readCopy(key: string): Promise<JsonObject | null> {
    this.#assertOpen()
    const copy = this.#file().copy()
    if (copy.kind !== 'valid' || !this.#isReadable(copy.document, key)) return null
    return this.#entry(copy.document, key)?.value ?? null
  }

  // --- reading ---------------------------------------------------------------------------------------------------

  async #current(): Promise<Snapshot> {
    this.#assertOpen()
    const file = this.#file()
    const cached = this.#snapshot
    if (cached !== undefined && !cached.isRacy && file.isUnchanged(cached)) return cached
    for (let reread = 0; ; reread++) {
      const loaded = file.load(this.#snapshot)
      if ('document' in loaded) return this.#remember(loaded)
      // Somebody may be writing in place right now: look again before calling it damage.
      if (reread === rereads) break
      await delay(rereadPauseMs)
    }
    return this.#underLock((now, held) => this.#loadOrRestore(now, held, false))
  }

  /** Under the lock: what the file says, restored first if it has to be. */
  async #loadOrRestore(file: DocumentFile, held: HeldLock, startEmpty: boolean): Promise<Snapshot> {
    for (let attempt = 0; attempt < attemptsAgainstForeignWriters && held.isHeld(); attempt++) {
      const loaded = file.load(this.#snapshot)
      if ('document' in loaded) return loaded
      const restored = await file.restore(loaded, held, { startEmpty, now: Date.now() })
      if (restored === null) continue
      this.#emit(restored.event)
      return this.#remember(restored.snapshot)
    }
    throw new AuthkeepError('store_busy', { path: this.path })
  }

  #loadAnyVersion(file: DocumentFile): Snapshot | Damage | { readonly newer: string } {
    try {
      return file.load()
    } catch (error) {
      if (isAuthkeepError(error, 'store_corrupt')) return { newer: error.detail.what }
      throw error
    }
  }

  #remember(snapshot: Snapshot): Snapshot {
    this.#snapshot = snapshot
    return snapshot
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

  // --- writing ---------------------------------------------------------------------------------------------------

  /** Takes what waits and commits it as one write, until nothing waits. */
  async #work(): Promise<void> {
    while (this.#queue.length > 0) {
      let group: readonly PendingCommit[] = []
      try {
        let isDone = false
        while (!isDone) {
          isDone = await this.#underLock((file, held) => {
            // Whatever was asked for while we waited for the lock is part of this write.
            group = [...group, ...this.#queue.splice(0)]
            return this.#commitGroup(file, group, held)
          })
        }
      } catch (error) {
        for (const commit of [...group, ...this.#queue.splice(0)]) commit.reject(asOf(commit, error))
      }
    }
    // In the tick that saw the queue empty: a commit that comes a moment later must find nobody at work.
    this.#working = undefined
  }

  /**
   * Each commit of the group on top of the one before it; answered only once what it speaks of is durable. False: the
   * lock was lost on the way, and nobody has been answered.
   */
  async #commitGroup(file: DocumentFile, group: readonly PendingCommit[], held: HeldLock): Promise<boolean> {
    for (let attempt = 0; attempt < attemptsAgainstForeignWriters; attempt++) {
      if (!held.isHeld()) return false
      const before = await this.#loadOrRestore(file, held, false)
      const { document, verdicts } = this.#apply(before.document, group)
      const hasChanged = document !== before.document
      const after = hasChanged ? await file.write(document, before, held) : before
      if (after === null) continue
      this.#remember(after)
      // A refusal names what stands there now, which a writer that died may have left visible and not durable.
      if (!hasChanged && verdicts.some((verdict) => verdict !== 'accepted') && file.isRecent(after))
        await file.makeDurable()
      if (hasChanged) await file.tidyUp(before.document, this.#deleted(before.document, document, group), Date.now())
      for (const [index, commit] of group.entries()) this.#answer(commit, verdicts[index] ?? 'accepted', after.document)
      return true
    }
    throw new AuthkeepError('store_busy', { path: this.path, owner: 'a program that does not take the lock' })
  }

  #answer(commit: PendingCommit, verdict: Verdict, document: Document): void {
    if (verdict === 'accepted') commit.resolve({ ok: true })
    else if ('error' in verdict) commit.reject(verdict.error)
    else {
      const current = this.#entry(document, verdict.refused)
      commit.resolve({ ok: false, key: verdict.refused, current: current === null ? null : copyOf(current) })
    }
  }

  /** Pure: the document after every commit whose expectations hold, and what each one comes to. */
  #apply(document: Document, group: readonly PendingCommit[]): { document: Document; verdicts: readonly Verdict[] } {
    let result = document
    const verdicts = group.map(({ changes }): Verdict => {
      try {
        const stale = changes.find(({ key, expected }) => (this.#entry(result, key)?.revision ?? null) !== expected)
        if (stale !== undefined) return { refused: stale.key }
        result = this.#format.put(
          result,
          changes.map(({ key, next }) => [key, next]),
        )
        return 'accepted'
      } catch (error) {
        // An entry that cannot be read is the trouble of whoever wants to change it, and of nobody else in the group.
        return {
          error: error instanceof FormatError ? new AuthkeepError('not_supported', { feature: error.what }) : error,
        }
      }
    })
    return { document: result, verdicts }
  }

  #deleted(
    before: Document,
    after: Document,
    group: readonly PendingCommit[],
  ): readonly (readonly [string, JsonObject])[] {
    const keys = new Set(
      group.flatMap(({ changes }) => changes.filter(({ next }) => next === null).map(({ key }) => key)),
    )
    return [...keys].flatMap((key) => {
      const entry = this.#isReadable(before, key) ? this.#entry(before, key) : null
      return entry === null || this.#entry(after, key) !== null ? [] : [[key, entry.value] as const]
    })
  }

  async whileLocked<T>(run: (isHeld: () => boolean) => Promise<T>): Promise<T> {
    this.#assertOpen()
    const session = await this.#inTurn(() => this.#join())
    try {
      return await run(() => session.held.isHeld())
    } finally {
      await this.#inTurn(() => this.#leave(session))
    }
  }

  async #join(): Promise<Session> {
    if (this.#session?.held.isHeld() !== true) this.#session = { ...(await this.#acquire()), users: 0 }
    this.#session.users++
    return this.#session
  }

  async #leave(session: Session): Promise<void> {
    session.users--
    if (session.users > 0) return
    if (this.#session === session) this.#session = undefined
    // What was taken away from us may be somebody else's by now, or ours again for another purpose.
    if (session.held.isHeld()) await session.held.release()
  }

  #underLock<T>(run: (file: DocumentFile, held: HeldLock) => Promise<T>): Promise<T> {
    return this.#inTurn(() => {
      const session = this.#session
      return session?.held.isHeld() === true ? run(session.file, session.held) : this.#withLock(run)
    })
  }

  /** One at a time in this process, too: a reader that recovers and a commit would take each other's lock for lost. */
  #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(run)
    this.#turn = mine.catch(() => undefined)
    return mine
  }

  async #withLock<T>(run: (file: DocumentFile, held: HeldLock) => Promise<T>): Promise<T> {
    const { file, held } = await this.#acquire()
    try {
      return await run(file, held)
    } finally {
      await held.release()
    }
  }

  async #acquire(): Promise<{ file: DocumentFile; held: HeldLock }> {
    const opened = this.#opened()
    const { file, lock } = opened
    step(this.path, 'mkdir', () => this.#files.makeDirectories(dirname(file.target)))
    const held = await lock.acquire()
    try {
      if (!opened.hasSwept || held.wasTakenOver) file.sweep()
      opened.hasSwept = true
      return { file, held }
    } catch (error) {
      await held.release()
      throw error
    }
  }

  #file(): DocumentFile {
    return this.#opened().file
  }

  #opened(): Opened {
    const { target } = this
    if (this.#open?.file.target === target) return this.#open
    const { owner, lockTimeoutMs, backups = 3 } = this.#options
    const staleLockMs = this.#options.staleLockMs ?? this.#format.refreshLock?.staleMs
    const files = this.#files
    this.#snapshot = undefined
    this.#open = {
      file: new DocumentFile({ files, path: this.path, target, format: this.#format, generations: backups }),
      lock: new FileLock({
        ...{ files, path: target },
        ...(owner === undefined ? {} : { owner }),
        ...(lockTimeoutMs === undefined ? {} : { timeoutMs: lockTimeoutMs }),
        ...(staleLockMs === undefined ? {} : { staleMs: staleLockMs }),
      }),
      spent: new SpentFile(files, target),
      hasSwept: false,
    }
    return this.#open
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new TypeError('the store is closed')
  }

  #emit(event: StoreEvent): void {
    for (const listener of this.#listeners) tell(listener, event)
  }
}

/** Whether a commit is durable is a question about its own keys. */
function asOf({ changes }: PendingCommit, error: unknown): unknown {
  if (!isAuthkeepError(error, 'write_indeterminate')) return error
  return new AuthkeepError('write_indeterminate', { key: changes[0]?.key ?? '' })
}

/** What the file will say: no later change of the caller's object may show in it. */
function copiedJson(value: JsonObject | null): JsonObject | null {
  return value === null ? null : (JSON.parse(JSON.stringify(value)) as JsonObject)
}
