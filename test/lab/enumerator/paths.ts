import { posix } from 'node:path'
import type { Place } from './log.ts'
import type { Node, Tree } from './tree.ts'

export type Errno = 'ENOENT' | 'ENOTDIR' | 'ELOOP'

const mostLinks = 40

/** Where the last component of a path stands, or why there is no such place. Links before the last are followed. */
export function placeOf(tree: Tree, path: string, hops = 0): Place | Errno {
  if (hops > mostLinks) return 'ELOOP'
  const parts = partsOf(path)
  let directory = tree.root
  for (let index = 0; index < parts.length - 1; index++) {
    const id = tree.nodes.get(directory)!.entries.get(parts[index]!)
    const node = id === undefined ? undefined : tree.nodes.get(id)!
    if (node === undefined) return 'ENOENT'
    if (node.kind === 'file') return 'ENOTDIR'
    if (node.kind === 'link') {
      const link = posix.resolve('/', ...parts.slice(0, index), node.text)
      return placeOf(tree, posix.join(link, ...parts.slice(index + 1)), hops + 1)
    }
    directory = node.id
  }
  return { directory, name: parts.at(-1) ?? '' }
}

/** The inode behind a path, or why there is none. */
export function nodeAt(tree: Tree, path: string, follow: boolean, hops = 0): Node | Errno {
  const place = placeOf(tree, path, hops)
  if (typeof place === 'string') return place
  if (place.name === '') return tree.nodes.get(tree.root)!
  const id = tree.nodes.get(place.directory)!.entries.get(place.name)
  if (id === undefined) return 'ENOENT'
  const node = tree.nodes.get(id)!
  if (!follow || node.kind !== 'link') return node
  return nodeAt(tree, posix.resolve(posix.dirname(path), node.text), true, hops + 1)
}

/** The path of what a path leads to when its last component is a link, also one to nothing. */
export function realPath(tree: Tree, path: string): string {
  let real = path
  for (let hops = 0; hops < mostLinks; hops++) {
    const node = nodeAt(tree, real, false)
    if (typeof node === 'string' || node.kind !== 'link') return real
    real = posix.resolve(posix.dirname(real), node.text)
  }
  return real
}

const split = new Map<string, readonly string[]>()

function partsOf(path: string): readonly string[] {
  let parts = split.get(path)
  if (parts === undefined) {
    parts = posix.resolve(path).split('/').filter(Boolean)
    // Names are random: without a bound this would keep every one of them.
    if (split.size > 1_000) split.clear()
    split.set(path, parts)
  }
  return parts
}
