import { thisOwner } from '../../src/owner.ts'
import { type FileOperations, systemFiles } from '../../src/store/file-operations.ts'

export type Operation = keyof FileOperations

/** Operations that change something on disk, or make a change durable. */
export const changing: ReadonlySet<Operation> = new Set<Operation>([
  ...(['create', 'fchmod', 'fchown', 'write', 'fsync', 'close', 'rename', 'unlink', 'fsyncDirectory'] as const),
  ...(['makeDirectories', 'mkdir', 'rmdir', 'utimes', 'createRecord', 'replaceBeside'] as const),
])

/** The real file system, with `before` called ahead of every operation. What it throws, the operation throws. */
export function watchedFiles(before: (operation: Operation, args: readonly unknown[]) => void): FileOperations {
  const watched = Object.entries(systemFiles).map(([name, run]: [string, (...args: never[]) => unknown]) => {
    const operation = name as Operation
    return [
      name,
      (...args: never[]): unknown => {
        try {
          before(operation, args)
        } catch (thrown) {
          const error = thrown as Error
          // A promise where the real one gives a promise.
          if (operation === 'fsync' || operation === 'fsyncDirectory' || operation === 'replaceBeside') {
            return Promise.reject(error)
          }
          throw error
        }
        return run.apply(systemFiles, args)
      },
    ]
  })
  return Object.fromEntries(watched) as FileOperations
}

/** The end of the world: not a system error, so nothing handles it. */
export class Stopped extends Error {}

/** The process dies before its `nth` changing operation: that one and all that follow never happen. */
export function stoppedBefore(nth: number): { files: FileOperations; wasReached: () => boolean } {
  let count = 0
  const files = watchedFiles((operation) => {
    if (changing.has(operation)) count++
    if (count >= nth) throw new Stopped()
  })
  return { files, wasReached: () => count >= nth }
}

/** Somebody who was here and is no more: no process has a number this large. */
export const deadOwner = { ...thisOwner(), pid: 2 ** 22 + 1, startTime: '1', instance: 'of a process that is gone' }

export function systemError(code: string): Error {
  return Object.assign(new Error(code), { code })
}
