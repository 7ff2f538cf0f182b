import { posix } from 'node:path'
import type { FileBackend } from '../../../src/store/file.ts'
import { fileBackend } from '../../../src/store/file.ts'
import type { FileOperations } from '../../../src/store/file-operations.ts'
import { deadOwner } from '../../store/files.ts'
import type { Logged } from './log.ts'
import { MemoryFiles, systemError } from './memory-files.ts'
import type { Tree } from './tree.ts'
import { passTime } from './virtual-time.ts'

/** Keys and tokens: what a store is expected to say. */
export type Values = Readonly<Record<string, string>>

/** What happened on a disk, from a durable beginning on. */
export interface Recording {
  readonly name: string
  readonly path: string
  readonly base: Tree
  /** What the store said at the beginning. */
  readonly values: Values
  readonly log: readonly Logged[]
}

export interface Scenario {
  readonly name: string
  readonly path: string
  /** What there is before the recording begins: what the store says, and the disk where it is not the writer's. */
  prepare(writer: Writer): Promise<{ readonly values: Values; readonly tree?: Tree }>
  /** What is recorded. */
  run(writer: Writer): Promise<void>
}

/** Stands between the store and the disk: the place where mutants live. */
export type WritePath = (files: MemoryFiles) => {
  readonly files: FileOperations
  readonly settle?: () => Promise<void>
}

const honest: WritePath = (files) => ({ files })

/** Several stores of one process on one disk, whose commits are marked in the log. */
export class Writer {
  readonly files: MemoryFiles
  readonly path: string
  readonly #operations: FileOperations
  #commits = 0

  constructor(files: MemoryFiles, operations: FileOperations, path: string) {
    this.files = files
    this.#operations = operations
    this.path = path
  }

  open(path: string = this.path): FileBackend {
    return fileBackend({ path, files: this.#operations, owner: deadOwner, staleLockMs: 40 })
  }

  /** One commit, all of it or nothing; null deletes. */
  async put(change: Readonly<Record<string, string | null>>, store = this.open()): Promise<void> {
    const keys = Object.keys(change)
    const before = await Promise.all(keys.map((key) => store.read(key)))
    const commit = this.#commits++
    this.files.mark({ kind: 'begun', commit, change })
    const { ok } = await store.commit(
      keys.map((key, n) => {
        const token = change[key] ?? null
        return { key, next: token === null ? null : valueOf(token), expected: before[n]?.revision ?? null }
      }),
    )
    if (!ok) throw new Error('a commit was refused')
    this.files.mark({ kind: 'acknowledged', commit })
  }
}

/** A value that spans pieces of 512 bytes and tells a mixture of two versions from both. */
export function valueOf(token: string): { token: string; body: string } {
  return { token, body: `${token} `.repeat(Math.ceil(1_200 / (token.length + 1))) }
}

export async function record(scenario: Scenario, writePath = honest, reuseInodes = true): Promise<Recording> {
  const before = new MemoryFiles({ reuseInodes })
  const { values, tree: base = before.tree() } = await scenario.prepare(new Writer(before, before, scenario.path))
  passTime(60_000)
  const files = new MemoryFiles({ tree: base, reuseInodes })
  const { files: operations, settle } = writePath(files)
  await scenario.run(new Writer(files, operations, scenario.path))
  await settle?.()
  return { name: scenario.name, path: scenario.path, base, values, log: files.log }
}

const path = '/home/me/auth.json'

/** Two entries, committed. */
async function twoEntries(writer: Writer): Promise<{ values: Values }> {
  writer.files.makeDirectories(posix.dirname(path))
  const values = { 'p:a': 'a-1', 'p:b': 'b-1' }
  await writer.put(values)
  return { values }
}

async function emptyDirectory(writer: Writer): Promise<{ values: Values }> {
  writer.files.makeDirectories(posix.dirname(path))
  return { values: {} }
}

async function emptied(writer: Writer): Promise<{ values: Values }> {
  const prepared = await twoEntries(writer)
  const fd = writer.files.openExisting(path)
  writer.files.truncate(fd, 0)
  writer.files.close(fd)
  return prepared
}

const scenario = (name: string, prepare: Scenario['prepare'], run: Scenario['run'], at: string = path): Scenario => ({
  name,
  path: at,
  prepare,
  run,
})

export const update = scenario('update', twoEntries, (writer) => writer.put({ 'p:a': 'a-2' }))

export const copyGone = scenario(
  'commit where the copy is gone',
  async (writer) => {
    const prepared = await twoEntries(writer)
    writer.files.unlink(`${path}.bak`)
    return prepared
  },
  (writer) => writer.put({ 'p:b': 'b-2' }),
)

export const recovery = scenario('recovery of an emptied file', emptied, async (writer) => {
  await writer.open().read('p:a')
})

const deepPath = '/home/me/.config/authkeep/auth.json'

export const unsyncedDirectory = scenario(
  'commit after the first one in a new directory has failed to sync',
  emptyDirectory,
  async (writer) => {
    writer.files.before = ({ operation }) => {
      if (operation === 'fsyncDirectory') throw systemError('EIO')
      return undefined
    }
    await writer.put({ 'p:a': 'a-1' }).catch(() => undefined)
    writer.files.before = undefined
    await writer.put({ 'p:a': 'a-2' })
  },
  deepPath,
)

export const scenarios: readonly Scenario[] = [
  scenario('create', emptyDirectory, (writer) => writer.put({ 'p:a': 'a-1' })),
  scenario('first commit in a new directory', emptyDirectory, (writer) => writer.put({ 'p:a': 'a-1' }), deepPath),
  update,
  scenario('delete an entry', twoEntries, (writer) => writer.put({ 'p:a': null })),
  scenario('several entries at once', twoEntries, (writer) => writer.put({ 'p:a': 'a-2', 'p:b': null, 'p:c': 'c-1' })),
  scenario('two commits in one write', twoEntries, async (writer) => {
    const store = writer.open()
    await Promise.all([writer.put({ 'p:a': 'a-2' }, store), writer.put({ 'p:c': 'c-1' }, store)])
  }),
  scenario('three writers in turn', twoEntries, async (writer) => {
    await writer.put({ 'p:a': 'a-2' })
    await writer.put({ 'p:b': 'b-2' })
    await writer.put({ 'p:a': 'a-3' })
  }),
  scenario(
    'through a symbolic link',
    async (writer) => {
      writer.files.makeDirectories('/home/me')
      writer.files.makeDirectories('/data')
      writer.files.createRecord(path, '../../data/real.json')
      return twoEntries(writer)
    },
    (writer) => writer.put({ 'p:a': 'a-2' }),
  ),
  scenario(
    'through a dangling symbolic link',
    async (writer) => {
      writer.files.makeDirectories('/home/me')
      writer.files.makeDirectories('/data')
      writer.files.createRecord(path, '/data/real.json')
      return { values: {} }
    },
    (writer) => writer.put({ 'p:a': 'a-1' }),
  ),
  recovery,
  scenario('commit on an emptied file', emptied, (writer) => writer.put({ 'p:b': 'b-2' })),
  scenario(
    'commit where the file is gone',
    async (writer) => {
      const prepared = await twoEntries(writer)
      writer.files.unlink(path)
      return prepared
    },
    (writer) => writer.put({ 'p:b': 'b-2' }),
  ),
  copyGone,
  scenario(
    'commit after a holder has died',
    async (writer) => {
      const { values } = await twoEntries(writer)
      let left: Tree | undefined
      // With the lock held and whole drafts on the disk.
      const dying = new MemoryFiles({
        tree: writer.files.tree(),
        before: ({ operation }) => {
          if (operation === 'rename') left ??= dying.tree()
          return undefined
        },
      })
      await new Writer(dying, dying, path).put({ 'p:a': 'never' })
      return left === undefined ? { values } : { values, tree: left }
    },
    (writer) => writer.put({ 'p:b': 'b-2' }),
  ),
]
