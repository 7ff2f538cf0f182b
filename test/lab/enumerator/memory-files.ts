import { posix } from 'node:path'
import type { FileOperations, FileStat } from '../../../src/store/file-operations.ts'
import { resized, spliced } from './bytes.ts'
import type { Logged, Mark, Place } from './log.ts'
import { type Errno, nodeAt, placeOf, realPath } from './paths.ts'
import { emptyTree, makeNode, type Node, type Tree } from './tree.ts'

/** A system call about to happen; `part` says that the library for whole files makes it. */
export interface Call {
  readonly operation: keyof FileOperations | 'open' | 'stat'
  readonly path: string
  readonly part: boolean
}

export interface MemoryFilesOptions {
  /** What is on the disk at first; default an empty root. */
  readonly tree?: Tree
  /** The number of a removed file goes to the very next one, as on ext4; default never. */
  readonly reuseInodes?: boolean
  /** Called ahead of every system call; what it throws, the call throws. A number is the most a write may write. */
  readonly before?: (call: Call) => number | undefined
}

interface OpenFile {
  readonly id: number
  readonly path: string
}

/** A file system in memory that keeps a log of everything that changed it or was to make a change durable. */
export class MemoryFiles implements FileOperations {
  readonly log: Logged[] = []
  before: ((call: Call) => number | undefined) | undefined
  readonly #nodes: Map<number, Node>
  readonly #tree: Tree
  readonly #reuse: boolean
  readonly #open = new Map<number, OpenFile>()
  readonly #freeNumbers: number[] = []
  #nextId: number
  #nextNumber: number
  #nextFd = 3
  #temporaries = 0
  #isPart = false

  constructor(options: MemoryFilesOptions = {}) {
    const tree = options.tree ?? emptyTree()
    this.#nodes = new Map(tree.nodes)
    this.#tree = { root: tree.root, nodes: this.#nodes }
    this.#reuse = options.reuseInodes === true
    this.before = options.before
    this.#nextId = Math.max(...this.#nodes.keys()) + 1
    this.#nextNumber = Math.max(...[...this.#nodes.values()].map(({ ino }) => ino)) + 1
  }

  /** The tree as programs see it now. */
  tree(): Tree {
    return { root: this.#tree.root, nodes: new Map(this.#nodes) }
  }

  mark(mark: Mark): void {
    this.log.push({ type: 'mark', mark })
  }

  // --- looking -----------------------------------------------------------------------------------------------------

  lstat(path: string): FileStat | null {
    this.#before('lstat', path)
    const node = nodeAt(this.#tree, path, false)
    return isAbsent(node) ? null : this.#describe(orThrow(node))
  }

  fstat(fd: number): FileStat {
    this.#before('fstat', this.#file(fd).path)
    return this.#describe(this.#get(this.#file(fd).id))
  }

  /** Nothing is mounted here. */
  isMountPoint(_path: string): boolean {
    return false
  }

  readlink(path: string): string | null {
    this.#before('readlink', path)
    return this.#linkText(path)
  }

  readRecord(path: string): string | null {
    this.#before('readRecord', path)
    return this.#linkText(path)
  }

  read(path: string): { readonly bytes: Buffer; readonly stat: FileStat } | null {
    this.#before('read', path)
    const found = nodeAt(this.#tree, path, true)
    if (isAbsent(found)) return null
    const node = orThrow(found)
    if (node.kind === 'directory') throw systemError('EISDIR')
    return { bytes: Buffer.from(node.bytes), stat: this.#describe(node) }
  }

  readdir(path: string): readonly string[] {
    this.#before('readdir', path)
    return [...this.#directory(path).entries.keys()]
  }

  // --- files -------------------------------------------------------------------------------------------------------

  create(path: string): number {
    this.#before('create', path)
    const at = this.#place(path)
    if (this.#child(at) !== undefined) throw systemError('EEXIST')
    return this.#openId(this.#make('create', at, { kind: 'file' }), path)
  }

  openExisting(path: string): number {
    this.#before('openExisting', path)
    const node = this.#node(path, true)
    if (node.kind === 'directory') throw systemError('EISDIR')
    return this.#openId(node.id, path)
  }

  fchmod(fd: number, mode: number): void {
    this.#before('fchmod', this.#file(fd).path)
    this.#setAttributes(this.#file(fd).id, { mode })
  }

  fchown(fd: number, uid: number, gid: number): void {
    this.#before('fchown', this.#file(fd).path)
    this.#setAttributes(this.#file(fd).id, { uid, gid })
  }

  write(fd: number, bytes: Uint8Array, offset: number, position: number): number {
    const { id, path } = this.#file(fd)
    const most = this.#before('write', path) ?? bytes.byteLength
    const written = bytes.slice(offset, Math.min(bytes.byteLength, offset + most))
    const node = this.#get(id)
    const time = Date.now()
    this.#nodes.set(id, { ...node, bytes: spliced(node.bytes, written, position), mtimeMs: time })
    this.log.push({ type: 'write', id, position, bytes: written, time })
    return written.byteLength
  }

  truncate(fd: number, size: number): void {
    const { id, path } = this.#file(fd)
    this.#before('truncate', path)
    const node = this.#get(id)
    const time = Date.now()
    this.#nodes.set(id, { ...node, bytes: resized(node.bytes, size), mtimeMs: time })
    this.log.push({ type: 'truncate', id, size, time })
  }

  async fsync(fd: number): Promise<void> {
    const { id, path } = this.#file(fd)
    this.#before('fsync', path)
    this.log.push({ type: 'fsync', id })
  }

  close(fd: number): void {
    const { id, path } = this.#file(fd)
    // As on Linux: whatever close reports, the descriptor is gone.
    this.#open.delete(fd)
    this.#forgetIfUnused(id)
    this.#before('close', path)
  }

  // --- names -------------------------------------------------------------------------------------------------------

  rename(from: string, to: string): void {
    this.#before('rename', to)
    const source = this.#place(from)
    const at = this.#place(to)
    const id = this.#child(source)
    if (id === undefined) throw systemError('ENOENT')
    const replaced = this.#child(at)
    if (replaced === id) return
    if (replaced !== undefined) {
      const isDirectory = this.#get(id).kind === 'directory'
      if (isDirectory !== (this.#get(replaced).kind === 'directory'))
        throw systemError(isDirectory ? 'ENOTDIR' : 'EISDIR')
      if (this.#get(replaced).entries.size > 0) throw systemError('ENOTEMPTY')
    }
    const time = Date.now()
    this.#setEntry(source, null, time)
    this.#setEntry(at, id, time)
    this.log.push({ type: 'rename', from: source, at, id, time })
    if (replaced !== undefined) this.#forgetIfUnused(replaced)
  }

  unlink(path: string): void {
    this.#before('unlink', path)
    const at = this.#place(path)
    const id = this.#child(at)
    if (id === undefined) throw systemError('ENOENT')
    if (this.#get(id).kind === 'directory') throw systemError('EISDIR')
    this.#remove('unlink', at, id)
  }

  rmdir(path: string): void {
    this.#before('rmdir', path)
    const at = this.#place(path)
    const id = this.#child(at)
    if (id === undefined) throw systemError('ENOENT')
    const { kind, entries } = this.#get(id)
    if (kind !== 'directory') throw systemError('ENOTDIR')
    if (entries.size > 0) throw systemError('ENOTEMPTY')
    this.#remove('rmdir', at, id)
  }

  mkdir(path: string): void {
    this.#before('mkdir', path)
    const at = this.#place(path)
    if (this.#child(at) !== undefined) throw systemError('EEXIST')
    this.#make('mkdir', at, { kind: 'directory' })
  }

  makeDirectories(path: string): void {
    this.#before('makeDirectories', path)
    const parts = posix.resolve(path).split('/').slice(1)
    for (const [index] of parts.entries()) {
      const at = this.#place(`/${parts.slice(0, index + 1).join('/')}`)
      const id = this.#child(at)
      if (id === undefined) this.#make('mkdir', at, { kind: 'directory' })
      else if (this.#get(id).kind === 'file') throw systemError('EEXIST')
    }
  }

  createRecord(path: string, text: string): void {
    this.#before('createRecord', path)
    const at = this.#place(path)
    if (this.#child(at) !== undefined) throw systemError('EEXIST')
    this.#make('symlink', at, { kind: 'link', text })
  }

  utimes(path: string, time: Date): void {
    this.#before('utimes', path)
    this.#setAttributes(this.#node(path, true).id, { mtimeMs: time.getTime() })
  }

  async fsyncDirectory(path: string): Promise<void> {
    this.#before('fsyncDirectory', path)
    this.log.push({ type: 'fsyncDirectory', id: this.#directory(path).id })
  }

  // --- what is made of several calls -------------------------------------------------------------------------------

  /** The steps of the library, each a system call of its own that can fail and that a crash can follow. */
  async replaceBeside(path: string, bytes: Uint8Array): Promise<void> {
    const target = realPath(this.#tree, path)
    // As long as the numbers that write-file-atomic takes, which is how they are told from a person's files.
    const temporary = `${target}.${1_000_000_000 + (this.#temporaries += 7_919)}`
    let fd: number | undefined
    try {
      fd = this.#partly(() => this.create(temporary))
      for (let offset = 0; offset < bytes.byteLength; ) {
        offset += this.#partly(() => this.write(fd!, bytes, offset, offset))
      }
      await this.#partly(() => this.fsync(fd!))
      const closing = fd
      fd = undefined
      this.#partly(() => this.close(closing))
      this.#partly(() => this.#chmod(temporary, 0o600))
      this.#partly(() => this.rename(temporary, target))
    } finally {
      if (fd !== undefined) quietly(() => this.#partly(() => this.close(fd!)))
      quietly(() => this.#partly(() => this.unlink(temporary)))
    }
    this.#before('stat', path)
    if (this.#node(path, true).bytes.byteLength !== bytes.byteLength) throw systemError('ENOSPC')
  }

  #partly<T>(run: () => T): T {
    this.#isPart = true
    try {
      return run()
    } finally {
      this.#isPart = false
    }
  }

  #chmod(path: string, mode: number): void {
    this.#before('fchmod', path)
    this.#setAttributes(this.#node(path, true).id, { mode })
  }

  // --- inodes ------------------------------------------------------------------------------------------------------

  #before(operation: Call['operation'], path: string): number | undefined {
    return this.before?.({ operation, path, part: this.#isPart })
  }

  #get(id: number): Node {
    return this.#nodes.get(id)!
  }

  #file(fd: number): OpenFile {
    const file = this.#open.get(fd)
    if (file === undefined) throw systemError('EBADF')
    return file
  }

  #openId(id: number, path: string): number {
    const fd = this.#nextFd++
    this.#open.set(fd, { id, path })
    return fd
  }

  #make(type: 'create' | 'mkdir' | 'symlink', at: Place, given: Pick<Node, 'kind'> & Partial<Node>): number {
    const id = this.#nextId++
    const ino = (this.#reuse ? this.#freeNumbers.pop() : undefined) ?? this.#nextNumber++
    const node = makeNode({ id, ino, ...given })
    this.#nodes.set(id, node)
    this.#setEntry(at, id, node.birthtimeMs)
    this.log.push({ type, at, node })
    return id
  }

  #remove(type: 'unlink' | 'rmdir', at: Place, id: number): void {
    const time = Date.now()
    this.#setEntry(at, null, time)
    this.log.push({ type, at, id, time })
    this.#forgetIfUnused(id)
  }

  #setEntry({ directory, name }: Place, id: number | null, time: number): void {
    const node = this.#get(directory)
    const entries = new Map(node.entries)
    if (id === null) entries.delete(name)
    else entries.set(name, id)
    this.#nodes.set(directory, { ...node, entries, mtimeMs: time })
  }

  #setAttributes(id: number, change: Partial<Node>): void {
    this.#nodes.set(id, { ...this.#get(id), ...change })
    this.log.push({ type: 'attributes', id, change })
  }

  #links(id: number): number {
    let links = 0
    for (const { entries } of this.#nodes.values()) for (const child of entries.values()) if (child === id) links++
    return links
  }

  /** An inode lives as long as a name or a descriptor leads to it. */
  #forgetIfUnused(id: number): void {
    if (this.#links(id) > 0 || [...this.#open.values()].some((file) => file.id === id)) return
    this.#freeNumbers.push(this.#get(id).ino)
    this.#nodes.delete(id)
  }

  #describe(node: Node): FileStat {
    const { ino, mtimeMs, birthtimeMs, mode, uid, gid } = node
    const size = node.kind === 'link' ? node.text.length : node.bytes.byteLength
    return {
      identity: `1.${ino}.${size}.${mtimeMs}`,
      ino: BigInt(ino),
      ...{ size, mtimeMs, birthtimeMs, mode, uid, gid },
      links: this.#links(node.id),
      isFile: node.kind === 'file',
    }
  }

  // --- paths -------------------------------------------------------------------------------------------------------

  #child({ directory, name }: Place): number | undefined {
    return this.#get(directory).entries.get(name)
  }

  #place(path: string): Place {
    return orThrow(placeOf(this.#tree, path))
  }

  #node(path: string, follow: boolean): Node {
    return orThrow(nodeAt(this.#tree, path, follow))
  }

  #directory(path: string): Node {
    const node = this.#node(path, true)
    if (node.kind !== 'directory') throw systemError('ENOTDIR')
    return node
  }

  #linkText(path: string): string | null {
    const node = nodeAt(this.#tree, path, false)
    if (node === 'ENOENT') return null
    const { kind, text } = orThrow(node)
    return kind === 'link' ? text : null
  }
}

/** Without a stack: there are millions of these. */
export function systemError(code: string): Error {
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 0
  const error = Object.assign(new Error(code), { code })
  Error.stackTraceLimit = limit
  return error
}

function isAbsent(found: Node | Errno): found is 'ENOENT' | 'ENOTDIR' {
  return found === 'ENOENT' || found === 'ENOTDIR'
}

function orThrow<T extends object>(found: T | Errno): T {
  if (typeof found === 'string') throw systemError(found)
  return found
}

function quietly(run: () => void): void {
  try {
    run()
  } catch {
    // The library hides what fails while it tidies up.
  }
}
