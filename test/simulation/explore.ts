import { seeded } from '../lab/enumerator/random.ts'
import { type BrokerClass, type Chooser, type Option, play, type Setting } from './world.ts'

/** A run, told by what interfered with it: at which step which option was taken instead of the first. */
type Schedule = readonly (readonly [step: number, option: number])[]

export interface Finding {
  readonly setting: Setting
  readonly schedule: Schedule
  readonly violation: string
}

/** What came of many schedules. */
export class Exploration {
  schedules = 0
  steps = 0
  /** How often the server has seen a refresh token twice and taken it for theft. */
  detections = 0
  readonly findings: Finding[] = []

  async try(Broker: BrokerClass, setting: Setting, choose: Chooser, schedule: Schedule): Promise<void> {
    const { steps, violation, detections } = await play(Broker, setting, choose)
    this.schedules++
    this.steps += steps
    this.detections += detections
    if (violation !== undefined) this.findings.push({ setting, schedule: [...schedule], violation })
  }
}

/**
 * Every schedule of a setting with at most `bound` interferences, and with at most `order` that are no faults, only
 * steps of somebody else in front of the next one. No two of them are the same. Ends at the first finding.
 */
export async function exhaust(
  Broker: BrokerClass,
  setting: Setting,
  bound: number,
  options: { readonly order?: number; readonly found?: Exploration } = {},
): Promise<Exploration> {
  const { order = bound, found = new Exploration() } = options
  const explore = async (schedule: Schedule, isOrder: boolean): Promise<void> => {
    const rest: { readonly interference: Schedule[number]; readonly isOrder: boolean }[] = []
    const mayFail = schedule.length < bound
    const from = (schedule.at(-1)?.[0] ?? -1) + 1
    let next = 0
    await found.try(
      Broker,
      setting,
      (step, list) => {
        if (schedule[next]?.[0] === step) return schedule[next++]![1]
        if (step < from || !(mayFail || (isOrder && schedule.length < order))) return 0
        list().forEach(({ fault }, option) => {
          if (option === 0 || (fault !== null && !mayFail)) return
          rest.push({ interference: [step, option], isOrder: isOrder && fault === null })
        })
        return 0
      },
      schedule,
    )
    for (const { interference, isOrder } of rest) {
      if (found.findings.length > 0) return
      await explore([...schedule, interference], isOrder)
    }
  }
  await explore([], true)
  return found
}

/** Schedules from seeds, each as disorderly as its seed says. Ends at the first finding. */
export async function sample(
  Broker: BrokerClass,
  settings: readonly Setting[],
  seeds: { readonly from: number; readonly count: number },
): Promise<Exploration> {
  const found = new Exploration()
  for (let seed = seeds.from; seed < seeds.from + seeds.count && found.findings.length === 0; seed++) {
    const schedule: [number, number][] = []
    await found.try(Broker, settings[seed % settings.length]!, disorderly(seed, schedule), schedule)
  }
  return found
}

/** Chooses by a seed, and notes in `schedule` what it has chosen. */
function disorderly(seed: number, schedule: [number, number][]): Chooser {
  const random = seeded(seed)
  const disorder = random() ** 2 * 0.6
  const trouble = random() * 0.15
  let faults = Math.floor(random() * 5)
  const oneOf = (step: number, options: readonly Option[], isMeant: (option: Option) => boolean): number => {
    const meant = options.slice(1).filter(isMeant)
    if (meant.length === 0) return 0
    const option = options.indexOf(meant[Math.floor(random() * meant.length)]!)
    schedule.push([step, option])
    return option
  }
  return (step, options) => {
    const dice = random()
    if (faults > 0 && dice < trouble) {
      faults--
      return oneOf(step, options(), ({ fault }) => fault !== null)
    }
    return dice > 1 - disorder ? oneOf(step, options(), ({ fault }) => fault === null) : 0
  }
}

/** The same failure with less interference: whatever can be left out is. */
export async function shrink(Broker: BrokerClass, finding: Finding): Promise<Finding> {
  for (const left of finding.schedule) {
    const schedule = finding.schedule.filter((interference) => interference !== left)
    const found = new Exploration()
    await found.try(Broker, finding.setting, following(new Map(schedule)), schedule)
    const [smaller] = found.findings
    if (smaller !== undefined) return shrink(Broker, smaller)
  }
  return finding
}

/** An option that is not there any more is passed over. */
function following(schedule: ReadonlyMap<number, number>): Chooser {
  return (step, options) => {
    const option = schedule.get(step)
    return option === undefined || option >= options().length ? 0 : option
  }
}

/**
 * The schedule in words, which `replay` takes: `two, strict, proof | A commits 2 > A stops` says that instead of A's
 * second commit, A stops. Unlike numbers of steps, words live on when the broker changes; written by hand, a place may
 * also be named by what went before: `after A commits 2 > A stops`.
 */
export async function tell(Broker: BrokerClass, { setting, schedule }: Finding): Promise<string> {
  const words: string[] = [setting.name]
  const follow = following(new Map(schedule))
  const nth = counter()
  await play(Broker, setting, (step, options) => {
    const place = nth(options()[0]!.what)
    const option = follow(step, options)
    if (option > 0) words.push(`${place} > ${options()[option]!.what}`)
    return option
  })
  return words.join(' | ')
}

/**
 * Plays a schedule that `tell` has told, and says step by step what happens.
 *
 * @throws TypeError for a schedule of which something cannot be done any more
 */
export async function replay(
  Broker: BrokerClass,
  told: string,
  settings: readonly Setting[],
): Promise<{ readonly violation: string | undefined; readonly trace: string }> {
  const [name, ...interferences] = told.split(' | ')
  const setting = settings.find((each) => each.name === name)
  if (setting === undefined) throw new TypeError(`no setting is called ${name}`)
  const left = new Map(interferences.map((each) => each.split(' > ') as [string, string]))
  const [planned, done] = [counter(), counter()]
  let before = ''
  const { violation, trace } = await play(
    Broker,
    setting,
    (_, options) => {
      const places = [planned(options()[0]!.what), before]
      const place = places.find((each) => left.has(each)) ?? ''
      const option = Math.max(
        0,
        options().findIndex(({ what }) => what === left.get(place)),
      )
      if (option > 0) left.delete(place)
      before = `after ${done(options()[option]!.what)}`
      return option
    },
    { trace: true },
  )
  if (left.size > 0) throw new TypeError(`cannot be done: ${[...left.keys()].join(', ')}\n${trace.join('\n')}`)
  return { violation, trace: trace.join('\n') }
}

function counter(): (what: string) => string {
  const counts = new Map<string, number>()
  return (what) => {
    const count = (counts.get(what) ?? 0) + 1
    counts.set(what, count)
    return `${what} ${count}`
  }
}

/** What a person wants to know of a failure; empty where there is none. */
export async function report(Broker: BrokerClass, found: Exploration, settings: readonly Setting[]): Promise<string> {
  const [first] = found.findings
  if (first === undefined) return ''
  const told = await tell(Broker, await shrink(Broker, first))
  const { violation, trace } = await replay(Broker, told, settings)
  return `${violation}\n\nSCHEDULE="${told}"\n\n${trace}`
}
