import { AuthkeepError, isAuthkeepError } from '../errors.ts'
import { createHash } from '../on-demand.ts'
import { slowStep, step, tidy, writeAll } from './atomic-write.ts'
import { decodeBlank, encodeBlank } from './blank.ts'
import type { FileOperations } from './file-operations.ts'

/*
 * A file that is mounted by itself cannot be replaced. So the new document goes behind the old one first, spelled in
 * JSON white space. Whenever the writer may die, any JSON reader sees a complete old or new document; after a power cut
 * that is promised for `settledBytes` only, because a file system may show a size before it has the data.
 *
 *     head, blanks up to `start` | new document, hashes of the head's blocks | trailer
 *
 * The commit point is the sync of what stands behind the head. Then the head is overwritten, synced, and the rest cut.
 */

const magic = 'AKJ1'
const trailerBytes = 4 + 4 + 4 + 32
/** What a disk writes whole. */
const blockBytes = 512
/** What file systems write whole: cutting a file elsewhere would blank the rest of its last page before the size changes. */
const pageBytes = 4096
const hashBytes = 8

interface Journal {
  readonly next: Buffer
  /** What stands before it is the head. */
  readonly start: number
  /** A short hash of each block of the head as it was. */
  readonly oldBlocks: Buffer
}

/** The document that a file holds: its head, or what the journal of an interrupted commit says. Pure. */
export function settledBytes(bytes: Buffer): Buffer {
  const journal = readJournal(bytes)
  if (journal === null) return withoutTornTail(bytes)
  const head = bytes.subarray(0, journal.start)
  return isOldOrNew(head, journal) ? journal.next : head
}

/**
 * Commits a document in place. Rejects with the old document standing, or resolves with the new one durable.
 *
 * @param current what the file holds now, a journal left behind included
 * @throws AuthkeepError `store_failed`; errno ESTALE when the mounted file has been replaced on the host
 */
export async function writeInPlace(
  files: FileOperations,
  target: string,
  current: Buffer,
  next: Buffer,
): Promise<void> {
  const fd = step(target, 'open in place', () => files.openExisting(target))
  try {
    if (step(target, 'fstat', () => files.fstat(fd)).links === 0) throw replacedOnHost(target)
    const old = settledBytes(current)
    const left = readJournal(current)
    // An interrupted commit is completed first: its journal is all there is until its head is whole.
    if (left !== null) {
      const size = Math.min(left.start, inPages(old.byteLength))
      await settle(files, target, fd, blanked(old, left.start), size)
    }
    const start = inPages(Math.max(old.byteLength, next.byteLength))
    try {
      const tail = Buffer.concat([
        blanked(old, start).subarray(old.byteLength),
        encodeJournal(blanked(old, start), next),
      ])
      writeAll(files, target, fd, tail, old.byteLength)
      await slowStep(target, 'fsync', () => files.fsync(fd))
    } catch (error) {
      tidy(() => files.truncate(fd, old.byteLength))
      throw error
    }
    await settle(files, target, fd, blanked(next, start), inPages(next.byteLength)).catch((error: unknown) => {
      // The journal is durable and stays: the next reader sees the new document, the next writer completes it.
      if (!isAuthkeepError(error, 'store_failed')) throw error
    })
  } finally {
    tidy(() => files.close(fd))
  }
}

/** A file of which the container holds a copy that nobody will ever see again. */
export function replacedOnHost(target: string): AuthkeepError<'store_failed'> {
  const operation = 'using a mounted file that has been replaced on the host (mount its directory instead)'
  return new AuthkeepError('store_failed', { path: target, operation, errno: 'ESTALE', unspent: true })
}

/** Whether a failed rename means that this file can only be written in place. */
export function isUnreplaceable(error: unknown): boolean {
  if (!isAuthkeepError(error, 'store_failed') || error.detail.operation !== 'rename') return false
  return error.detail.errno === 'EBUSY' || error.detail.errno === 'EXDEV'
}

/**
 * A power cut can leave a journal of which only the length was written, or some blocks: blanks and NUL bytes behind an
 * untouched head. No document ends in NUL, so what stands before them is the document.
 */
function withoutTornTail(bytes: Buffer): Buffer {
  let end = bytes.byteLength
  let hasNul = false
  for (; end > 0; end--) {
    const code = bytes[end - 1]
    if (code === 0) hasNul = true
    else if (code !== 0x20 && code !== 0x09 && code !== 0x0a && code !== 0x0d) break
  }
  return hasNul && end > 0 ? bytes.subarray(0, end) : bytes
}

async function settle(files: FileOperations, target: string, fd: number, head: Buffer, size: number): Promise<void> {
  writeAll(files, target, fd, head, 0)
  await slowStep(target, 'fsync', () => files.fsync(fd))
  step(target, 'truncate', () => files.truncate(fd, size))
}

function encodeJournal(head: Buffer, next: Buffer): Buffer {
  const payload = Buffer.concat([next, ...blocksOf(head).map(shortHash)])
  const trailer = Buffer.alloc(trailerBytes)
  trailer.write(magic, 0, 'latin1')
  trailer.writeUInt32BE(next.byteLength, 4)
  trailer.writeUInt32BE(head.byteLength, 8)
  createHash('sha256').update(trailer.subarray(0, 12)).update(payload).digest().copy(trailer, 12)
  return encodeBlank(Buffer.concat([payload, trailer]))
}

function readJournal(bytes: Buffer): Journal | null {
  const trailerAt = bytes.byteLength - trailerBytes * 4
  const trailer = trailerAt < 0 ? null : decodeBlank(bytes.subarray(trailerAt))
  if (trailer?.toString('latin1', 0, 4) !== magic) return null
  const nextLength = trailer.readUInt32BE(4)
  const start = trailer.readUInt32BE(8)
  if (trailerAt < start || start % blockBytes !== 0) return null
  const payload = decodeBlank(bytes.subarray(start, trailerAt))
  if (payload?.byteLength !== nextLength + (start / blockBytes) * hashBytes) return null
  const sum = createHash('sha256').update(trailer.subarray(0, 12)).update(payload).digest()
  if (!sum.equals(trailer.subarray(12))) return null
  return { next: payload.subarray(0, nextLength), start, oldBlocks: payload.subarray(nextLength) }
}

/** Whether a head is the old one, the new one, or a torn mix: anything else was written by somebody else since. */
function isOldOrNew(head: Buffer, { next, start, oldBlocks }: Journal): boolean {
  const after = blocksOf(blanked(next, start))
  return blocksOf(head).every((block, index) => {
    const before = oldBlocks.subarray(index * hashBytes, (index + 1) * hashBytes)
    return after[index]?.equals(block) === true || shortHash(block).equals(before)
  })
}

function inPages(bytes: number): number {
  return Math.ceil(bytes / pageBytes) * pageBytes
}

function blanked(document: Buffer, length: number): Buffer {
  return Buffer.concat([document, Buffer.alloc(length - document.byteLength, ' ')])
}

function blocksOf(bytes: Buffer): readonly Buffer[] {
  const count = Math.ceil(bytes.byteLength / blockBytes)
  return Array.from({ length: count }, (_, index) => bytes.subarray(index * blockBytes, (index + 1) * blockBytes))
}

function shortHash(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest().subarray(0, hashBytes)
}
