import { posix } from 'node:path'
import type { Owner } from '../../../src/credential.ts'
import { nativeFormat } from '../../../src/formats/native.ts'
import { thisOwner } from '../../../src/owner.ts'
import { fileBackend } from '../../../src/store/file.ts'
import { examine } from '../../../src/store/recover.ts'
import type { Logged } from './log.ts'
import { MemoryFiles } from './memory-files.ts'
import { type Values, valueOf } from './scenarios.ts'
import { digest, type Node, type Tree, walk } from './tree.ts'

/** After a power cut nobody of before is alive, but nobody can prove it: the boot id is another one. */
export const afterReboot: Owner = { ...thisOwner(), bootId: 'the boot after the cut' }
/** After a kill the machine goes on: the holder's death can be proven. */
export const sameBoot: Owner = thisOwner()

/** What a store said when it was opened on a tree. */
export interface Reading {
  /** Everything in it, as `said` writes it; undefined when it could not be read. */
  readonly said: string | undefined
  readonly error: unknown
  readonly files: MemoryFiles
  readonly didRecover: boolean
}

/** One text for one state of a store. */
export function said(values: Values): string {
  return Object.keys(values)
    .sort()
    .map((key) => `${key}=${values[key] ?? ''}`)
    .join(' ')
}

export async function readAll(tree: Tree, path: string, owner: Owner): Promise<Reading> {
  const files = new MemoryFiles({ tree, reuseInodes: true })
  let didRecover = false
  const store = fileBackend({ path, files, owner, staleLockMs: 40, onEvent: () => (didRecover = true) })
  try {
    const values: Record<string, string> = {}
    for (const key of await store.keys()) {
      const { token, body } = (await store.read(key))!.value
      values[key] = typeof token === 'string' && body === valueOf(token).body ? token : 'not what was written'
    }
    return { said: said(values), error: undefined, files, didRecover }
  } catch (error) {
    return { said: undefined, error, files, didRecover }
  }
}

/** Whether a following commit works, keeps everything, and leaves no file with secrets behind. Null: it does. */
export async function commitAfter(tree: Tree, path: string, owner: Owner, before: string): Promise<string | null> {
  const files = new MemoryFiles({ tree, reuseInodes: true })
  const store = fileBackend({ path, files, owner, staleLockMs: 40 })
  try {
    const change = { key: 'p:next', next: valueOf('next'), expected: null }
    if (!(await store.commit([change])).ok) return 'a following commit was refused'
  } catch (error) {
    return `a following commit failed: ${String(error)}`
  }
  const after = await readAll(files.tree(), path, owner)
  if (after.said !== `${before} p:next=next`.trim()) return `a following commit made of it: ${String(after.said)}`
  const left = drafts(files.tree())
  return left.length === 0 ? null : `a following commit left ${left.join()}`
}

/** Files beside the store that hold secrets and should not: drafts, and temporary files of the library. */
export function drafts(tree: Tree): readonly string[] {
  return [...walk(tree)].map(([path]) => posix.basename(path)).filter((name) => /\.tmp$|\.\d{4,}$/.test(name))
}

/** The tree with the store's file emptied in place, as by a foreign program; null where there is none. */
export function emptied(tree: Tree, path: string): { tree: Tree; copy: string } | null {
  const paths = new Map(walk(tree))
  const target = targetOf(paths, path)
  const node = paths.get(target)
  const copy = paths.get(`${target}.bak`)
  if (node?.kind !== 'file') return null
  const nodes = new Map(tree.nodes).set(node.id, { ...node, bytes: new Uint8Array(0) })
  return { tree: { ...tree, nodes }, copy: copy === undefined ? '' : digest(copy.bytes) }
}

/** Whether a program that only parses the file finds a whole one. */
export function isWhole(tree: Tree, path: string, suffix = ''): boolean {
  const paths = new Map(walk(tree))
  const node = paths.get(targetOf(paths, path) + suffix)
  return node !== undefined && examine(node.bytes, nativeFormat).kind === 'valid'
}

/** What decides how a commit goes: which names there are, and what kind of content they have. */
export function shape(tree: Tree): string {
  return [...walk(tree)]
    .map(([path, node]) => `${path.replace(/\d+\.[0-9a-f]{16}|-2\d{3}-.*Z/, '')}:${contentKind(node)}`)
    .join('\n')
}

const kinds = new Map<string, string>()

function contentKind(node: Node): string {
  if (node.kind !== 'file') return node.kind === 'directory' ? '/' : '@'
  const key = digest(node.bytes)
  let kind = kinds.get(key)
  if (kind === undefined) {
    const finding = examine(node.bytes, nativeFormat)
    // Two whole documents differ; two torn ones do not, but for being empty.
    kind = finding.kind === 'valid' ? key : `${finding.kind} ${node.bytes.byteLength === 0}`
    kinds.set(key, kind)
  }
  return kind
}

function targetOf(paths: ReadonlyMap<string, Node>, path: string): string {
  const node = paths.get(path)
  return node?.kind === 'link' ? posix.resolve(posix.dirname(path), node.text) : path
}

/** What may be read at an instant: all that was acknowledged, and then more or less of what was asked for, in order. */
export class Promises {
  #settled: Values
  #hasCopy: boolean
  readonly #begun: { readonly commit: number; readonly change: Readonly<Record<string, string | null>> }[] = []

  constructor(values: Values, hasCopy: boolean) {
    this.#settled = values
    this.#hasCopy = hasCopy
  }

  apply(logged: Logged): void {
    if (logged.type !== 'mark') return
    const { mark } = logged
    if (mark.kind === 'begun') {
      this.#begun.push(mark)
      return
    }
    this.#hasCopy = true
    const answered = this.#begun.findIndex(({ commit }) => commit === mark.commit)
    for (const { change } of this.#begun.splice(0, answered + 1)) this.#settled = changed(this.#settled, change)
  }

  get legal(): ReadonlySet<string> {
    const result = new Set([said(this.#settled)])
    let values = this.#settled
    for (const { change } of this.#begun) result.add(said((values = changed(values, change))))
    return result
  }

  /** Whether what was acknowledged must stand in a second place: from the first commit on. */
  get hasCopy(): boolean {
    return this.#hasCopy
  }

  /** Whether there is anything that a reader must find. */
  get isEmpty(): boolean {
    return Object.keys(this.#settled).length === 0
  }
}

function changed(values: Values, change: Readonly<Record<string, string | null>>): Values {
  const result = Object.entries({ ...values, ...change })
  return Object.fromEntries(result.filter((entry): entry is [string, string] => entry[1] !== null))
}
