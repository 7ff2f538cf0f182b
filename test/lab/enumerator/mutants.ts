import type { FileOperations } from '../../../src/store/file-operations.ts'
import { type MemoryFiles, systemError } from './memory-files.ts'
import type { WritePath } from './scenarios.ts'

/*
 * Ways to write a file that are wrong, put between the store and the disk. Each is a shortcut that some program takes,
 * and each looks right as long as nothing crashes.
 */

/** What a mutant does otherwise than the store asks, and what it does once everything has been answered. */
export type Mutant = (files: MemoryFiles) => Partial<FileOperations> & { readonly settle?: () => Promise<void> }

/**
 * A mutant as a write path. The second copy makes up for much of what is wrong with the file, so it can be left out:
 * then the file has to stand alone.
 */
export function mutated(mutant: Mutant, copy: 'with a copy' | 'without a copy'): WritePath {
  return (files) => {
    const { settle, ...changes } = mutant(files)
    const rename = changes.rename ?? files.rename.bind(files)
    const withoutCopy: Partial<FileOperations> = {
      rename: (from, to) => (isCopy(to) ? files.unlink(from) : rename(from, to)),
    }
    return {
      files: withChanges(files, { ...changes, ...(copy === 'without a copy' ? withoutCopy : {}) }),
      ...(settle === undefined ? {} : { settle }),
    }
  }
}

export const none: Mutant = () => ({})

export const noFileSync: Mutant = () => ({ fsync: nothing })

export const noDirectorySync: Mutant = () => ({ fsyncDirectory: nothing })

export const unlinkThenRename: Mutant = (files) => ({
  rename: (from, to) => {
    if (files.lstat(to) !== null) files.unlink(to)
    files.rename(from, to)
  },
})

/** The draft's bytes go into the file itself, which is then synced. */
export const inPlace: Mutant = (files) => {
  let fd: number | undefined
  return {
    rename: (from, to) => {
      fd = writeOver(files, to, files.read(from)!.bytes)
      files.unlink(from)
    },
    fsyncDirectory: async (path) => {
      if (fd !== undefined) await files.fsync(fd)
      await files.fsyncDirectory(path)
    },
  }
}

/** The file is moved out of the way to become a backup; for an instant there is none. */
export const backupByRename: Mutant = (files) => ({
  rename: (from, to) => {
    if (files.lstat(to) !== null) files.rename(to, `${to}.old`)
    files.rename(from, to)
  },
})

/** Answers first and syncs later. */
export const acknowledgedBeforeSync: Mutant = (files) => {
  const late: string[] = []
  return {
    fsyncDirectory: async (path) => void late.push(path),
    settle: async () => {
      for (const path of late) await files.fsyncDirectory(path)
    },
  }
}

/** The copy is written over: while that lasts, a damaged file has nothing to come back from. */
export const copyInPlace: Mutant = (files) => ({
  rename: (from, to) => {
    if (isCopy(to)) {
      files.close(writeOver(files, to, files.read(from)!.bytes))
      files.unlink(from)
    } else files.rename(from, to)
  },
})

const isCopy = (path: string): boolean => path.endsWith('.bak')

async function nothing(): Promise<void> {
  await Promise.resolve()
}

/** Into whatever stands there, as a plain `writeFile` does. */
function writeOver(files: MemoryFiles, path: string, bytes: Uint8Array): number {
  const fd = files.lstat(path) === null ? files.create(path) : files.openExisting(path)
  files.truncate(fd, 0)
  files.write(fd, bytes, 0, 0)
  return fd
}

function withChanges(files: MemoryFiles, changes: Partial<FileOperations>): FileOperations {
  return new Proxy<FileOperations>(files, {
    get(target, name) {
      const operation: unknown = Reflect.get(name in changes ? changes : target, name)
      return typeof operation === 'function' ? (operation.bind(target) as unknown) : operation
    },
  })
}

/** No mutant, but a file that is mounted by itself, so that it can only be written in place. */
export const mounted: Mutant = (files) => ({
  isMountPoint: (path) => path.endsWith('/auth.json'),
  rename: (from, to) => {
    if (to.endsWith('/auth.json')) throw systemError('EBUSY')
    files.rename(from, to)
  },
})
