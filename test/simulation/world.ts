import type { TokenBroker, TokenBrokerOptions } from '../../src/broker/broker.ts'
import type { Clock } from '../../src/broker/clock.ts'
import type { RefreshTiming } from '../../src/broker/lease.ts'
import type { JsonObject, Owner } from '../../src/credential.ts'
import { AuthkeepError } from '../../src/errors.ts'
import type { HttpAnswer } from '../../src/grant/classify.ts'
import type { Provider } from '../../src/provider.ts'
import type { Change, CommitResult, StoreBackend, Versioned } from '../../src/store/backend.ts'
import { CredentialStore } from '../../src/store/store.ts'
import { grantOver } from './grant.ts'
import { Rules, Violation } from './rules.ts'
import { type Outcome, outcomes, type Rotation, Server } from './server.ts'

/*
 * Several brokers, each a process of its own, on one store in memory. Whatever a broker waits for is a gate, and the
 * scheduler opens one at a time: a read, a commit, a timer, the arrival of a request, its reply. Between two steps
 * every broker runs until it waits again. Time, chance and the order of all steps are the scheduler's; nothing else
 * decides anything, so the same choices give the same run.
 */

export interface Wish {
  readonly resource: string | null
  /** The caller says that an API has refused the token it was given before. */
  readonly afterRefusal?: boolean
}

/** What a run begins with. */
export interface Setting {
  readonly name: string
  readonly rotation: Rotation
  /** Whether a process can prove that another one is gone. */
  readonly proof: boolean
  /** Per broker: lanes that run side by side, each a row of requests. */
  readonly brokers: readonly (readonly (readonly Wish[])[])[]
  /** The stored token still lives, and nears its end. */
  readonly aging?: boolean
  /** Where the broker talks HTTP through openid-client, instead of meeting the grant at its seam. */
  readonly http?: boolean
}

/** The copy of the broker that is tried: the real one, or a mutant. */
export type BrokerClass = new (options: TokenBrokerOptions) => TokenBroker

const lossesOnTheWay = [
  ['refused', 'ECONNREFUSED'],
  ['reset', 'ECONNRESET'],
] as const
const entryName = 'acme:default'
const issuer = 'https://as.example'
const epoch = 1_800_000_000_000
const hour = 3_600_000
const timing: RefreshTiming = { leaseMs: 300, httpTimeoutMs: 150, commitAllowanceMs: 50, inDoubtWaitMs: 200 }
/** A time-out of `fetch` runs on the clock of the machine, which must not come in between. */
const httpTiming: RefreshTiming = { leaseMs: 5_500, httpTimeoutMs: 5_000, commitAllowanceMs: 50, inDoubtWaitMs: 200 }
/** Longer than any wait. */
const stopMs = 20_000
const maxSteps = 4_000

/** Something that a broker waits for. */
interface Gate {
  readonly what: string
  /** From when on it opens by itself. */
  readonly deadline: number
  isReady(): boolean
  open(): void
  /** Other ways to open it: faults. */
  readonly others: readonly (readonly [Fault, string, () => void])[]
}

/** A request to the token endpoint, on its way or at the server. */
interface Post {
  readonly player: Player
  readonly token: string
  readonly answered: (answer: HttpAnswer) => void
  readonly failed: (code: string) => void
}

export interface Player {
  readonly index: number
  readonly name: string
  readonly owner: Owner
  readonly gates: Gate[]
  /** What the broker has read last. */
  seen: JsonObject | null
  crashed: boolean
  stoppedAt: number | null
  /** Requests without an answer yet. */
  readonly open: Set<Wish & { rejected?: string }>
}

/** One thing that can happen next. */
export interface Option {
  readonly what: string
  /** Whose step it is, if anybody's. */
  readonly player: Player | null
  /** What it opens, if it is a broker that goes on. */
  readonly gate: Gate | null
  /** What goes wrong in it; null where it is only a matter of order. */
  readonly fault: Fault | null
  readonly act: () => void
}

export type Fault =
  | 'disk full'
  | 'commit unheard'
  | 'commit lost'
  | 'reset'
  | 'refused'
  | 'time'
  | 'death'
  | 'stop'
  | 'person'
  | Outcome

/** Which option a step takes; 0 is what happens without interference. */
export type Chooser = (step: number, options: () => readonly Option[]) => number

export interface Run {
  readonly steps: number
  /** Undefined: every rule held. */
  readonly violation: string | undefined
  readonly detections: number
  readonly trace: readonly string[]
}

/** Plays one schedule to its end. */
export async function play(
  Broker: BrokerClass,
  setting: Setting,
  choose: Chooser,
  options: { readonly trace?: boolean } = {},
): Promise<Run> {
  return new World(Broker, setting, options.trace ?? false).play(choose)
}

class World {
  readonly #Broker: BrokerClass
  readonly #setting: Setting
  readonly #timing: RefreshTiming
  readonly #provider: Provider
  readonly #server: Server
  readonly #rules: Rules
  readonly #players: Player[] = []
  readonly #brokers: TokenBroker[] = []
  readonly #posts: Post[] = []
  readonly #trace: string[] | undefined
  readonly #entries = new Map<string, Versioned>()
  #revision = 0
  #now = epoch
  #current = 0
  #mayLogIn = true
  #problem: unknown

  constructor(Broker: BrokerClass, setting: Setting, trace: boolean) {
    this.#Broker = Broker
    this.#setting = setting
    this.#trace = trace ? [] : undefined
    this.#timing = setting.http === true ? httpTiming : timing
    this.#provider = {
      ...{ id: 'acme', issuer, metadata: { token_endpoint: `${issuer}/token` }, client: { id: 'cli' } },
      refresh: { rotation: setting.rotation },
    }
    this.#server = new Server(setting.rotation)
    this.#rules = new Rules(setting, this.#timing, this.#server, this.#players)
    const value = this.#loggedIn(setting.aging === true ? hour / 60 : -hour)
    this.#entries.set(entryName, { value, revision: '0' })
    this.#rules.committed(null, null, value, this.#now)
  }

  async play(choose: Chooser): Promise<Run> {
    let step = 0
    try {
      for (const lanes of this.#setting.brokers) this.#enter(lanes)
      for (; ; step++) {
        await this.#settle()
        const next = this.#default()
        if (next === undefined) break
        const index = choose(step, () => this.#options(next))
        this.#take(index === 0 ? next : this.#options(next)[index]!)
        if (step > maxSteps) throw new Violation('a wait does not end')
      }
      this.#rules.idle(this.#players)
      await this.#close()
      await this.#comeBack()
    } catch (error) {
      return this.#report(step, error instanceof Violation ? error.message : String((error as Error).stack))
    }
    return this.#report(step, undefined)
  }

  #report(steps: number, violation: string | undefined): Run {
    return { steps, violation, detections: this.#server.detections, trace: this.#trace ?? [] }
  }

  #loggedIn(lifeMs: number): JsonObject {
    const token = (resource: string | null): JsonObject => ({
      ...{ accessToken: `login ${this.#revision} ${resource}`, tokenType: 'Bearer', scopes: ['a'], resource },
      ...{ expiresAt: this.#now + lifeMs, obtainedAt: this.#now + lifeMs - hour, evidence: 'response' },
    })
    return {
      ...{ type: 'oauth', provider: 'acme', account: 'default', issuer, clientId: 'cli', subject: 'me' },
      grant: {
        ...{ scopes: ['a'], evidence: 'response', resources: ['https://x', 'https://y'], generation: 0 },
        ...{ refreshToken: this.#server.login(), obtainedAt: this.#now, state: 'live', replays: 0 },
      },
      tokens: [token(null)],
      lease: null,
    }
  }

  // --- brokers ---------------------------------------------------------------------------------------------------

  #enter(lanes: Setting['brokers'][number]): void {
    const index = this.#players.length
    const player: Player = {
      ...{ index, name: String.fromCharCode(65 + index), gates: [], seen: null, crashed: false, stoppedAt: null },
      owner: { host: 'h', bootId: 'b', pidNamespace: 'n', pid: index + 1, startTime: '1', instance: `i${index}` },
      open: new Set(),
    }
    this.#players.push(player)
    const broker = new this.#Broker({
      store: new CredentialStore(this.#backend(player)),
      providers: [this.#provider],
      timing: this.#timing,
      clock: this.#clock(player),
      process: { owner: player.owner, vitality: (owner) => this.#vitality(owner) },
      ...(this.#setting.http === true
        ? { fetch: (_, init) => this.#fetch(player, init) }
        : { refresh: grantOver((token) => this.#post(player, token)) }),
    })
    this.#brokers.push(broker)
    for (const lane of lanes) void this.#walk(player, broker, lane)
  }

  async #walk(player: Player, broker: TokenBroker, lane: readonly Wish[]): Promise<void> {
    let last: string | undefined
    for (const wish of lane) {
      const rejected = wish.afterRefusal === true ? last : undefined
      const request = { ...wish, ...(rejected === undefined ? {} : { rejected }) }
      player.open.add(request)
      const { resource } = wish
      try {
        const token = await broker.getToken(
          { provider: 'acme', scopes: ['a'], ...(resource === null ? {} : { resource }) },
          rejected === undefined ? {} : { rejected },
        )
        last = token.reveal()
        this.#trace?.push(`  ${player.name} has ${last}`)
        this.#watch(() => this.#rules.served(request, token, this.#now))
      } catch (error) {
        this.#trace?.push(`  ${player.name} is told ${(error as Error).message}`)
        this.#watch(() => this.#rules.failed(player, request, error, this.#now))
      }
      player.open.delete(request)
    }
  }

  /** What a rule says inside a broker's own turn is told to the scheduler. */
  #watch(rule: () => void): void {
    try {
      rule()
    } catch (error) {
      this.#problem ??= error
    }
  }

  #vitality(owner: Owner): 'alive' | 'dead' | 'unknown' {
    if (!this.#setting.proof) return 'unknown'
    return this.#players[owner.pid - 1]?.crashed === true ? 'dead' : 'alive'
  }

  #clock(player: Player): Clock {
    return {
      now: () => this.#now,
      monotonic: () => this.#now - epoch,
      random: () => 0.5,
      delay: (ms, signal) =>
        new Promise((resolve, reject) => {
          const gate = this.#gate(player, 'wakes', this.#now + ms, () => false, resolve)
          signal?.addEventListener('abort', () => {
            remove(player.gates, gate)
            reject(signal.reason as Error)
          })
        }),
    }
  }

  #gate(
    player: Player,
    what: string,
    deadline: number,
    isReady: () => boolean,
    open: () => void,
    others: Gate['others'] = [],
  ): Gate {
    const gate = { what, deadline, others, open, isReady: () => this.#now >= deadline || isReady() }
    player.gates.push(gate)
    return gate
  }

  // --- the store -------------------------------------------------------------------------------------------------

  #backend(player: Player): StoreBackend {
    const now = (what: string, open: () => void, others: Gate['others'] = []): void =>
      void this.#gate(player, what, Infinity, () => true, open, others)
    return {
      exclusion: 'cas',
      read: (key) =>
        new Promise((resolve) => {
          now('reads', () => {
            const found = this.#entries.get(key) ?? null
            if (key === entryName) player.seen = found?.value ?? null
            resolve(found)
          })
        }),
      keys: () => new Promise((resolve) => now('lists', () => resolve([...this.#entries.keys()]))),
      commit: (changes) =>
        new Promise((resolve, reject) => {
          now('commits', () => resolve(this.#commit(player, changes)), [
            ['disk full', 'finds the disk full', () => reject(diskFull())],
            [
              'commit unheard',
              'commits, and does not hear so',
              () => {
                const result = this.#commit(player, changes)
                if (result.ok) reject(new AuthkeepError('write_indeterminate', { key: entryName }))
                else resolve(result)
              },
            ],
            [
              'commit lost',
              'loses a commit on the way',
              () => reject(new AuthkeepError('write_indeterminate', { key: entryName })),
            ],
          ])
        }),
      waitForChange: (key, since, timeoutMs) =>
        new Promise((resolve) => {
          const changed = (): boolean => (this.#entries.get(key)?.revision ?? null) !== since
          this.#gate(player, 'looks up', this.#now + timeoutMs, changed, resolve)
        }),
      close: async () => undefined,
    }
  }

  #commit(player: Player | null, changes: readonly Change[]): CommitResult {
    for (const { key, expected, next } of changes) {
      const before = this.#entries.get(key)
      if ((before?.revision ?? null) !== expected) return { ok: false, key, current: before ?? null }
      if (next === null) this.#entries.delete(key)
      else this.#entries.set(key, { value: next, revision: String(++this.#revision) })
      if (key !== entryName) continue
      this.#trace?.push(`  stored: ${describe(next, this.#now)}`)
      this.#rules.committed(player, before?.value ?? null, next, this.#now)
    }
    return { ok: true }
  }

  // --- the network -----------------------------------------------------------------------------------------------

  #post(player: Player, token: string): Promise<HttpAnswer> {
    return new Promise((resolve, reject) => {
      let arrived: (() => void) | undefined
      const fail = (code: string): void => reject(Object.assign(new Error(code), { code }))
      const settle = (how: () => void, what: string): void => {
        arrived = how
        this.#trace?.push(`  on its way: ${what}`)
      }
      this.#watch(() => this.#rules.sent(player, token, this.#now))
      const lose = (): void => {
        this.#rules.heard(player, token, 'unknown')
        fail('ECONNRESET')
      }
      this.#gate(
        player,
        'hears',
        this.#now + this.#timing.httpTimeoutMs,
        () => arrived !== undefined,
        () => {
          arrived ??= (): void => {
            this.#rules.heard(player, token, 'unknown')
            reject(new DOMException('too late', 'TimeoutError'))
          }
          arrived()
        },
        [['reset', 'hears a reset', lose]],
      )
      this.#posts.push({
        player,
        token,
        answered: (answer) =>
          settle(() => {
            this.#rules.answered(player, token, answer)
            resolve(answer)
          }, `${answer.status} ${answer.text}`),
        failed: (code) =>
          settle(() => {
            this.#rules.heard(player, token, code === 'ECONNREFUSED' ? 'unspent' : 'unknown')
            fail(code)
          }, code),
      })
    })
  }

  async #fetch(player: Player, init: RequestInit | undefined): Promise<Response> {
    const token = new URLSearchParams(init?.body as string).get('refresh_token') ?? ''
    const { status, headers, text } = await this.#post(player, token)
    return new Response(text, { status, headers })
  }

  #arrive(post: Post, outcome: Outcome): void {
    remove(this.#posts, post)
    post.answered(this.#server.take(post.token, this.#now, outcome))
  }

  #getLost(post: Post, code: string): void {
    remove(this.#posts, post)
    post.failed(code)
  }

  // --- steps -----------------------------------------------------------------------------------------------------

  /** Lets every broker run until it waits for the scheduler. */
  async #settle(): Promise<void> {
    // The queue of ticks is looked at when that of promises has run empty.
    if (this.#setting.http === true) for (let n = 0; n < 3; n++) await new Promise(setImmediate)
    else await new Promise<void>((resolve) => process.nextTick(resolve))
    if (this.#problem !== undefined) throw this.#problem as Error
  }

  #take(option: Option): void {
    this.#trace?.push(`${this.#now - epoch}: ${option.what}`)
    if (option.fault !== null) this.#rules.faults.add(option.fault)
    option.act()
    this.#now++
  }

  /** What happens when nobody interferes: whoever runs goes on until it waits, then others, the network, time. */
  #default(): Option | undefined {
    const count = this.#players.length
    for (let n = 0; n < count; n++) {
      const player = this.#players[(this.#current + n) % count]!
      const gate = this.#ready(player)
      if (gate !== undefined) return this.#step(player, gate)
    }
    const [post] = this.#posts
    if (post !== undefined) return this.#arrival(post)
    return this.#later() ?? this.#continuation()
  }

  #ready(player: Player): Gate | undefined {
    return player.crashed || player.stoppedAt !== null ? undefined : player.gates.find((gate) => gate.isReady())
  }

  #step(player: Player, gate: Gate): Option {
    const act = (): void => {
      this.#current = player.index
      remove(player.gates, gate)
      gate.open()
    }
    return { what: `${player.name} ${gate.what}`, player, gate, fault: null, act }
  }

  #arrival(post: Post): Option {
    const { player } = post
    return {
      ...{ what: `${player.name}'s request arrives`, player, gate: null, fault: null },
      act: () => this.#arrive(post, 'served'),
    }
  }

  /** Time moves to the next moment at which somebody who waits wakes up. */
  #later(): Option | undefined {
    const living = this.#players.filter(({ crashed, stoppedAt }) => !crashed && stoppedAt === null)
    const at = Math.min(
      ...living
        .flatMap(({ gates }) => gates.map(({ deadline }) => deadline))
        .filter((deadline) => deadline > this.#now),
    )
    if (at === Infinity) return undefined
    return { what: 'time passes', player: null, gate: null, fault: 'time', act: () => void (this.#now = at) }
  }

  /** A process that was stopped goes on when all the others are done, long after every time-out. */
  #continuation(): Option | undefined {
    const player = this.#players.find(({ crashed, stoppedAt }) => !crashed && stoppedAt !== null)
    return player && { ...this.#goOn(player, stopMs), what: `${player.name} goes on after a long time` }
  }

  #goOn(player: Player, ms: number): Option {
    const act = (): void => {
      this.#now = Math.max(this.#now, (player.stoppedAt ?? 0) + ms)
      player.stoppedAt = null
      this.#current = player.index
    }
    return { what: `${player.name} goes on`, player: null, gate: null, fault: null, act }
  }

  /** Everything that can happen now, the default first. */
  #options(next: Option): readonly Option[] {
    const options: Option[] = [next]
    const acting = next.player
    const add = (fault: Fault, what: string, act: () => void): void =>
      void options.push({ what, player: acting, gate: null, fault, act })
    for (const player of this.#players) {
      if (player.crashed) continue
      if (player.stoppedAt !== null) {
        options.push(this.#goOn(player, 0))
        continue
      }
      const ready = player.gates.filter((gate) => gate.isReady())
      const steps = (player === acting ? ready : ready.slice(0, 1)).map((gate) => this.#step(player, gate))
      for (const [at, step] of steps.entries()) {
        if (step.gate === next.gate) continue
        // Side by side a broker may wait for two things of one name.
        options.push(at === 0 ? step : { ...step, what: `${step.what} (${at + 1})` })
      }
      if (player !== acting) continue
      const { gate } = next
      if (gate !== null) {
        for (const [fault, what, open] of gate.others) {
          add(fault, `${player.name} ${what}`, () => {
            this.#current = player.index
            remove(player.gates, gate)
            open()
          })
        }
      }
      if (player.open.size === 0) continue
      add('death', `${player.name} dies`, () => {
        player.crashed = true
        player.gates.length = 0
      })
      add('stop', `${player.name} stops`, () => void (player.stoppedAt = this.#now))
    }
    for (const post of this.#posts) {
      const arrival = this.#arrival(post)
      if (arrival.what !== next.what) options.push(arrival)
      if (arrival.what !== next.what) continue
      for (const [fault, code] of lossesOnTheWay) {
        add(fault, `${post.player.name}'s request: ${code}`, () => this.#getLost(post, code))
      }
      for (const outcome of outcomes) {
        add(outcome, `${post.player.name}'s request: ${outcome}`, () => this.#arrive(post, outcome))
      }
    }
    const later = this.#later()
    if (later !== undefined && next.what !== later.what) options.push(later)
    if (this.#mayLogIn) {
      add('person', 'somebody logs in', () => this.#logIn({ ...this.#loggedIn(hour), lease: null }))
      // A program that knows nothing of leases changes what it knows, and leaves the rest.
      const lease = this.#entries.get(entryName)?.value['lease'] ?? null
      add('person', 'another program logs in', () => this.#logIn({ ...this.#loggedIn(-hour), lease }))
    }
    return options
  }

  #logIn(next: JsonObject): void {
    this.#mayLogIn = false
    this.#commit(null, [{ key: entryName, expected: this.#entries.get(entryName)?.revision ?? null, next }])
  }

  // --- the end ---------------------------------------------------------------------------------------------------

  /** Whatever is left to do without interference. */
  async #runOut(): Promise<void> {
    for (let step = 0; ; step++) {
      await this.#settle()
      const next = this.#default()
      if (next === undefined) return
      this.#take(next)
      if (step > maxSteps) throw new Violation('a wait does not end')
    }
  }

  async #close(): Promise<void> {
    let open = 0
    for (const player of this.#players) {
      if (player.crashed) continue
      open++
      const done = (): void => {
        open--
      }
      void this.#brokers[player.index]!.close().then(done, done)
    }
    await this.#runOut()
    if (open > 0) throw new Violation('close() does not end')
    this.#rules.closed()
  }

  /** Much later, another process needs a token, and all it has is what is stored. */
  async #comeBack(): Promise<void> {
    // A login that is plainly in order is in order: most of the time goes elsewhere.
    const value = this.#entries.get(entryName)?.value
    if (value !== undefined && this.#rules.isInOrder(value, this.#now)) return
    this.#now += 2 * hour
    this.#trace?.push('two hours later')
    this.#current = this.#players.length
    this.#enter([[{ resource: null }]])
    await this.#runOut()
    this.#rules.idle(this.#players)
  }
}

function remove<T>(list: T[], item: T): void {
  const at = list.indexOf(item)
  if (at !== -1) list.splice(at, 1)
}

function diskFull(): AuthkeepError {
  return new AuthkeepError('store_failed', {
    ...{ path: 'the store', operation: 'write', errno: 'ENOSPC', unspent: true },
  })
}

function describe(entry: JsonObject | null, now: number): string {
  if (entry === null) return 'nothing'
  const { grant, lease, tokens } = entry as unknown as {
    grant: { refreshToken: string; state: string; replays: number; spare?: { refreshToken: string } }
    lease: { id: string; owner: Owner; sentAt: number | null } | null
    tokens: readonly { accessToken: string; expiresAt: number }[]
  }
  const held = lease && `${lease.sentAt === null ? 'claimed' : 'sent'} by ${String.fromCharCode(64 + lease.owner.pid)}`
  const living = tokens.filter(({ expiresAt }) => expiresAt > now).map(({ accessToken }) => accessToken)
  const spare = grant.spare === undefined ? '' : ` and ${grant.spare.refreshToken}`
  return `${grant.refreshToken}${spare} ${grant.state}, ${grant.replays} replays, ${held ?? 'no lease'}, [${living.join(', ')}]`
}
