import { Contents } from './contents.ts'
import type { Logged, Place } from './log.ts'
import { choices } from './random.ts'
import { type Node, type Tree } from './tree.ts'

/**
 * What a file system promises about directories. `weak`: only what an fsync of that very directory has confirmed;
 * everything later may be there or not, each operation for itself, but what happened to one name happened in order.
 * `journal`: operations become durable in order, and any fsync confirms all that came before it.
 */
export type Model = 'weak' | 'journal'

export interface Bounds {
  /** Choices of directory operations at one instant. */
  readonly directories: number
  /** Contents of one file, and combinations of files, for one such choice. */
  readonly contents: number
  readonly random: () => number
}

interface Entry {
  readonly place: Place
  readonly id: number | null
}

/** A directory operation that no sync has confirmed yet. */
interface Pending {
  readonly entries: readonly Entry[]
  /** Directories whose sync it waits for. */
  readonly awaits: Set<number>
  /** Earlier ones on the same names. */
  after: readonly Pending[]
}

/** A disk that is told a log, operation by operation, and knows at each instant what may be left of it. */
export class Disk {
  readonly #model: Model
  readonly #root: number
  readonly #nodes: Map<number, Node>
  readonly #contents = new Map<number, Contents>()
  /** Directories, as far as they are certain. */
  readonly #entries = new Map<number, Map<string, number>>()
  #pending: Pending[] = []

  /** @param base all of it durable */
  constructor(base: Tree, model: Model) {
    this.#model = model
    this.#root = base.root
    this.#nodes = new Map(base.nodes)
    for (const node of base.nodes.values()) this.#meet(node)
  }

  apply(logged: Logged): void {
    switch (logged.type) {
      case 'create':
      case 'mkdir':
      case 'symlink':
        this.#meet(logged.node)
        this.#postpone([{ place: logged.at, id: logged.node.id }])
        return
      case 'rename':
        this.#postpone([
          { place: logged.from, id: null },
          { place: logged.at, id: logged.id },
        ])
        return
      case 'unlink':
      case 'rmdir':
        this.#postpone([{ place: logged.at, id: null }])
        return
      case 'write':
        this.#contents.get(logged.id)!.write(logged.position, logged.bytes)
        this.#change(logged.id, { mtimeMs: logged.time })
        return
      case 'truncate':
        this.#contents.get(logged.id)!.truncate(logged.size)
        this.#change(logged.id, { mtimeMs: logged.time })
        return
      case 'attributes':
        this.#change(logged.id, logged.change)
        return
      case 'fsync':
        this.#contents.get(logged.id)!.sync()
        if (this.#model === 'journal') this.#confirm(() => true)
        return
      case 'fsyncDirectory':
        this.#confirm(({ awaits }) => {
          awaits.delete(logged.id)
          return this.#model === 'journal' || awaits.size === 0
        })
        return
      case 'mark':
        return
    }
  }

  /** What is found when only the process dies. */
  everything(): Tree {
    const { root, nodes } = this.#directories(this.#pending)
    const whole = [...nodes].map(([id, node]): [number, Node] => {
      const contents = this.#contents.get(id)
      return [id, contents === undefined ? node : { ...node, bytes: contents.current }]
    })
    return { root, nodes: new Map(whole) }
  }

  /** Every tree that may be found after a crash at this instant, within the bounds. Some may come twice. */
  *states(bounds: Bounds): Generator<Tree> {
    const seen = new Set<string>()
    for (const chosen of this.#directoryChoices(bounds)) {
      const key = chosen.map((pending) => this.#pending.indexOf(pending)).join()
      if (seen.has(key)) continue
      seen.add(key)
      yield* this.#withContents(this.#directories(chosen), bounds)
    }
  }

  *#directoryChoices(bounds: Bounds): Generator<readonly Pending[]> {
    const { length } = this.#pending
    if (this.#model === 'journal') {
      for (let count = 0; count <= length; count++) yield this.#pending.slice(0, count)
      return
    }
    for (const choice of choices(new Array<number>(length).fill(2), bounds.directories, bounds.random)) {
      const chosen = new Set<Pending>()
      for (const [index, pending] of this.#pending.entries()) {
        if (choice[index] === 1 && pending.after.every((earlier) => chosen.has(earlier))) chosen.add(pending)
      }
      yield [...chosen]
    }
  }

  #directories(chosen: readonly Pending[]): Tree {
    const entries = new Map<number, Map<string, number>>()
    for (const pending of chosen) {
      for (const { place } of pending.entries) {
        if (!entries.has(place.directory)) entries.set(place.directory, new Map(this.#entries.get(place.directory)))
      }
      enter(entries, pending)
    }
    const nodes = new Map<number, Node>()
    const add = (id: number): void => {
      const node = this.#nodes.get(id)!
      const names = entries.get(id) ?? this.#entries.get(id)
      nodes.set(id, names === undefined ? node : { ...node, entries: names })
      for (const child of names?.values() ?? []) add(child)
    }
    add(this.#root)
    return { root: this.#root, nodes }
  }

  *#withContents(tree: Tree, bounds: Bounds): Generator<Tree> {
    // By age, because names are random and the same choices are to be made on every run.
    const files = [...tree.nodes.values()].filter(({ kind }) => kind === 'file').sort((a, b) => a.id - b.id)
    const variants = files.map(({ id }) => this.#contents.get(id)!.variants(bounds.contents, bounds.random))
    const sizes = variants.map(({ length }) => length)
    for (const choice of choices(sizes, bounds.contents, bounds.random)) {
      const nodes = new Map(tree.nodes)
      for (const [n, node] of files.entries()) nodes.set(node.id, { ...node, bytes: variants[n]![choice[n]!]! })
      yield { root: tree.root, nodes }
    }
  }

  #meet(node: Node): void {
    this.#nodes.set(node.id, node)
    if (node.kind === 'directory') this.#entries.set(node.id, new Map(node.entries))
    if (node.kind === 'file') this.#contents.set(node.id, new Contents(node.bytes))
  }

  #change(id: number, change: Partial<Node>): void {
    this.#nodes.set(id, { ...this.#nodes.get(id)!, ...change })
  }

  #postpone(entries: readonly Entry[]): void {
    const touches = (pending: Pending): boolean =>
      pending.entries.some((a) => entries.some((b) => isSamePlace(a.place, b.place)))
    const after = this.#pending.filter(touches)
    this.#pending.push({ entries, awaits: new Set(entries.map(({ place }) => place.directory)), after })
  }

  /** What is confirmed is entered for good. An operation waits for those before it on the same names. */
  #confirm(isConfirmed: (pending: Pending) => boolean): void {
    const left: Pending[] = []
    for (const pending of this.#pending) {
      if (isConfirmed(pending) && !pending.after.some((earlier) => left.includes(earlier))) {
        enter(this.#entries, pending)
      } else {
        left.push(pending)
      }
    }
    for (const pending of left) pending.after = pending.after.filter((earlier) => left.includes(earlier))
    this.#pending = left
  }
}

function enter(directories: Map<number, Map<string, number>>, { entries }: Pending): void {
  for (const { place, id } of entries) {
    const directory = directories.get(place.directory)!
    if (id === null) directory.delete(place.name)
    else directory.set(place.name, id)
  }
}

function isSamePlace(a: Place, b: Place): boolean {
  return a.directory === b.directory && a.name === b.name
}
