import { resized, spliced } from './bytes.ts'
import { choices } from './random.ts'
import { digest } from './tree.ts'

export const pieceSize = 512

type Change = { readonly position: number; readonly bytes: Uint8Array } | { readonly size: number }

/**
 * What may be found in one file after a crash: of everything written since the last sync any 512-byte piece may be
 * there or not, pieces within the size that were never written read as zeros, and the size may be ahead of the data or
 * behind it. Pure data; directories do not matter here.
 */
export class Contents {
  #durable: Uint8Array
  #changes: Change[] = []
  #variants: readonly Uint8Array[] | undefined

  constructor(durable: Uint8Array) {
    this.#durable = durable
  }

  /** As programs see it. */
  get current(): Uint8Array {
    return this.#versions().at(-1)!
  }

  write(position: number, bytes: Uint8Array): void {
    this.#changes.push({ position, bytes })
    this.#variants = undefined
  }

  truncate(size: number): void {
    this.#changes.push({ size })
    this.#variants = undefined
  }

  sync(): void {
    this.#durable = this.current
    this.#changes = []
    this.#variants = undefined
  }

  /** The first is what certainly reached the disk, the last is all of it. */
  variants(bound: number, random: () => number): readonly Uint8Array[] {
    this.#variants ??= this.#enumerate(bound, random)
    return this.#variants
  }

  #versions(): Uint8Array[] {
    const versions = [this.#durable]
    for (const change of this.#changes) {
      const last = versions.at(-1)!
      versions.push('size' in change ? resized(last, change.size) : spliced(last, change.bytes, change.position))
    }
    return versions
  }

  /** The changes fall into eras, each begun by a truncation: the size is always one of the era that was reached. */
  #enumerate(bound: number, random: () => number): readonly Uint8Array[] {
    const versions = this.#versions()
    const begins = [0, ...this.#changes.flatMap((change, n) => ('size' in change ? [n + 1] : []))]
    const found = new Map<string, Uint8Array>()
    const add = (bytes: Uint8Array): void => void found.set(digest(bytes), bytes)
    add(this.#durable)
    for (const [era, begin] of begins.entries()) {
      const within = versions.slice(begin, begins[era + 1])
      // What was written before the truncation may be missing as well, but only where the truncation has left it.
      const floor = within[0]!.byteLength
      const earlier = versions.slice(0, begin).map((version) => resized(version, Math.min(version.byteLength, floor)))
      const sizes = possibleSizes(within.map(({ byteLength }) => byteLength))
      for (const size of sizes) {
        const pieces = Array.from({ length: Math.ceil(size / pieceSize) }, (_, n) =>
          candidates(n * pieceSize < floor ? [...earlier, ...within] : within, n, size),
        )
        const counts = pieces.map(({ length }) => length)
        for (const choice of choices(counts, Math.ceil(bound / sizes.length / begins.length), random)) {
          add(joined(pieces.map((options, n) => options[choice[n]!]!)))
        }
      }
    }
    const all = versions.at(-1)!
    found.delete(digest(all))
    add(all)
    return [...found.values()]
  }
}

/** The sizes there were, and every whole number of pieces between the smallest and the largest. */
function possibleSizes(sizes: readonly number[]): readonly number[] {
  const result = new Set(sizes)
  for (let size = 0; size < Math.max(...sizes); size += pieceSize) if (size > Math.min(...sizes)) result.add(size)
  return [...result].sort((a, b) => a - b)
}

/** What a piece may hold: every version of it; beyond the end of a version, zeros. */
function candidates(versions: readonly Uint8Array[], piece: number, size: number): readonly Uint8Array[] {
  const start = piece * pieceSize
  const end = Math.min(start + pieceSize, size)
  const found = new Map<string, Uint8Array>()
  for (const version of versions) {
    const bytes = resized(version.subarray(start, Math.max(start, end)), end - start)
    found.set(digest(bytes), bytes)
  }
  return [...found.values()]
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(pieces))
}
