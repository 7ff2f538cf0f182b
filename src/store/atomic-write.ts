import { randomBytes } from 'node:crypto'
import { basename, dirname, join, resolve } from 'node:path'
import { AuthkeepError, errnoOf } from '../errors.ts'
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

/** A complete, synced file that is not visible yet, and what it will be known by once it is: a rename changes neither. */
export interface Draft {
  readonly path: string
  readonly stat: FileStat
}

/**
 * Writes a complete, synced file beside `target`; nothing visible has changed. After a failed
 * sync the pages may be gone and a second sync of the same file would lie, so the bytes go to a fresh file, once.
 *
 * @param like whose owner the new file gets, so that a root process does not lock a user out of the user's own file
 */
export async function writeDraft(
  files: FileOperations,
  target: string,
  bytes: Uint8Array,
  like: FileStat | null,
): Promise<Draft> {
  try {
    return await writeDraftOnce(files, target, bytes, like)
  } catch (error) {
    const detail = error instanceof AuthkeepError ? (error.detail as { operation?: string; errno?: string }) : {}
    if (detail.operation === 'fsync' && detail.errno === 'EIO') return writeDraftOnce(files, target, bytes, like)
    throw error
  }
}

async function writeDraftOnce(
  files: FileOperations,
  target: string,
  bytes: Uint8Array,
  like: FileStat | null,
): Promise<Draft> {
  const random = randomBytes(8).toString('hex')
  const draft = join(dirname(target), `.${basename(target)}.${process.pid}.${random}.tmp`)
  const fd = step(target, 'create', () => files.create(draft))
  let isOpen = true
  try {
    const made = step(target, 'fstat', () => files.fstat(fd))
    if (like !== null && (made.uid !== like.uid || made.gid !== like.gid)) keepOwner(files, fd, like)
    if (made.mode !== 0o600) step(target, 'fchmod', () => files.fchmod(fd, 0o600))
    writeAll(files, target, fd, bytes, 0)
    await slowStep(target, 'fsync', () => files.fsync(fd))
    const stat = step(target, 'fstat', () => files.fstat(fd))
    if (stat.size !== bytes.byteLength) {
      throw new AuthkeepError('store_failed', { path: target, operation: 'write', errno: 'ENOSPC', unspent: true })
    }
    // NFS, FUSE and quotas report a failed write only here.
    isOpen = false
    step(target, 'close', () => files.close(fd))
    return { path: draft, stat }
  } catch (error) {
    if (isOpen) tidy(() => files.close(fd))
    tidy(() => files.unlink(draft))
    throw error
  }
}

/** Writes to the end, however little each call takes. One that takes nothing will not take more the next time. */
export function writeAll(files: FileOperations, target: string, fd: number, bytes: Uint8Array, position: number): void {
  for (let offset = 0; offset < bytes.byteLength; ) {
    const written = step(target, 'write', () => files.write(fd, bytes, offset, position + offset))
    if (written === 0) {
      throw new AuthkeepError('store_failed', { path: target, operation: 'write', errno: 'ENOSPC', unspent: true })
    }
    offset += written
  }
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
