import { type Credential, fingerprint, type JsonObject } from '../credential.ts'

/**
 * How the accounts of a provider stand in for each other: these, in this order; the one that served last, first; each
 * in turn; or, with null, not at all, so that a caller has to say which one is meant.
 */
export type AccountOrder = readonly string[] | 'last_good' | 'round_robin' | null

/** An account that is left alone for a while. */
export interface Rest {
  /** Why, in a word: the code of a verdict. */
  readonly reason: string
  /** Unix milliseconds. */
  readonly since: number
  /** Unix milliseconds. */
  readonly until: number
  /** Fingerprint of the key or static token that it is about: another one has nothing to do with it. */
  readonly mark?: string
}

/** What is remembered about the accounts of a provider. Never a credential. */
export interface Accounts {
  readonly order: AccountOrder
  readonly lastGood: string | null
  readonly resting: ReadonlyMap<string, Rest>
}

/** Where the store remembers it. */
export const accountsName = (provider: string): string => `:accounts:${provider}`

/** What cannot be read is as if it were not there: it only ever says what to try first. */
export function readAccounts(state: JsonObject | null): Accounts {
  const { order, lastGood, resting } = state ?? {}
  const rests = Object.entries(isObject(resting) ? resting : {}).flatMap(([account, rest]) => {
    const read = readRest(rest)
    return read === null ? [] : [[account, read] as const]
  })
  return {
    order: readOrder(order),
    lastGood: typeof lastGood === 'string' ? lastGood : null,
    resting: new Map(rests),
  }
}

function readOrder(order: unknown): AccountOrder {
  if (order === 'last_good' || order === 'round_robin') return order
  if (!Array.isArray(order)) return null
  const names = order.filter((name) => typeof name === 'string')
  return names.length === 0 ? null : names
}

function readRest(rest: unknown): Rest | null {
  if (!isObject(rest)) return null
  const { reason, since, until, mark } = rest
  if (typeof reason !== 'string' || typeof since !== 'number' || typeof until !== 'number') return null
  return { reason, since, until, ...(typeof mark === 'string' ? { mark } : {}) }
}

const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Members that this version does not know stay. */
export function withOrder(state: JsonObject | null, order: AccountOrder): JsonObject {
  const { order: _, ...rest } = state ?? {}
  return order === null ? rest : { ...rest, order }
}

/** Undefined when nothing changes, or nobody asks which one it was. */
export function withLastGood(state: JsonObject | null, account: string): JsonObject | undefined {
  const { order, lastGood } = readAccounts(state)
  return order === 'last_good' && lastGood !== account ? { ...state, lastGood: account } : undefined
}

export function withRest(state: JsonObject | null, account: string, rest: Rest): JsonObject {
  return { ...state, resting: { ...restingIn(state), [account]: { ...rest } } }
}

/** Undefined when none of them rests. */
export function withoutRest(state: JsonObject | null, accounts: readonly string[]): JsonObject | undefined {
  const before = Object.entries(restingIn(state))
  const after = before.filter(([account]) => !accounts.includes(account))
  return after.length === before.length ? undefined : { ...state, resting: Object.fromEntries(after) }
}

function restingIn(state: JsonObject | null): JsonObject {
  const resting = state?.['resting']
  return isObject(resting) ? resting : {}
}

/** Those who are named, in their order; or all, as the order says. `turn` counts the calls of a process. */
export function arrange(names: readonly string[], { order, lastGood }: Accounts, turn: number): readonly string[] {
  const sorted = [...names].sort()
  if (order === 'round_robin') {
    const first = turn % Math.max(1, sorted.length)
    return [...sorted.slice(first), ...sorted.slice(0, first)]
  }
  if (order === 'last_good') {
    return [...sorted.filter((name) => name === lastGood), ...sorted.filter((name) => name !== lastGood)]
  }
  return (order ?? []).filter((name) => names.includes(name))
}

/** How long an account is left alone where the API does not say: a limit of requests, and one of a plan. */
const restsForMs: Readonly<Record<string, number>> = { rate_limited: 60_000, usage_limited: 900_000 }

/** A longer rest is looked into again after this: a clock may be wrong, a plan may have been changed. */
const longestRestMs = 24 * 3_600_000

/** The rest that an API's refusal asks for, or null: only a limit of the account's own is a reason to leave it alone. */
export function restAfter(
  {
    code,
    resetsAt,
    retryAfterMs,
  }: { readonly code: string; readonly resetsAt?: number; readonly retryAfterMs?: number },
  now: number,
): Rest | null {
  const usual = restsForMs[code]
  if (usual === undefined) return null
  const until = resetsAt ?? now + (retryAfterMs ?? usual)
  return { reason: code, since: now, until: Math.min(Math.max(until, now), now + longestRestMs) }
}

/** What the rest of an account is tied to, so that another key or static token starts afresh. */
export function markOf(credential: Credential | null): string | undefined {
  if (credential === null || credential.type === 'oauth') return undefined
  return fingerprint(credential.type === 'api_key' ? credential.key : credential.token)
}

/** The rest of an account that still holds, or null. */
export function restOf({ resting }: Accounts, account: string, mark: string | undefined, now: number): Rest | null {
  const rest = resting.get(account)
  // A clock that was set back must not make a rest longer than it was meant to be.
  if (rest === undefined || now >= rest.until || now < rest.since) return null
  return rest.mark === undefined || rest.mark === mark ? rest : null
}
