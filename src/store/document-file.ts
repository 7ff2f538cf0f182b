import { basename, dirname, join } from 'node:path'
import type { JsonObject } from '../credential.ts'
import { AuthkeepError, errnoOf, isAuthkeepError } from '../errors.ts'
import type { Document, Format } from '../formats/format.ts'
import { isRunning } from '../owner.ts'
import { Draft, hasLostPages, step, temporaryOwner, tidy } from './atomic-write.ts'
import type { StoreEvent } from './events.ts'
import type { HeldLock } from './file-lock.ts'
import type { FileOperations, FileStat } from './file-operations.ts'
import { Generations } from './generations.ts'
import { isUnreplaceable, replacedOnHost, settledBytes, writeInPlace } from './in-place.ts'
import { Quarantine } from './quarantine.ts'
import { credentialsIn, examine, type Finding, refreshed, revived } from './recover.ts'
import { type CopySeal, copyPath, sealedCopy, sealOf } from './second-copy.ts'

export interface DocumentFileOptions {
  readonly files: FileOperations
  /** As the application named it, for messages. */
  readonly path: string
  /** Where it really is. */
  readonly target: string
  readonly format: Format
  /** How many generations to keep. */
  readonly generations: number
}

/** A file as it was read: which inode state, what bytes, and what they say. */
export interface Snapshot {
  readonly document: Document
  readonly bytes: Buffer | null
  readonly stat: FileStat | null
  /** Written so recently that another write could bear the same time stamp: not to be reused without reading. */
  readonly isRacy: boolean
}

/** A file that must not be taken for what it says. */
export interface Damage {
  readonly what: string
  readonly bytes: Buffer | null
  readonly stat: FileStat | null
}

/** Complete, synced files beside the real ones. */
interface Drafts {
  readonly file: Draft
  readonly copy: Draft
}

const racyMs = 50
const rotten = 'its content is not what was written'
/** Every file system writes back what it was not asked to sync well within this time. */
const writtenBackMs = 600_000
/** Some FUSE and SMB file systems know no sync of a directory: as durable as they make it. */
const notDurableHere: ReadonlySet<string> = new Set(['EINVAL', 'ENOTSUP'])
/** A directory above that we may not even read was not made by us. */
const notOurs: ReadonlySet<string> = new Set([...notDurableHere, 'EACCES', 'EPERM', 'EROFS'])

/**
 * One credential file with what stands beside it: the second copy, the generations, the quarantine. Knows how to tell
 * a good file from a damaged one, how to replace it so that no crash shows a half of it, and how to bring it back.
 */
export class DocumentFile {
  readonly target: string
  readonly generations: Generations
  readonly quarantine: Quarantine
  readonly #options: DocumentFileOptions
  readonly #files: FileOperations
  readonly #format: Format
  /** Known from the start where the system tells, else from the first rename that is refused. */
  #isInPlace: boolean
  /** A document of ours that came too late, over a newer one. */
  #stray: string | undefined
  /** The directories above are known to be durable. */
  #isRooted = false

  constructor(options: DocumentFileOptions) {
    this.#options = options
    this.#files = options.files
    this.#format = options.format
    this.target = options.target
    this.#isInPlace = step(options.path, 'stat', () => options.files.isMountPoint(options.target))
    this.generations = new Generations(options.files, options.target, options.format, options.generations)
    this.quarantine = new Quarantine(options.files, options.target)
  }

  /** Whether other writers are excluded: not where the file is mounted by itself, into several places perhaps. */
  get exclusion(): 'cas' | 'none' {
    return this.#isInPlace ? 'none' : 'cas'
  }

  isUnchanged(snapshot: Snapshot): boolean {
    const stat = step(this.#options.path, 'stat', () => this.#files.lstat(this.target))
    return (stat?.identity ?? null) === (snapshot.stat?.identity ?? null)
  }

  /** Whether a file was written so lately that its name may not be durable yet. */
  isRecent({ stat }: Snapshot): boolean {
    return stat !== null && Math.abs(Date.now() - stat.mtimeMs) < writtenBackMs
  }

  // --- reading ---------------------------------------------------------------------------------------------------

  /**
   * @param known what the same bytes were judged to say before
   * @throws AuthkeepError `store_failed`; `store_corrupt` for a file of a newer version
   */
  load(known?: Snapshot): Snapshot | Damage {
    const found = this.#read(this.target)
    const stat = found?.stat ?? null
    if (stat?.links === 0 && this.#files.lstat(this.target)?.links === 0) throw replacedOnHost(this.target)
    const bytes = found?.bytes ?? null
    if (bytes !== null && known?.bytes?.equals(bytes) === true) {
      return { document: known.document, bytes, stat, isRacy: isRacy(stat) }
    }
    if (stat !== null && stat.identity === this.#stray && this.copy().kind === 'valid') {
      return { what: 'a writer that had been stopped wrote over a newer state', bytes, stat }
    }
    const finding = examine(bytes === null ? null : settledBytes(bytes), this.#format)
    switch (finding.kind) {
      case 'newer':
        if (this.#isFlipped(bytes, stat)) return { what: rotten, bytes, stat }
        throw new AuthkeepError('store_corrupt', { path: this.#options.path, what: finding.what })
      case 'damaged':
        return { what: finding.what, bytes, stat }
      case 'absent':
        // A copy without a file: somebody removed the file, and that is no logout.
        if (this.copy().kind !== 'absent') return { what: 'the file is gone', bytes, stat }
        return { document: this.#format.empty(), bytes, stat, isRacy: true }
      case 'valid': {
        const what = this.#isContradicted(finding.document, bytes, stat)
        return what === null ? { document: finding.document, bytes, stat, isRacy: isRacy(stat) } : { what, bytes, stat }
      }
    }
  }

  /** What the second copy holds against a file that parses: bytes that rotted, or credentials that vanished all at once. */
  #isContradicted(document: Document, bytes: Buffer | null, stat: FileStat | null): string | null {
    const copy = this.#readCopy()
    if (copy === null || bytes === null || stat === null) return null
    const seal = sealOf(copy.bytes)
    if (seal.hasRotted(bytes, stat.identity)) return rotten
    if (credentialsIn(document, this.#format) > 0) return null
    const before = this.#examineCopy(copy.bytes, seal)
    // In another program's file the last one that goes may have been logged out there.
    const least = this.#format.owner === undefined ? 1 : 2
    const wasEmptied = before.kind === 'valid' && credentialsIn(before.document, this.#format) >= least
    return wasEmptied ? 'all its credentials are gone' : null
  }

  /** One flipped bit makes another version, too. A newer version that had written this would have written a copy, too. */
  #isFlipped(bytes: Buffer | null, stat: FileStat | null): boolean {
    const copy = this.#readCopy()
    if (copy === null || bytes === null || stat === null) return false
    const seal = sealOf(copy.bytes)
    return seal.hasRotted(bytes, stat.identity) || seal.isOneByteFrom(bytes)
  }

  /** What stands in the second copy. */
  copy(): Finding {
    const found = this.#readCopy()
    return found === null ? { kind: 'absent' } : this.#examineCopy(found.bytes, sealOf(found.bytes))
  }

  /** Beside a file that is mounted by itself a copy belongs to one container only: it may be of another age. */
  #readCopy(): ReturnType<FileOperations['read']> {
    return this.#isInPlace ? null : this.#read(copyPath(this.target))
  }

  #examineCopy(bytes: Buffer, seal: CopySeal): Finding {
    return seal.isWhole ? examine(bytes, this.#format) : { kind: 'damaged', what: rotten }
  }

  #read(path: string): ReturnType<FileOperations['read']> {
    return step(this.#options.path, 'read', () => this.#files.read(path))
  }

  // --- writing ---------------------------------------------------------------------------------------------------

  /**
   * One durable write, with the lock held. Null: the file is no longer the one that was read, or the lock is no longer
   * ours; nothing visible has changed, and the caller starts again from reading.
   *
   * @throws AuthkeepError `store_failed`; `write_indeterminate` when the new document is visible and may not be durable
   */
  async write(document: Document, seen: Pick<Snapshot, 'bytes' | 'stat'>, held: HeldLock): Promise<Snapshot | null> {
    const bytes = Buffer.from(this.#format.print(document))
    if (examine(bytes, this.#format).kind !== 'valid')
      throw new TypeError('a document must read back as it was written')
    if (this.#isInPlace && seen.bytes !== null) return this.#overwrite(document, bytes, seen.bytes, held)
    try {
      return await this.#replace(document, bytes, seen, held)
    } catch (error) {
      if (!isUnreplaceable(error) || seen.bytes === null) throw error
      // Mounted by itself, and the system did not say so.
      this.#isInPlace = true
      return this.#overwrite(document, bytes, seen.bytes, held)
    }
  }

  async #replace(
    document: Document,
    bytes: Buffer,
    seen: Pick<Snapshot, 'bytes' | 'stat'>,
    held: HeldLock,
  ): Promise<Snapshot | null> {
    const drafts = await this.#writeDrafts(bytes, seen.stat)
    try {
      // From the fence to the last rename nothing is awaited: nobody can come between the look and the deed.
      if (!this.#isStillOurs(seen, held)) return null
      drafts.file.publish()
      if (!this.#finish(drafts, held)) return null
    } finally {
      discard(drafts)
    }
    await this.makeDurable()
    return { document, bytes, stat: drafts.file.stat, isRacy: true }
  }

  /** The fence: the lock is ours, and the file the one that was read. */
  #isStillOurs(seen: Pick<Snapshot, 'stat'>, held: HeldLock): boolean {
    return step(this.target, 'fence', () => {
      const now = this.#files.lstat(this.target)
      return held.isHeld() && (now?.identity ?? null) === (seen.stat?.identity ?? null)
    })
  }

  /** The file shows the new document. What fails now is no failure of the commit, and leaves no way back. */
  #finish({ file, copy }: Drafts, held: HeldLock): boolean {
    try {
      if (held.isHeld()) {
        copy.publish()
        return true
      }
      // Stopped between the look and the deed, for so long that the lock was taken: their commit stands in the copy.
      this.#stray = file.stat.identity
      return false
    } catch (error) {
      if (!isAuthkeepError(error, 'store_failed')) throw error
      throw new AuthkeepError('write_indeterminate', { key: this.#options.path })
    }
  }

  /** The document and its second copy, complete and synced: a full disk shows while nothing visible has changed. */
  async #writeDrafts(bytes: Buffer, like: FileStat | null): Promise<Drafts> {
    for (let isSecond = false; ; isSecond = true) {
      const drafts = this.#openDrafts(bytes, like)
      const syncs = await Promise.allSettled([drafts.file.sync(), drafts.copy.sync()])
      const failure = syncs.find((sync) => sync.status === 'rejected')
      if (failure === undefined) return drafts
      discard(drafts)
      // To other files, once: what did not reach the disk is not in these any more.
      if (isSecond || !hasLostPages(failure.reason)) throw failure.reason
    }
  }

  #openDrafts(bytes: Buffer, like: FileStat | null): Drafts {
    const file = new Draft(this.#files, this.target, bytes, like)
    try {
      const sealed = sealedCopy(bytes, file.stat.identity)
      return { file, copy: new Draft(this.#files, copyPath(this.target), sealed, like) }
    } catch (error) {
      file.discard()
      throw error
    }
  }

  async #overwrite(document: Document, bytes: Buffer, seen: Buffer, held: HeldLock): Promise<Snapshot | null> {
    // By content: where nobody is excluded, equal time stamps prove nothing.
    const now = this.#read(this.target)
    if (now?.bytes.equals(seen) !== true || !held.isHeld()) return null
    await writeInPlace(this.#files, this.target, now.bytes, bytes)
    return { document, bytes, stat: this.#files.lstat(this.target), isRacy: true }
  }

  /**
   * The new document is visible; whether it survives a power cut is decided here. There is no way back from here. It
   * may stand in directories that are as new as it is, so before the first success those are synced too.
   */
  async makeDurable(): Promise<void> {
    const directory = dirname(this.target)
    await this.#syncDirectory(directory, notDurableHere)
    for (let at = directory; !this.#isRooted && dirname(at) !== at && this.#isNew(at); at = dirname(at)) {
      await this.#syncDirectory(dirname(at), notOurs)
    }
    this.#isRooted = true
  }

  /** Whether a directory is so young that its name may not be durable; of what does not say, it is believed. */
  #isNew(directory: string): boolean {
    let birthtimeMs = 0
    tidy(() => {
      birthtimeMs = this.#files.lstat(directory)?.birthtimeMs ?? 0
    })
    return birthtimeMs === 0 || Math.abs(Date.now() - birthtimeMs) < writtenBackMs
  }

  async #syncDirectory(path: string, tolerated: ReadonlySet<string>): Promise<void> {
    try {
      await this.#files.fsyncDirectory(path)
    } catch (error) {
      const errno = errnoOf(error)
      if (errno === undefined) throw error
      if (!tolerated.has(errno)) throw new AuthkeepError('write_indeterminate', { key: this.#options.path })
    }
  }

  /**
   * After a commit that is durable already: a generation of what was before, now and then, and no trace of what was
   * deleted. What fails here fails nobody's commit.
   */
  async tidyUp(
    before: Document,
    deleted: readonly (readonly [key: string, value: JsonObject])[],
    now: number,
  ): Promise<void> {
    try {
      if (!this.#isInPlace) await this.generations.keep(before, now)
      if (deleted.length === 0) return
      await this.generations.forget(deleted.map(([key]) => key))
      for (const [, value] of deleted) await this.quarantine.forget(value)
    } catch (error) {
      if (!isAuthkeepError(error, 'store_failed') && errnoOf(error) === undefined) throw error
    }
  }

  // --- bringing back ---------------------------------------------------------------------------------------------

  /**
   * Brings a damaged file back: from the second copy as it is, which is the newest committed state; else from a
   * generation, or what is whole in the damaged text, with everything that may have been spent since marked so. Null
   * as for `write`.
   *
   * @throws AuthkeepError `store_corrupt` when nothing is left to bring back, unless `startEmpty`
   */
  async restore(
    damage: Damage,
    held: HeldLock,
    options: { readonly startEmpty: boolean; readonly now: number },
  ): Promise<{ snapshot: Snapshot; event: StoreEvent } | null> {
    const good = this.#findGood(damage, options)
    const quarantine = damage.bytes === null ? null : await this.quarantine.keep(damage.bytes)
    const snapshot = await this.write(good.document, damage, held)
    if (snapshot === null) return null
    const { path } = this.#options
    return {
      snapshot,
      event: { type: 'recovered', path, what: damage.what, restoredFrom: good.from, quarantine },
    }
  }

  #findGood(
    damage: Damage,
    { startEmpty, now }: { startEmpty: boolean; now: number },
  ): { document: Document; from: string | null } {
    const copy = this.copy()
    if (copy.kind === 'valid') return { document: refreshed(copy.document, this.#format), from: copyPath(this.target) }
    const nothing = this.#format.empty()
    const newest = this.#isInPlace ? undefined : this.generations.list()[0]
    if (newest !== undefined) {
      const from = `${this.target}.gen-${newest.id}`
      return { document: revived(newest.document, this.#format, now), from }
    }
    const salvaged = damage.bytes === null ? null : this.#format.salvage(damage.bytes.toString('utf8'))
    if (salvaged !== null) return { document: revived(salvaged, this.#format, now), from: this.target }
    if (startEmpty) return { document: nothing, from: null }
    const what = `${damage.what}, and there is no good copy of it`
    throw new AuthkeepError('store_corrupt', { path: this.#options.path, what })
  }

  /**
   * Removes what dead writers left behind: drafts hold secrets. One that bears our own number is left over as well,
   * because we write only with the lock held: in a container every process may be number 1.
   */
  sweep(): void {
    const directory = dirname(this.target)
    for (const name of step(this.#options.path, 'readdir', () => this.#files.readdir(directory))) {
      const pid = temporaryOwner(this.target, name) ?? temporaryOwner(copyPath(this.target), name)
      const isDeadDraft = pid !== null && (pid === process.pid || !isRunning(pid))
      if (isDeadDraft || isTemporaryCopy(this.target, name)) tidy(() => this.#files.unlink(join(directory, name)))
    }
  }
}

/** Temporary files of the writer that keeps what stands beside the file: the name they will get, and a long number. */
function isTemporaryCopy(target: string, name: string): boolean {
  const base = basename(target)
  return name.startsWith(`${base}.`) && /\.(spent|gen-[^.]+\.\d{3}Z|corrupt-[^.]+\.\d{3}Z)\.\d{6,10}$/.test(name)
}

function discard({ file, copy }: Drafts): void {
  file.discard()
  copy.discard()
}

function isRacy(stat: FileStat | null): boolean {
  return stat === null || Date.now() - stat.mtimeMs < racyMs
}
