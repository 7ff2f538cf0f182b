import type { AccessToken } from '../../src/broker/access-token.ts'
import type { RefreshTiming } from '../../src/broker/lease.ts'
import { fingerprint, type JsonObject, Secret } from '../../src/credential.ts'
import { type ErrorCode, isAuthkeepError } from '../../src/errors.ts'
import type { HttpAnswer } from '../../src/grant/classify.ts'
import type { Server } from './server.ts'
import type { Fault, Player, Setting, Wish } from './world.ts'

/** A schedule has broken a rule; the message says which. */
export class Violation extends Error {}

/** What its holder knows of a refresh token that was sent. */
type Knowledge = 'nothing' | 'unspent' | 'unknown' | 'spent'

interface Send {
  readonly player: Player
  /** When its lease was claimed. */
  readonly claimedAt: number
  /** Marked only, until the request leaves. */
  hasLeft: boolean
  knowledge: Knowledge
}

interface Mark {
  readonly token: string
  readonly send: Send
  readonly at: number
  readonly isReplay: boolean
  /** Whether an access token lived that theft detection could have taken away. */
  readonly riskedTokens: boolean
}

/** The members of an entry that the rules look at. */
interface Entry {
  readonly grant: {
    readonly refreshToken: string
    readonly state: string
    readonly stateFor?: string
    readonly doubtSince?: number
    readonly replays: number
    readonly spare?: { readonly refreshToken: string }
  }
  readonly tokens: readonly {
    readonly accessToken: string
    readonly resource: string | null
    readonly expiresAt: number
  }[]
  readonly lease: {
    readonly id: string
    readonly owner: { readonly pid: number }
    readonly claimedAt: number
    readonly sentAt: number | null
    readonly token: string
  } | null
}

const agingMs = 300_000

/** Errors that only something that went wrong explains. */
const reasons: { readonly [C in ErrorCode]?: readonly Fault[] } = {
  server_unavailable: ['500', '500 after rotating', '429', 'empty 400', 'reset', 'refused', 'time', 'stop'],
  server_rejected: ['invalid_client'],
  response_invalid: ['malformed'],
  store_failed: ['disk full'],
  write_indeterminate: ['commit unheard', 'commit lost'],
}

type Request = Wish & { readonly rejected?: string }

/**
 * What must hold in every schedule, looked at from outside: by what is stored, by what is sent, and by what callers are
 * told, never by asking the broker.
 */
export class Rules {
  readonly #setting: Setting
  readonly #timing: RefreshTiming
  readonly #server: Server
  readonly #sends = new Map<string, Send[]>()
  readonly #marks = new Map<Player, Mark>()
  /** Everything that was ever stored. */
  readonly #stored = new Set<string>()
  readonly #leaseSince = new Map<string, number>()
  /** Successors that have come to a broker. */
  readonly #reached: { readonly player: Player; readonly token: string }[] = []
  readonly #fingerprints = new Map<string, string>()

  /** What has gone wrong so far, on purpose. */
  readonly faults = new Set<Fault>()
  readonly #players: readonly Player[]

  constructor(setting: Setting, timing: RefreshTiming, server: Server, players: readonly Player[]) {
    this.#players = players
    this.#setting = setting
    this.#timing = timing
    this.#server = server
  }

  /** `player` is null for a person. */
  committed(player: Player | null, from: JsonObject | null, to: JsonObject | null, now: number): void {
    if (to === null) throw new Violation('an entry is deleted')
    const before = from as unknown as Entry | null
    const after = to as unknown as Entry
    for (const token of [...refreshTokens(after), ...after.tokens.map(({ accessToken }) => accessToken)]) {
      this.#stored.add(token)
    }
    if (before === null || player === null) return
    for (const token of refreshTokens(before)) {
      // An entry has room for two; of three that a grace window gave, the oldest goes.
      if (
        refreshTokens(after).length < 2 &&
        !refreshTokens(after).includes(token) &&
        this.#unsettled(token).length === 0
      ) {
        throw new Violation(`a refresh token that was never spent, ${token}, is dropped`)
      }
    }
    this.#judged(after, now)
    if (before.lease !== null && before.lease.id !== after.lease?.id) this.#released(player, before, now)
    if (after.lease === null) return
    if (after.lease.id !== before.lease?.id) this.#claimed(player, before, after.lease.id, now)
    if (after.lease.sentAt !== null && before.lease?.sentAt !== after.lease.sentAt)
      this.#marked(player, before, after, now)
  }

  /** What is written down about a refresh token is true of that token. */
  #judged({ grant: { refreshToken: token, state, stateFor } }: Entry, now: number): void {
    if (state === 'live' || (stateFor !== undefined && stateFor !== this.#fingerprint(token))) return
    if (!this.#sends.has(token)) throw new Violation(`${token}, which was never sent, is marked ${state}`)
    // That an empty 400 ends the second try is a guess that is declared.
    if (state === 'dead' && this.#server.honours(token, now) && !this.faults.has('empty 400')) {
      throw new Violation(`${token}, which is good, is marked dead`)
    }
  }

  #claimed(player: Player, before: Entry, id: string, now: number): void {
    this.#leaseSince.set(id, now)
    // A token that nears its end may be renewed before somebody has to wait for it.
    if ([...player.open].every((request) => this.#serving(before, request, now + agingMs) !== undefined)) {
      throw new Violation(`${player.name} claims a refresh that nobody needs`)
    }
  }

  /** A lease goes, or makes room for another. */
  #released(player: Player, { lease, grant }: Entry, now: number): void {
    if (lease === null || lease.token !== this.#fingerprint(grant.refreshToken)) return
    if (lease.owner.pid === player.owner.pid) {
      const sends = this.#sends.get(grant.refreshToken) ?? []
      for (const send of sends) if (send.player === player && !send.hasLeft) send.knowledge = 'unspent'
    } else if (!this.#isOver(lease, lease.sentAt !== null, now)) {
      throw new Violation(`${player.name} takes a lease that holds`)
    }
  }

  /** Whether others may go on without the holder of a lease. */
  #isOver(
    lease: { readonly id: string; readonly owner: { readonly pid: number } },
    wasSent: boolean,
    now: number,
  ): boolean {
    const { proof, rotation } = this.#setting
    if (proof && this.#players[lease.owner.pid - 1]?.crashed === true) return true
    const { leaseMs, inDoubtWaitMs } = this.#timing
    const waitMs = wasSent && rotation === 'strict' ? leaseMs + inDoubtWaitMs : leaseMs
    return now - (this.#leaseSince.get(lease.id) ?? 0) >= waitMs
  }

  #marked(player: Player, before: Entry, after: Entry, now: number): void {
    const { lease, grant } = after
    if (lease === null) return
    if (lease.token !== this.#fingerprint(grant.refreshToken)) {
      throw new Violation(`${player.name} is about to send a refresh token that is no longer the stored one`)
    }
    const isReplay = before.grant.state === 'in_doubt' && (before.grant.stateFor ?? lease.token) === lease.token
    const send: Send = { player, claimedAt: lease.claimedAt, hasLeft: false, knowledge: 'nothing' }
    const sends = this.#sends.get(grant.refreshToken) ?? []
    sends.push(send)
    this.#sends.set(grant.refreshToken, sends)
    this.#marks.set(player, {
      ...{ token: grant.refreshToken, send, at: now },
      isReplay: isReplay && grant.replays === 1,
      riskedTokens: before.tokens.some(({ expiresAt }) => expiresAt > now) && !this.#forgives(before, now),
    })
  }

  #forgives({ grant }: Entry, now: number): boolean {
    const { rotation } = this.#setting
    return typeof rotation === 'object' && now < (grant.doubtSince ?? 0) + rotation.graceMs
  }

  sent(player: Player, token: string, now: number): void {
    const mark = this.#marks.get(player)
    if (mark?.token !== token) throw new Violation(`${player.name} sends ${token} without a mark`)
    this.#marks.delete(player)
    const { leaseMs, httpTimeoutMs } = this.#timing
    if (now + httpTimeoutMs > mark.send.claimedAt + leaseMs)
      throw new Violation(`${player.name} sends too late into its lease`)
    const earlier = this.#unsettled(token)
    if (this.#setting.rotation !== 'none' && earlier.length > 0) this.#replayed(player, mark, earlier)
    mark.send.hasLeft = true
  }

  /** The declared window: a second use is counted before it is made, is the only one, and has grounds. */
  #replayed(player: Player, mark: Mark, earlier: readonly Send[]): void {
    const what = `${player.name} sends ${mark.token} again`
    if (earlier.length > 1) throw new Violation(`${what}: for the third time`)
    if (!mark.isReplay) throw new Violation(`${what}: not counted as a second use`)
    if (mark.riskedTokens) throw new Violation(`${what}: while an access token lives`)
    if (!earlier.every((send) => this.#isInDoubt(send, mark.at))) throw new Violation(`${what}: its holder was at work`)
  }

  #isInDoubt({ player, claimedAt, knowledge }: Send, now: number): boolean {
    if (player.crashed || knowledge === 'unknown') return true
    const { leaseMs, inDoubtWaitMs } = this.#timing
    return now - claimedAt >= leaseMs + (this.#setting.rotation === 'strict' ? inDoubtWaitMs : 0)
  }

  /** A holder has heard something else than an answer. */
  heard(player: Player, token: string, knowledge: Knowledge): void {
    const send = this.#sends.get(token)?.findLast((each) => each.player === player)
    if (send !== undefined) send.knowledge = knowledge
  }

  answered(player: Player, token: string, { status, text }: HttpAnswer): void {
    if (status === 200 || text.includes('invalid_grant')) this.heard(player, token, 'spent')
    else this.heard(player, token, status === 429 || status === 401 ? 'unspent' : 'unknown')
    const successor = /"refresh_token":"([^"]+)"/.exec(text)?.[1]
    if (successor !== undefined) this.#reached.push({ player, token: successor })
  }

  served(request: Request, token: AccessToken, now: number): void {
    const value = token.reveal()
    if (!this.#stored.has(value)) throw new Violation(`${value} is handed out before it is stored`)
    if (token.expiresAt !== null && token.expiresAt <= now) throw new Violation(`${value} has expired`)
    if ((token.resource ?? null) !== request.resource) throw new Violation(`${value} is for ${token.resource}`)
    if (value === request.rejected) throw new Violation(`${value} has just been refused`)
  }

  failed(player: Player, request: Request, error: unknown, now: number): void {
    if (!isAuthkeepError(error)) throw error
    const seen = player.seen as unknown as Entry
    const serving = this.#serving(seen, request, now)
    if (serving !== undefined) throw new Violation(`${error.code}, while ${serving} lives`)
    // An endpoint that refuses a new token, too, is reported as it is.
    if (error.code === 'server_rejected' && request.rejected !== undefined) return
    const faults = reasons[error.code]
    if (faults !== undefined) {
      if (faults.some((fault) => this.faults.has(fault))) return
      throw new Violation(`without a reason: ${error.message}`)
    }
    if (error.code !== 'grant_revoked' && error.code !== 'refresh_interrupted') {
      throw new Violation(`${error.code}: ${error.message}`)
    }
    if (error.code === 'refresh_interrupted' && this.#isInterrupted(seen, now)) return
    // That an empty 400 ends the second try is a guess that is declared.
    if (seen.grant.replays > 0 && this.faults.has('empty 400')) return
    const good = refreshTokens(seen).find((token) => this.#server.honours(token, now))
    if (good !== undefined) throw new Violation(`${error.code}, while ${good} is good`)
  }

  /** Whether the stored token may have been spent for all that can be known, and may not be tried once more. */
  #isInterrupted(entry: Entry, now: number): boolean {
    const sends = this.#sends.get(entry.grant.refreshToken) ?? []
    const open = sends.filter(({ knowledge }) => knowledge !== 'unspent')
    if (open.length === 0 || !open.every((send) => this.#isInDoubt(send, now))) return false
    return entry.grant.replays > 0 || entry.tokens.some(({ expiresAt }) => expiresAt > now)
  }

  /** Nothing is left to do: nobody who lives may still be waiting. */
  idle(players: readonly Player[]): void {
    const waiting = players.find(({ crashed, open }) => !crashed && open.size > 0)
    if (waiting !== undefined) throw new Violation(`${waiting.name} waits for ever`)
  }

  /** Every broker that lives has been closed, which was its last chance to save something. */
  closed(): void {
    for (const { player, token } of this.#reached) {
      if (!player.crashed && !this.#stored.has(token))
        throw new Violation(`${token}, which came to ${player.name}, is lost`)
    }
  }

  /** Whether nothing stands between the stored refresh token and its use. */
  isInOrder(entry: JsonObject, now: number): boolean {
    const { grant, lease } = entry as unknown as Entry
    return (
      lease === null && grant.state === 'live' && grant.replays === 0 && this.#server.honours(grant.refreshToken, now)
    )
  }

  #unsettled(token: string): readonly Send[] {
    return (this.#sends.get(token) ?? []).filter(({ hasLeft, knowledge }) => hasLeft && knowledge !== 'unspent')
  }

  /** The stored access token that answers a request. */
  #serving({ tokens }: Entry, { resource, rejected }: Request, now: number): string | undefined {
    const serving = tokens.find(
      (token) => token.resource === resource && token.expiresAt > now && token.accessToken !== rejected,
    )
    return serving?.accessToken
  }

  #fingerprint(token: string): string {
    let known = this.#fingerprints.get(token)
    if (known === undefined) {
      known = fingerprint(new Secret(token))
      this.#fingerprints.set(token, known)
    }
    return known
  }
}

function refreshTokens({ grant }: Entry): readonly string[] {
  return grant.spare === undefined ? [grant.refreshToken] : [grant.refreshToken, grant.spare.refreshToken]
}
