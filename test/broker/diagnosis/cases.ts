import { readFileSync } from 'node:fs'
import { diagnose } from '../../../src/broker/diagnose.ts'
import type { Verdict, VerdictCode } from '../../../src/broker/verdict.ts'

/** One line of the corpus: what came of a request, and what it should be called. */
export interface Case {
  readonly name: string
  readonly verdict: VerdictCode
  readonly blames?: boolean
  readonly retry?: boolean
  /** More members of the verdict. */
  readonly expect?: Partial<Verdict>
  /** What time it is, as RFC 3339. */
  readonly at?: string
  readonly url?: string
  /** The answer comes from `url`, after redirects. */
  readonly redirected?: true
  readonly response?: {
    readonly status: number
    readonly headers: Readonly<Record<string, string>>
    readonly body: string | object
  }
  readonly exception?: Thrown
}

interface Thrown {
  readonly name: string
  readonly message: string
  readonly code?: string
  readonly cause?: Thrown
  readonly errors?: readonly Thrown[]
}

export function readCases(file: string): readonly Case[] {
  return JSON.parse(readFileSync(new URL(file, import.meta.url), 'utf8')) as readonly Case[]
}

/** Gives a case to `diagnose`, as a real response or a real error. */
export async function diagnoseCase({ url, redirected, at, response, exception }: Case): Promise<Verdict> {
  const context = {
    ...(at === undefined ? {} : { now: Date.parse(at) }),
    ...(url === undefined || redirected === true ? {} : { url }),
    expected: 'json',
  } as const
  if (response === undefined) return diagnose(exception === undefined ? undefined : thrown(exception), context)
  return diagnose(responseOf(response, url, redirected), context)
}

function responseOf({ status, headers, body }: NonNullable<Case['response']>, url = '', redirected = false): Response {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  const made = new Response(text === '' ? null : text, { status, headers })
  // `new Response` labels a text that came without a label.
  if (!Object.keys(headers).some((name) => name.toLowerCase() === 'content-type')) made.headers.delete('content-type')
  return Object.defineProperties(made, { url: { value: url }, redirected: { value: redirected } })
}

function thrown({ cause, errors, message, ...members }: Thrown): Error {
  const more = {
    ...(cause === undefined ? {} : { cause: thrown(cause) }),
    ...(errors === undefined ? {} : { errors: errors.map(thrown) }),
  }
  return Object.defineProperties(
    new Error(message),
    Object.fromEntries(Object.entries({ ...members, ...more }).map(([name, value]) => [name, { value }])),
  )
}

/** Rows: what was expected; columns: what came, those only that came somewhere. */
export function confusionMatrix(pairs: readonly (readonly [expected: string, got: string])[]): string {
  const rows = [...new Set(pairs.map(([expected]) => expected))].sort()
  const columns = [...new Set(pairs.flat())].sort()
  const width = Math.max(...columns.map((name) => name.length))
  const count = (row: string, column: string): string =>
    String(pairs.filter(([expected, got]) => expected === row && got === column).length || '·').padStart(3)
  return [
    ...columns.map((name, index) => `${' '.repeat(width)} ${'  |'.repeat(index)}  ${name}`),
    ...rows.map((row) => `${row.padEnd(width)} ${columns.map((column) => count(row, column)).join('')}`),
  ].join('\n')
}
