import { retryAfter } from '../grant/classify.ts'

/** When a limit ends, in both of the ways in which it can be told. */
export interface Ending {
  readonly resetsAt?: number
  readonly retryAfterMs?: number
}

/** How a time is written: seconds or milliseconds from now, a moment (Unix seconds or RFC 3339), or whatever it looks like. */
type Spelling = 'seconds' | 'milliseconds' | 'moment' | 'any'

/** Headers that say when to come again, most exact first. */
const waits: readonly (readonly [header: string, spelling: Spelling])[] = [
  ['retry-after-ms', 'milliseconds'],
  ['x-ms-retry-after-ms', 'milliseconds'],
  ['x-retry-after', 'any'],
  ['x-ratelimit-reset-after', 'seconds'],
]

/** Headers that say when a limit ends; of several limits those count of which nothing remains. */
const resets: readonly (readonly [header: RegExp, spelling: Spelling])[] = [
  [/^(?:x-)?rate-?limit-reset(?:-[\w-]+)?$/, 'any'],
  [/^anthropic-ratelimit-[\w-]+-reset$/, 'moment'],
]

/** Members of a body that say the same. */
const members: Readonly<Record<string, readonly [keyof Ending, Spelling]>> = {
  resets_at: ['resetsAt', 'moment'],
  reset_at: ['resetsAt', 'moment'],
  resetsAt: ['resetsAt', 'moment'],
  resets_in_seconds: ['resetsAt', 'seconds'],
  reset_after_seconds: ['resetsAt', 'seconds'],
  retry_after: ['retryAfterMs', 'any'],
  retry_after_ms: ['retryAfterMs', 'milliseconds'],
  retry_after_seconds: ['retryAfterMs', 'seconds'],
  retryAfter: ['retryAfterMs', 'any'],
  retryDelay: ['retryAfterMs', 'any'],
}

const sentence =
  /\b(?:try|retry|again|wait)\b[^.\d]{0,40}?\b(?:in|after|for)\s+((?:\d+(?:\.\d+)?\s*(?:ms|milliseconds?|h|hours?|m|min|minutes?|s|secs?|seconds?)\b\s*)+|(?:\d+(?:\.\d+)?(?:ms|h|m|s))+)/i

/** Longer than this nobody is asked to wait. */
const longestMs = 400 * 86_400_000

/**
 * When a limit ends, by the headers and the members of a refusal, and where those are silent by its words. Pure. What
 * says one of the two says the other.
 */
export function endingOf(
  headers: Headers,
  { found, texts }: { readonly found: ReadonlyMap<string, unknown>; readonly texts: readonly string[] },
  now: number,
): Ending {
  const told = (kind: keyof Ending): number | undefined =>
    first(
      Object.entries(members)
        .filter(([, [of]]) => of === kind)
        .map(([name, [, spelling]]) => momentOf(found.get(name), spelling, now)),
    )
  const { retryAfterMs } = retryAfter(headers, now)
  const waited =
    first(waits.map(([name, spelling]) => momentOf(headers.get(name), spelling, now))) ??
    (retryAfterMs === undefined ? undefined : now + retryAfterMs) ??
    told('retryAfterMs')
  const spoken = first(texts.map((text) => momentOf(sentence.exec(text)?.[1], 'seconds', now)))
  const reset = told('resetsAt') ?? resetOf(headers, now)
  const resetsAt = reset ?? waited ?? spoken
  const again = waited ?? spoken ?? reset
  return {
    ...(resetsAt === undefined ? {} : { resetsAt }),
    ...(again === undefined ? {} : { retryAfterMs: Math.max(0, again - now) }),
  }
}

/** Whether a header says that nothing remains of a limit. */
export function isUsedUp(headers: Headers): boolean {
  return [...headers].some(([name, value]) => /^(?:x-)?rate-?limit-remaining\b/.test(name) && value.trim() === '0')
}

/** The latest end of those limits of which nothing remains; of all of them, where none says so. */
function resetOf(headers: Headers, now: number): number | undefined {
  const ends: { readonly at: number; readonly isUsedUp: boolean }[] = []
  for (const [name, value] of headers) {
    const rule = resets.find(([pattern]) => pattern.test(name))
    const at = rule === undefined ? undefined : momentOf(value, rule[1], now)
    if (at !== undefined) ends.push({ at, isUsedUp: headers.get(name.replace('-reset', '-remaining'))?.trim() === '0' })
  }
  // draft-ietf-httpapi-ratelimit-headers: `limit=100, remaining=0, reset=5`, or `"default";r=0;t=5`
  const field = momentOf(/\b(?:reset|t)=(\d+)/.exec(headers.get('ratelimit') ?? '')?.[1], 'seconds', now)
  if (field !== undefined) ends.push({ at: field, isUsedUp: false })
  const usedUp = ends.filter((end) => end.isUsedUp)
  const counted = usedUp.length > 0 ? usedUp : ends
  return counted.length === 0 ? undefined : Math.max(...counted.map(({ at }) => at))
}

/** Unix milliseconds. A moment that the server names is its word, also where our clock is past it. */
function momentOf(value: unknown, spelling: Spelling, now: number): number | undefined {
  const text = typeof value === 'number' ? String(value) : typeof value === 'string' ? value.trim() : ''
  const waitMs = /^\d+(?:\.\d+)?$/.test(text) ? undefined : durationMs(text)
  if (waitMs !== undefined) return after(waitMs, now)
  if (/^\d{4}-|^[A-Z][a-z]{2}, /.test(text)) return Date.parse(text) || undefined
  if (!/^\d+(?:\.\d+)?$/.test(text)) return undefined
  const number = Number(text)
  if (spelling === 'milliseconds') return after(number, now)
  // A small number is no moment of our time, and a large one no waiting time that anybody means.
  if (spelling === 'seconds' || number < 1e9) return after(number * 1000, now)
  return Math.round(number < 1e11 ? number * 1000 : number)
}

function after(ms: number, now: number): number | undefined {
  return ms <= longestMs ? now + Math.round(ms) : undefined
}

const units: readonly (readonly [RegExp, number])[] = [
  [/^(?:ms|milli)/i, 1],
  [/^h/i, 3_600_000],
  [/^m/i, 60_000],
  [/^s/i, 1000],
  [/^d/i, 86_400_000],
]

/** `6m0s`, `1h2m`, `20ms`, `1.5s`, `2 minutes`. */
function durationMs(text: string): number | undefined {
  if (!/^(?:\d+(?:\.\d+)?\s*[a-z]+[\s,]*)+$/i.test(text)) return undefined
  let ms = 0
  for (const [, number = '', unit = ''] of text.matchAll(/(\d+(?:\.\d+)?)\s*([a-z]+)/gi)) {
    const factor = units.find(([pattern]) => pattern.test(unit))?.[1]
    if (factor === undefined) return undefined
    ms += Number(number) * factor
  }
  return ms
}

function first(values: readonly (number | undefined)[]): number | undefined {
  return values.find((value) => value !== undefined)
}
