import { beginningOf } from './beginning.ts'
import type { Verdict } from './verdict.ts'

/** What is known about a request besides what came of it. */
export interface DiagnosisContext {
  /** What was asked for; default: where the response says that it comes from. */
  readonly url?: string | URL
  /** Unix milliseconds; default: now. */
  readonly now?: number
  /** Tokens and keys that the request carried: no word of the verdict repeats one. */
  readonly secrets?: readonly string[]
  /** `json`: a web page in a success is no answer. */
  readonly expected?: 'json'
}

/** How much of a body is looked at, and for how long. */
const mostBytes = 65_536
const longestMs = 2_000

/**
 * Says what came of an API request: whose fault it is, whether the same request may be made again, and what to do.
 *
 * `subject` is the response, or what the request, or reading its body, was rejected with. Of a response the beginning
 * of a copy is read, so the body is still the caller's; call it before the body is read. Never rejects because of what
 * a server has sent.
 *
 * @throws TypeError for a `url` that is none
 */
export async function diagnose(subject: unknown, context: DiagnosisContext = {}): Promise<Verdict> {
  const asked = context.url === undefined ? undefined : new URL(context.url).href
  // Before anything is waited for, because the caller may go on and read the body.
  const reading = isResponse(subject) ? textOf(subject) : undefined
  const { diagnoseAnswer, hostOf } = await import('./diagnose-answer.ts')
  const { diagnoseFailure } = await import('./diagnose-failure.ts')
  if (reading === undefined) return diagnoseFailure(subject, { host: hostOf(asked) ?? null, url: asked })
  const { status, headers, url, redirected } = subject as Response
  const host = hostOf(asked) ?? hostOf(url) ?? null
  const read = await reading
  if ('error' in read) return diagnoseFailure(read.error, { host })
  const { now = Date.now(), secrets = [], expected } = context
  return diagnoseAnswer(
    { status, headers, text: read.text, url: url === '' ? undefined : url, redirected },
    { host, url: asked, now, secrets, expected },
  )
}

/** Of whatever `fetch`: not every one has the `Response` that is global here. */
function isResponse(subject: unknown): subject is Response {
  if (subject instanceof Response) return true
  const { status, headers, clone } = (subject ?? {}) as Partial<Response>
  return typeof status === 'number' && typeof headers?.get === 'function' && typeof clone === 'function'
}

async function textOf(response: Response): Promise<{ text: string } | { error: unknown }> {
  const isStream = /^\s*text\/event-stream\b/i.test(response.headers.get('content-type') ?? '')
  // Of a stream the first event says whether it is an error; the rest comes when it comes.
  const until = isStream ? { until: (text: string) => /^data:.*(?:\r\n\r\n|\n\n|\r\r)/ms.test(text) } : {}
  try {
    return { text: await beginningOf(response, { bytes: mostBytes, ms: longestMs, ...until }) }
  } catch (error) {
    return { error }
  }
}
