import type { Node } from './tree.ts'

/** A name in a directory; the directory by its id. */
export interface Place {
  readonly directory: number
  readonly name: string
}

/** One thing that happened on the file system, or to those who use it (`mark`). */
export type Logged =
  | { readonly type: 'create' | 'mkdir' | 'symlink'; readonly at: Place; readonly node: Node }
  | { readonly type: 'rename'; readonly from: Place; readonly at: Place; readonly id: number; readonly time: number }
  | { readonly type: 'unlink' | 'rmdir'; readonly at: Place; readonly id: number; readonly time: number }
  | {
      readonly type: 'write'
      readonly id: number
      readonly position: number
      readonly bytes: Uint8Array
      readonly time: number
    }
  | { readonly type: 'truncate'; readonly id: number; readonly size: number; readonly time: number }
  | { readonly type: 'attributes'; readonly id: number; readonly change: Partial<Node> }
  | { readonly type: 'fsync' | 'fsyncDirectory'; readonly id: number }
  | { readonly type: 'mark'; readonly mark: Mark }

/** What the users of a store were told, in order with what the disk was told. */
export type Mark =
  /** A commit has been asked for: from now on its values may be read. */
  | { readonly kind: 'begun'; readonly commit: number; readonly change: Readonly<Record<string, string | null>> }
  /** It was answered: from now on its values must be read. */
  | { readonly kind: 'acknowledged'; readonly commit: number }
