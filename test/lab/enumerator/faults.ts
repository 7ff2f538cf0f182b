import { isAuthkeepError } from '../../../src/errors.ts'
import { type FileBackend, fileBackend } from '../../../src/store/file.ts'
import { drafts, emptied, readAll, sameBoot } from './judge.ts'
import { type Call, MemoryFiles, systemError } from './memory-files.ts'
import { valueOf } from './scenarios.ts'
import type { Tree } from './tree.ts'
import { passTime } from './virtual-time.ts'

/** A way in which system calls fail: which ones, with what, and whether ever after. */
export interface Fault {
  readonly code: string
  readonly lasts: 'once' | 'for good'
  /** Which calls go on failing once one has. */
  readonly affects: (operation: Call['operation']) => boolean
}

const looking: ReadonlySet<string> = new Set(['lstat', 'fstat', 'stat', 'readlink', 'readRecord', 'isMountPoint'])
const opening: ReadonlySet<string> = new Set(['read', 'readdir', 'create', 'openExisting', 'fsyncDirectory'])
const allocating: ReadonlySet<string> = new Set([
  ...['create', 'write', 'mkdir', 'createRecord', 'rename', 'fsync', 'fsyncDirectory'],
])
const naming: ReadonlySet<string> = new Set(['create', 'mkdir', 'createRecord', 'rename', 'unlink', 'rmdir', 'utimes'])

const changing = (operation: string): boolean =>
  !looking.has(operation) && operation !== 'read' && operation !== 'readdir'

export const affected: Readonly<Record<string, Fault['affects']>> = {
  EIO: (operation) => !looking.has(operation),
  ENOSPC: (operation) => allocating.has(operation),
  EDQUOT: (operation) => allocating.has(operation),
  EROFS: changing,
  EACCES: (operation) => naming.has(operation),
  EMFILE: (operation) => opening.has(operation),
  EINTR: (operation) => !looking.has(operation),
}

export interface Outcome {
  /** The call that failed first; undefined when there were fewer calls. */
  readonly failed: string | undefined
  readonly settled: 'resolved' | 'rejected'
  /** What the commit or the read was rejected with: our code, or the system's own error that came through. */
  readonly error: string | undefined
  /** What a healthy reader says afterwards. */
  readonly said: string | undefined
  /** What it says when the file is then emptied in place. */
  readonly fromCopy: string | undefined
  /** Whether something was renamed to the file itself. */
  readonly isVisible: boolean
  readonly left: readonly string[]
  /** What went wrong with healthy commits afterwards, by the same store and by a new one; null: nothing. */
  readonly after: string | null
}

/** Lets the `nth` system call of an action fail, and then lets everything work again. */
export async function withFault(
  base: Tree,
  path: string,
  fault: Fault,
  nth: number,
  action: (store: FileBackend) => Promise<unknown>,
): Promise<Outcome> {
  let count = 0
  let failed: string | undefined
  const files = new MemoryFiles({ tree: base })
  files.before = ({ operation, part }) => {
    const isNth = ++count === nth
    if (isNth) failed = part ? `${operation} of the library` : operation
    if (isNth || (failed !== undefined && fault.lasts === 'for good' && fault.affects(operation))) {
      throw systemError(fault.code)
    }
    return undefined
  }
  const store = fileBackend({ path, files, owner: sameBoot, staleLockMs: 40 })
  const error = await action(store).then(
    () => null,
    (thrown: unknown) => (isAuthkeepError(thrown) ? thrown.code : `raw ${String(thrown)}`),
  )
  files.before = undefined
  const isVisible = files.log.some((logged) => logged.type === 'rename' && path.endsWith(`/${logged.at.name}`))
  const { said } = await readAll(files.tree(), path, sameBoot)
  const damaged = emptied(files.tree(), path)
  const fromCopy = damaged === null ? undefined : (await readAll(damaged.tree, path, sameBoot)).said
  const left = drafts(files.tree())
  // A lock that could not be removed is waited out.
  passTime(2_000)
  const later = [await commit(store, 'p:same')]
  later.push(await commit(fileBackend({ path, files, owner: sameBoot, staleLockMs: 40 }), 'p:new'))
  const end = await readAll(files.tree(), path, sameBoot)
  if (end.said !== `${said ?? ''} p:new=later p:same=later`) later.push(`it ended as ${String(end.said)}`)
  later.push(...drafts(files.tree()).map((name) => `${name} is left`))
  return {
    ...{
      failed,
      settled: error === null ? 'resolved' : 'rejected',
      error: error ?? undefined,
      said,
      fromCopy,
      isVisible,
      left,
    },
    after: later.filter((problem) => problem !== null).join('; ') || null,
  }
}

async function commit(store: FileBackend, key: string): Promise<string | null> {
  try {
    const { ok } = await store.commit([{ key, next: valueOf('later'), expected: null }])
    return ok ? null : `${key} was refused`
  } catch (error) {
    return `${key}: ${String(error)}`
  }
}
