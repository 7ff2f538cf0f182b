import { basename, dirname, join, resolve } from 'node:path'
import { AuthkeepError, errnoOf, isAuthkeepError } from '../errors.ts'
import { randomBytes } from '../on-demand.ts'
import type { FileOperations, FileStat } from './file-operations.ts'

/** Runs one step of a write and names it in the error that the caller gets. */
export function step<T>(path: string, operation: string, run: () => T): T {
  try {
    return run()
  } catch (error) {
    throw failure(path, operation, error)
  }
}

/** The same for a step that takes its time. */
export async function slowStep<T>(path: string, operation: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run()
  } catch (error) {
    throw failure(path, operation, error)
  }
}

function failure(path: string, operation: string, error: unknown): unknown {
  const errno = errnoOf(error)
  // Not from the system: a bug, or a test that stops the world. Neither is ours to rename.
  if (errno === undefined) return error
  return new AuthkeepError('store_failed', { path, operation, errno, unspent: true })
}

/**
 * Where a path really leads: the chain of symbolic links in its last component is followed by hand, so that the link
 * stays, also one whose target does not exist yet, and the temporary file lands beside the real file.
 */
export function realTarget(files: FileOperations, path: string): string {
  let target = resolve(path)
  for (let hops = 0; hops < 40; hops++) {
    const next = step(path, 'readlink', () => files.readlink(target))
    if (next === null) return target
    target = resolve(dirname(target), next)
  }
  throw new AuthkeepError('store_failed', { path, operation: 'readlink', errno: 'ELOOP', unspent: true })
}

const temporaryName = /^\.(.+)\.(\d+)\.[0-9a-f]{16}\.tmp$/

/** The process that made a temporary file for `target`, or null when the name is not one of ours. */
export function temporaryOwner(target: string, name: string): number | null {
  const match = temporaryName.exec(name)
  return match?.[1] === basename(target) ? Number(match[2]) : null
}

/**
 * A complete file beside the one it is to become; nothing visible has changed. `sync` makes it durable, `publish` makes
 * it the file, `discard` removes whatever has not been published.
 */
export class Draft {
  /** What the file will be known by: neither a sync nor a rename changes it. */
  readonly stat: FileStat
  readonly #files: FileOperations
  readonly #target: string
  readonly #path: string
  readonly #fd: number
  readonly #size: number
  #isOpen = true
  #isLeft = true

  /** @param like whose owner it gets, so that a root process does not lock a user out of the user's own file */
  constructor(files: FileOperations, target: string, bytes: Uint8Array, like: FileStat | null) {
    const random = randomBytes(8).toString('hex')
    this.#files = files
    this.#target = target
    this.#path = join(dirname(target), `.${basename(target)}.${process.pid}.${random}.tmp`)
    this.#size = bytes.byteLength
    this.#fd = step(target, 'create', () => files.create(this.#path))
    try {
      const made = step(target, 'fstat', () => files.fstat(this.#fd))
      if (like !== null && (made.uid !== like.uid || made.gid !== like.gid)) keepOwner(files, this.#fd, like)
      if (made.mode !== 0o600) step(target, 'fchmod', () => files.fchmod(this.#fd, 0o600))
      writeAll(files, target, this.#fd, bytes, 0)
      this.stat = step(target, 'fstat', () => files.fstat(this.#fd))
    } catch (error) {
      this.discard()
      throw error
    }
  }

  async sync(): Promise<void> {
    await slowStep(this.#target, 'fsync', () => this.#files.fsync(this.#fd))
    const { size } = step(this.#target, 'fstat', () => this.#files.fstat(this.#fd))
    if (size !== this.#size) throw cutShort(this.#target)
    // NFS, FUSE and quotas report a failed write only here.
    this.#isOpen = false
    step(this.#target, 'close', () => this.#files.close(this.#fd))
  }

  publish(): void {
    step(this.#target, 'rename', () => this.#files.rename(this.#path, this.#target))
    this.#isLeft = false
  }

  discard(): void {
    if (this.#isOpen) tidy(() => this.#files.close(this.#fd))
    if (this.#isLeft) tidy(() => this.#files.unlink(this.#path))
    this.#isOpen = false
    this.#isLeft = false
  }
}

/** After a failed sync the pages may be gone, and a second sync of the same file would lie. */
export function hasLostPages(error: unknown): boolean {
  return isAuthkeepError(error, 'store_failed') && error.detail.operation === 'fsync' && error.detail.errno === 'EIO'
}

/** Writes to the end, however little each call takes. One that takes nothing will not take more the next time. */
export function writeAll(files: FileOperations, target: string, fd: number, bytes: Uint8Array, position: number): void {
  for (let offset = 0; offset < bytes.byteLength; ) {
    const written = step(target, 'write', () => files.write(fd, bytes, offset, position + offset))
    if (written === 0) throw cutShort(target)
    offset += written
  }
}

function cutShort(path: string): AuthkeepError<'store_failed'> {
  return new AuthkeepError('store_failed', { path, operation: 'write', errno: 'ENOSPC', unspent: true })
}

/** Only root may give a file away; where we may not, the file is ours, as with any editor. */
function keepOwner(files: FileOperations, fd: number, like: FileStat): void {
  try {
    files.fchown(fd, like.uid, like.gid)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
  }
}

/** Clean-up after a failure: the failure is what the caller must hear of, not this. */
export function tidy(run: () => void): void {
  try {
    run()
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
  }
}
