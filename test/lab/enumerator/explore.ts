import { type Bounds, Disk, type Model } from './crash-states.ts'
import {
  afterReboot,
  commitAfter,
  emptied,
  isWhole,
  Promises,
  type Reading,
  readAll,
  sameBoot,
  shape,
} from './judge.ts'
import { seeded } from './random.ts'
import type { Recording } from './scenarios.ts'
import { type Tree, treeKey } from './tree.ts'
import { passTime } from './virtual-time.ts'

export interface Tally {
  /** Different trees, counted once for each set of promises they were held to. */
  states: number
  /** Of these, with the crash in the middle of a recovery from one of the others. */
  secondCrashes: number
  /** Readable only after a recovery. */
  recovered: number
  /** Read as something else than the last acknowledged state or one being committed. */
  lost: number
  /** Not readable. */
  unrecovered: number
  /** Readable, but a following commit failed, lost something or left secrets behind. */
  stuck: number
  /** The file itself was whole before and is not: other programs that read it find nothing. */
  gaps: number
  /** Lost when a foreign program then empties the file in place. */
  lostToForeigners: number
  /** The first failure of each sort, to look at. */
  readonly examples: string[]
}

export interface ExploreOptions {
  readonly seed?: number
  readonly directories?: number
  readonly contents?: number
  /** Recoveries whose own crashes are enumerated. */
  readonly recoveries?: number
}

export function newTally(): Tally {
  return {
    ...{ states: 0, secondCrashes: 0, recovered: 0, lost: 0, unrecovered: 0, stuck: 0, gaps: 0, lostToForeigners: 0 },
    examples: [],
  }
}

/** Cuts a recording after every operation and opens the store on everything that may be left. */
export async function explore(recording: Recording, model: Model, options: ExploreOptions = {}): Promise<Tally> {
  const explorer = new Explorer(recording, options)
  await withoutStacks(() => explorer.powerCuts(model))
  return explorer.tally
}

/** The same for a process that dies while the machine goes on: all it asked for is there. */
export async function exploreKills(recording: Recording): Promise<Tally> {
  const explorer = new Explorer(recording, {})
  await explorer.kills()
  return explorer.tally
}

/** Most of a reader's time would go into stacks that nobody looks at. */
async function withoutStacks(run: () => Promise<void>): Promise<void> {
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 0
  await run().finally(() => (Error.stackTraceLimit = limit))
}

class Explorer {
  readonly tally = newTally()
  readonly #recording: Recording
  readonly #bounds: Bounds
  readonly #options: ExploreOptions
  readonly #seen = new Set<string>()
  readonly #readings = new Map<string, Promise<Reading>>()
  readonly #commits = new Map<string, string | null>()
  readonly #recoveries = new Set<string>()
  readonly #foreign = new Map<string, Reading>()
  readonly #wasWhole: boolean
  readonly #hadCopy: boolean
  #instant = ''

  constructor(recording: Recording, options: ExploreOptions) {
    this.#recording = recording
    this.#options = options
    this.#bounds = {
      directories: options.directories ?? 512,
      contents: options.contents ?? 120,
      random: seeded(options.seed ?? 1),
    }
    this.#wasWhole = isWhole(recording.base, recording.path)
    this.#hadCopy = isWhole(recording.base, recording.path, '.bak')
  }

  async powerCuts(model: Model): Promise<void> {
    const { base, log, values } = this.#recording
    // Locks that are left over must look left over.
    passTime(60_000)
    const disk = new Disk(base, model)
    const promises = new Promises(values, this.#hadCopy)
    for (const [index, logged] of [null, ...log].entries()) {
      if (logged !== null) {
        disk.apply(logged)
        promises.apply(logged)
      }
      this.#instant = `${model}, after ${index} (${logged?.type ?? 'nothing'})`
      for (const tree of disk.states(this.#bounds)) await this.#judge(tree, promises, model)
    }
  }

  async kills(): Promise<void> {
    const { base, log, values } = this.#recording
    const disk = new Disk(base, 'journal')
    const promises = new Promises(values, this.#hadCopy)
    for (const logged of log) {
      disk.apply(logged)
      promises.apply(logged)
      this.#instant = `kill after ${logged.type}`
      await this.#judge(disk.everything(), promises, 'kill')
    }
  }

  async #judge(tree: Tree, promises: Promises, model: Model | 'kill'): Promise<void> {
    const key = treeKey(tree)
    const { legal } = promises
    const held = `${[...legal].join('|')}\n${key}`
    if (this.#seen.has(held)) return
    this.#seen.add(held)
    this.tally.states++

    const { path } = this.#recording
    const owner = model === 'kill' ? sameBoot : afterReboot
    const reading = await this.#read(key, tree, owner)
    if (!this.#isRight(reading, legal, tree)) return
    if (this.#wasWhole && !isWhole(tree, path)) this.#fail('gaps', tree, 'the file is not whole')
    if (reading.didRecover) {
      this.tally.recovered++
      if (model !== 'kill') await this.#crashAgain(reading, tree, legal, model)
    }
    if (promises.hasCopy && !promises.isEmpty) await this.#afterForeigner(tree, legal)

    const kind = shape(tree)
    let problem = this.#commits.get(kind)
    if (problem === undefined) {
      problem = await commitAfter(tree, path, owner, reading.said!)
      this.#commits.set(kind, problem)
    }
    if (problem !== null) this.#fail('stuck', tree, problem)
  }

  #read(key: string, tree: Tree, owner: typeof afterReboot): Promise<Reading> {
    let reading = this.#readings.get(key)
    if (reading === undefined) this.#readings.set(key, (reading = readAll(tree, this.#recording.path, owner)))
    return reading
  }

  #isRight(reading: Reading, legal: ReadonlySet<string>, tree: Tree): boolean {
    if (reading.said === undefined) this.#fail('unrecovered', tree, String(reading.error))
    else if (!legal.has(reading.said))
      this.#fail('lost', tree, `read: ${reading.said}; promised: ${[...legal].join(' or ')}`)
    else return true
    return false
  }

  /** Power fails once more in the middle of the recovery that a reader did. */
  async #crashAgain(reading: Reading, tree: Tree, legal: ReadonlySet<string>, model: Model): Promise<void> {
    const kind = `${[...legal].join('|')}\n${shape(tree)}`
    if (this.#recoveries.has(kind) || this.#recoveries.size >= (this.#options.recoveries ?? 12)) return
    this.#recoveries.add(kind)
    passTime(60_000)
    const disk = new Disk(tree, model)
    const seen = new Set<string>()
    for (const logged of reading.files.log) {
      disk.apply(logged)
      for (const second of disk.states({ ...this.#bounds, directories: 16, contents: 8 })) {
        const key = treeKey(second)
        if (seen.has(key)) continue
        seen.add(key)
        this.tally.states++
        this.tally.secondCrashes++
        this.#isRight(await this.#read(key, second, afterReboot), legal, second)
      }
    }
  }

  async #afterForeigner(tree: Tree, legal: ReadonlySet<string>): Promise<void> {
    const { path } = this.#recording
    const damaged = emptied(tree, path)
    if (damaged === null) return
    let reading = this.#foreign.get(damaged.copy)
    if (reading === undefined) {
      reading = await readAll(damaged.tree, path, afterReboot)
      this.#foreign.set(damaged.copy, reading)
    }
    if (reading.said === undefined || !legal.has(reading.said)) {
      this.#fail('lostToForeigners', tree, `from the copy: ${reading.said ?? String(reading.error)}`)
    }
  }

  #fail(sort: 'lost' | 'unrecovered' | 'stuck' | 'gaps' | 'lostToForeigners', tree: Tree, what: string): void {
    if (this.tally[sort]++ === 0) {
      this.tally.examples.push(`${sort}: ${this.#recording.name}, ${this.#instant}: ${what}\n${shape(tree)}`)
    }
  }
}
