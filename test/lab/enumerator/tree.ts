import { createHash } from 'node:crypto'

/**
 * One inode. `id` is never used twice and is what logs speak of; `ino` is what programs see, and may be reused.
 * Bytes are never changed in place, so trees share them.
 */
export interface Node {
  readonly id: number
  readonly ino: number
  readonly kind: 'file' | 'directory' | 'link'
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly mtimeMs: number
  readonly birthtimeMs: number
  /** Of a file. */
  readonly bytes: Uint8Array
  /** Of a symbolic link. */
  readonly text: string
  /** Of a directory: names and ids. */
  readonly entries: ReadonlyMap<string, number>
}

/** A whole file system at one instant. */
export interface Tree {
  readonly root: number
  readonly nodes: ReadonlyMap<number, Node>
}

const nothing = new Uint8Array(0)
const noEntries: ReadonlyMap<string, number> = new Map()

export function makeNode(given: Pick<Node, 'id' | 'ino' | 'kind'> & Partial<Node>): Node {
  return {
    mode: given.kind === 'directory' ? 0o700 : 0o600,
    uid: 1000,
    gid: 1000,
    mtimeMs: Date.now(),
    birthtimeMs: Date.now(),
    bytes: nothing,
    text: '',
    entries: noEntries,
    ...given,
  }
}

export function emptyTree(): Tree {
  return { root: 1, nodes: new Map([[1, makeNode({ id: 1, ino: 1, kind: 'directory' })]]) }
}

/** Every path below the root, in the order of names. */
export function* walk(tree: Tree, id = tree.root, path = ''): Generator<readonly [path: string, node: Node]> {
  const node = tree.nodes.get(id)
  if (node === undefined) return
  if (path !== '') yield [path, node]
  const entries = [...node.entries].sort(([a], [b]) => (a < b ? -1 : 1))
  for (const [name, child] of entries) yield* walk(tree, child, `${path}/${name}`)
}

const digests = new WeakMap<Uint8Array, string>()

export function digest(bytes: Uint8Array): string {
  let text = digests.get(bytes)
  if (text === undefined) {
    text = createHash('sha1').update(bytes).digest('base64')
    digests.set(bytes, text)
  }
  return text
}

/** Equal for trees that no program could tell apart but by inode numbers and times. */
export function treeKey(tree: Tree): string {
  let key = ''
  for (const [path, node] of walk(tree)) {
    key += `${path}\0${node.kind}\0${node.kind === 'file' ? digest(node.bytes) : node.text}\n`
  }
  return key
}
