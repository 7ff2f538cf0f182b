import { type Refusal, readChallenges } from '../grant/challenge.ts'
import type { HttpAnswer } from '../grant/classify.ts'
import { type Edge, edgeOf, probableEdge } from '../grant/edge.ts'
import { printable } from '../grant/printable.ts'
import { endingOf, isUsedUp } from './limits.ts'
import {
  byStatus,
  general,
  headerMarks,
  type Mark,
  ofCredential,
  particular,
  portalPage,
  proxyHeaders,
  proxyPage,
  serverSideVia,
} from './refusal-marks.ts'
import { isErrorBody, readSaid, type Said } from './said.ts'
import { scopesLacking, scopesNamed } from './scopes-named.ts'
import { conclude, type Finding, type Verdict, type VerdictCode } from './verdict.ts'

/** An answer with the beginning of its body. */
export interface DiagnosedAnswer extends HttpAnswer {
  /** Where it comes from, after redirects. */
  readonly url?: string | undefined
  readonly redirected?: boolean
}

export interface AnswerContext {
  readonly host: string | null
  /** What was asked for. */
  readonly url?: string | undefined
  /** Unix milliseconds. */
  readonly now: number
  /** What no word of the verdict may repeat. */
  readonly secrets: readonly string[]
  readonly expected?: 'json' | undefined
}

/** What is known about an answer by the time its code is. */
interface Judgement {
  readonly code: VerdictCode
  readonly edge?: Edge
  /** The server's word by which it was told. */
  readonly error?: string
}

const limits: ReadonlySet<VerdictCode> = new Set(['rate_limited', 'usage_limited', 'overloaded', 'server_failed'])

/** Judges an answer by its status, its headers and the beginning of its body. Pure. */
export function diagnoseAnswer(answer: DiagnosedAnswer, context: AnswerContext): Verdict {
  const { status, headers, text } = answer
  const said = readSaid(answer)
  const refusal = readChallenges(headers, said.kind === 'data' ? text : '')
  const { code, edge, error } = judge(answer, said, refusal, context)
  const finding: Finding = { code, host: context.host, status, ...edge }
  if (code === 'ok') return conclude(finding)
  const { secrets, now } = context
  const described = descriptionOf(said, refusal, secrets)
  const missing = code === 'scope_missing' ? scopesNamed(refusal, said, headers) : []
  const plan = printable(said.found.get('plan_type') ?? said.found.get('plan'), secrets)
  const own = printable(error ?? (said.kind === 'data' ? (refusal.error ?? said.codes[0]) : refusal.error), secrets)
  return conclude({
    ...finding,
    ...(missing.length === 0 ? {} : { missing: missing.flatMap((scope) => printable(scope, secrets) ?? []) }),
    ...(limits.has(code) ? endingOf(headers, said, now) : {}),
    ...(plan === undefined ? {} : { plan }),
    ...(own === undefined ? {} : { error: own }),
    ...(described === undefined ? {} : { description: described }),
  })
}

function judge(answer: DiagnosedAnswer, said: Said, refusal: Refusal, context: AnswerContext): Judgement {
  const { status } = answer
  const stranger = judgeStranger(answer, said, context)
  if (stranger !== null) return stranger
  if (status >= 200 && status < 300) return judgeSuccess(said, refusal, context)
  if (status === 304) return { code: 'ok' }
  if (status < 400) return { code: 'unknown' }
  return judgeRefusal(answer, said, refusal)
}

/** Whether somebody else has answered in place of the server: an edge, a proxy, a network. */
function judgeStranger(answer: DiagnosedAnswer, said: Said, context: AnswerContext): Judgement | null {
  const { status, text } = answer
  const { secrets, expected } = context
  const edge = edgeOf(answer, secrets)
  const probable = probableEdge(answer, secrets)
  const code = clientErrors[Number(clientErrorOf(status, text, said))]
  if (code !== undefined) return { code, ...edged(edge ?? cloudflare(answer, secrets)) }
  if (said.kind === 'page' && status >= 400 && !answer.headers.has('cf-mitigated') && isRegionPage(text)) {
    return { code: 'region_blocked', ...edged(edge ?? probable) }
  }
  if (edge !== null) return { code: 'edge_challenge', edge }
  if (status === 407) return { code: 'proxy_failed' }
  if (status === 511) return { code: 'captive_portal' }
  if (status >= 400 && isOfProxy(answer, said)) return { code: 'proxy_failed' }
  if (probable !== null) return { code: 'edge_challenge', edge: probable }
  // A page with a success may be what was asked for.
  if (said.kind !== 'page' || status >= 300 || expected !== 'json') return null
  if (portalPage.test(text) || leadsAway(answer, context)) return { code: 'captive_portal' }
  return proxyPage.test(text) && /block|denied|polic/i.test(text) ? { code: 'proxy_failed' } : null
}

/** What Cloudflare calls a request; its client errors come without anything else of it. */
function cloudflare(answer: HttpAnswer, secrets: readonly string[]): Edge {
  const ray = printable(answer.headers.get('cf-ray'), secrets)
  return { vendor: 'Cloudflare', ...(ray === undefined ? {} : { ray }) }
}

function edged(edge: Edge | null): Pick<Judgement, 'edge'> {
  return edge === null ? {} : { edge }
}

/** Cloudflare's errors about the client: on a page, in a line of text, or in a problem document. */
function clientErrorOf(status: number, text: string, said: Said): string | undefined {
  if (status < 400) return undefined
  if (said.kind === 'text') return /^\s*error code: (1\d{3})\s*$/.exec(text)?.[1]
  if (said.kind === 'page') {
    return /cloudflare|ray id/i.test(text)
      ? /\berror(?:\s|<[^>]{0,200}>|code:?){0,9}(1\d{3})\b/i.exec(text)?.[1]
      : undefined
  }
  return said.found.get('cloudflare_error') === true ? String(said.found.get('error_code')) : undefined
}

const clientErrors: Readonly<Record<number, VerdictCode>> = {
  ...{ 1005: 'edge_challenge', 1006: 'edge_challenge', 1007: 'edge_challenge', 1008: 'edge_challenge' },
  ...{ 1009: 'region_blocked', 1010: 'edge_challenge', 1012: 'edge_challenge', 1015: 'rate_limited' },
  1020: 'edge_challenge',
}

/** A page that refuses for good, and by where the request comes from. */
function isRegionPage(text: string): boolean {
  if (/banned the country|block\w{0,8} (?:access )?from your (?:country|region)/i.test(text)) return true
  return /cloudflare/i.test(text) && /\b(?:you have been|has been|you are|were) blocked\b/i.test(text)
}

function isOfProxy({ status, headers, text }: HttpAnswer, said: Said): boolean {
  if (proxyHeaders.some(([name, value]) => value.test(headers.get(name) ?? ''))) return true
  if (said.kind === 'data') return false
  if (said.kind === 'page' && proxyPage.test(text)) return true
  const via = headers.get('via') ?? ''
  return [502, 503, 504].includes(status) && via !== '' && !serverSideVia.test(via)
}

/** Whether a page is that of another host than the one that was asked, or sends a browser to one. */
function leadsAway({ text, url, redirected }: DiagnosedAnswer, context: AnswerContext): boolean {
  const from = hostOf(url) ?? context.host
  const asked = hostOf(context.url) ?? from
  const isElsewhere = (target: string | undefined): boolean => {
    const host = hostOf(target)
    return host !== undefined && asked !== null && host !== asked
  }
  // Where it began is not always known; a page at the end of a redirect is no API's in any case.
  if (redirected === true) return context.url === undefined || context.url === url || isElsewhere(url)
  const refresh = /<meta\s[^>]{0,99}http-equiv=["']?refresh["']?[^>]{0,99}url=["']?([^"'>\s]+)/i.exec(text)?.[1]
  const script = /\blocation(?:\.href)?\s*=\s*["'](https?:[^"']+)["']/i.exec(text)?.[1]
  return isElsewhere(refresh) || isElsewhere(script)
}

export function hostOf(url: string | undefined): string | undefined {
  return url !== undefined && URL.canParse(url) ? new URL(url).host : undefined
}

function judgeSuccess(said: Said, refusal: Refusal, { expected }: AnswerContext): Judgement {
  if (said.kind === 'page') return { code: expected === 'json' ? 'not_json' : 'ok' }
  if (said.kind !== 'data' || !isErrorBody(said.value)) return { code: 'ok' }
  return byCodes([...particular, ...general], codesOf(said, refusal), () => true) ?? { code: 'error_in_success' }
}

function judgeRefusal({ status, headers }: HttpAnswer, said: Said, refusal: Refusal): Judgement {
  const isOwnFault = status >= 500
  const suits = ({ code }: Mark): boolean => !(isOwnFault && ofCredential.has(code))
  const codes = codesOf(said, refusal)
  const texts = said.kind === 'page' ? [] : [...said.texts, ...descriptionsOf(refusal)]
  const marked = headerMarks.find(([, name, value]) => status < 500 && value.test(headers.get(name) ?? ''))
  if (marked !== undefined) return { code: marked[0] }
  const told = byCodes(particular, codes, suits)
  if (told !== null) return told
  if ((status === 403 || status === 404) && scopesLacking(headers) !== null) return { code: 'scope_missing' }
  if (status === 403 && isUsedUp(headers)) return { code: 'rate_limited' }
  // With 401 a challenge says what a token would need, and not that this one lacks it.
  if (status === 403 && refusal.scopes !== undefined && refusal.error !== 'invalid_token')
    return { code: 'scope_missing' }
  const vague = status === 429 ? null : byCodes(general, codes, (mark) => suits(mark) && isAboutCaller(status, mark))
  // Some servers refuse a credential with 400; its code tells that the words are about that.
  const words = byWords(particular, texts, status === 400 && vague !== null ? 401 : status)
  return words ?? vague ?? byWords(general, texts, status) ?? { code: ofStatus(status, headers, said) }
}

/** A code as vague as `forbidden` is to be believed with the status that it goes with. */
function isAboutCaller(status: number, { code }: Mark): boolean {
  return status === 401 || status === 403 || (status === 400 && code === 'token_rejected')
}

function codesOf(said: Said, refusal: Refusal): readonly string[] {
  return refusal.error === undefined ? said.codes : [refusal.error, ...said.codes]
}

function descriptionsOf({ challenges }: Refusal): readonly string[] {
  return challenges.flatMap(({ params }) => params['error_description'] ?? [])
}

function byCodes(marks: readonly Mark[], codes: readonly string[], suits: (mark: Mark) => boolean): Judgement | null {
  for (const mark of marks) {
    const error = suits(mark) ? codes.find((each) => spelled(mark).has(bare(each))) : undefined
    if (error !== undefined) return { code: mark.code, error }
  }
  return null
}

function byWords(marks: readonly Mark[], texts: readonly string[], status: number): Judgement | null {
  const found = marks.find(
    ({ says, at }) => says !== undefined && at?.includes(status) === true && texts.some((text) => says.test(text)),
  )
  return found === undefined ? null : { code: found.code }
}

const spellings = new Map<Mark, ReadonlySet<string>>()

function spelled(mark: Mark): ReadonlySet<string> {
  let set = spellings.get(mark)
  if (set === undefined) {
    set = new Set((mark.errors ?? '').split(' ').map(bare))
    spellings.set(mark, set)
  }
  return set
}

function bare(code: string): string {
  return code.toLowerCase().replaceAll(/[^a-z0-9]/g, '')
}

function ofStatus(status: number, headers: Headers, said: Said): VerdictCode {
  if (status === 404 || status === 405 || status === 410)
    return said.kind === 'page' || (status === 404 && said.kind !== 'data') ? 'not_found' : 'request_refused'
  if (status === 503 && headers.has('retry-after')) return 'overloaded'
  return byStatus[status] ?? (status >= 500 ? 'server_failed' : 'request_refused')
}

/** What looks like a key or a token is not shown, also where nobody has said that it is one. */
const looksSecret =
  /\b(?:eyJ|sk-|[rp]k_|gh[a-z]_|github_pat_|xox[a-z]-|ya29\.|AIza|glpat-|npm_)[\w.~+/*-]{6,}=*|\b(?:Bearer|Basic)\s+[\w.~+/-]{16,}=*/g

function descriptionOf(said: Said, refusal: Refusal, secrets: readonly string[]): string | undefined {
  const words = [...descriptionsOf(refusal), ...said.texts].find((text) => text.trim() !== '')
  return printable(printable(words, secrets)?.replaceAll(looksSecret, '[redacted]'))
}
