import type { HttpAnswer } from '../grant/classify.ts'
import { isPage } from '../grant/edge.ts'

/** What an answer says of itself, wherever in its body it says it. */
export interface Said {
  readonly kind: 'page' | 'data' | 'text' | 'nothing'
  /** The body, if it is JSON; of an event stream, what its first event has. */
  readonly value: unknown
  /** Error codes, outermost first. */
  readonly codes: readonly string[]
  /** What it says in words; of a page, its title. */
  readonly texts: readonly string[]
  /** The first value of every other member. */
  readonly found: ReadonlyMap<string, unknown>
}

const codeMembers: ReadonlySet<string> = new Set(
  [
    'error',
    'code',
    'type',
    'reason',
    'status',
    'error_code',
    'errorCode',
    'error_type',
    'errorType',
    '.tag',
    '__type',
  ].concat(['Code', 'category', 'error_subcode', 'errorcode', 'kind', 'err']),
)
const textMembers: ReadonlySet<string> = new Set(
  ['message', 'error_description', 'error_message', 'errorMessage', 'description', 'detail', 'title', 'msg'].concat([
    'Message',
    'error',
    'details',
    'reason',
    'error_summary',
    'errors',
    'explanation',
    'err',
  ]),
)

const deepest = 6
const mostMembers = 400

/** Reads a body: JSON whatever its label, the first event of a stream, an XML error, a page, or plain words. Pure. */
export function readSaid({ headers, text }: Pick<HttpAnswer, 'headers' | 'text'>): Said {
  if (text.trim() === '') return said('nothing', undefined)
  const event = /^\s*text\/event-stream\b/i.test(headers.get('content-type') ?? '') ? firstEvent(text) : undefined
  const value = parse(event?.data ?? text)
  if (typeof value === 'object' && value !== null) {
    return said('data', event?.name === 'error' && !('error' in value) ? { error: value } : value)
  }
  if (event !== undefined) {
    const body = event.name === 'error' ? { error: event.data } : undefined
    return said(body === undefined ? 'text' : 'data', body)
  }
  if (isPage({ headers, text })) {
    const title = /<title[^>]{0,99}>([^<]*)</i.exec(text)?.[1]?.trim() ?? ''
    return { ...said('page', undefined), texts: title === '' ? [] : [title] }
  }
  if (/^\s*<(?:\?xml|\w*(?:error|fault))/i.test(text)) {
    const members = [...text.matchAll(/<(Code|Message|faultstring)>([^<]*)</gi)]
    return said('data', { error: Object.fromEntries(members.map(([, name = '', words = '']) => [name, words])) })
  }
  return { ...said('text', undefined), texts: [text.slice(0, 1_000)] }
}

function said(kind: Said['kind'], value: unknown): Said {
  const codes: string[] = []
  const texts: string[] = []
  const found = new Map<string, unknown>()
  let left = mostMembers
  let level: readonly (readonly [string, unknown])[] = [['', value]]
  for (let depth = 0; depth < deepest && level.length > 0; depth++) {
    const next: (readonly [string, unknown])[] = []
    for (const [name, at] of level) {
      if (left-- <= 0) break
      if (typeof at === 'object' && at !== null) {
        // What stands in a list stands there by the name of the list.
        if (Array.isArray(at)) next.push(...at.slice(0, 32).map((each) => [name, each] as const))
        else next.push(...Object.entries(at).slice(0, 64))
        if (name !== '' && !found.has(name)) found.set(name, at)
        continue
      }
      if (typeof at === 'string' && at !== '') {
        // Some servers put the name of a service and `#` before the code.
        if (codeMembers.has(name) && /^[\w.:/#-]{1,100}$/.test(at)) codes.push(at.slice(at.indexOf('#') + 1))
        if (textMembers.has(name)) texts.push(at.slice(0, 2_000))
      }
      if (!found.has(name)) found.set(name, at)
    }
    level = next
  }
  return { kind, value, codes, texts, found }
}

/** Of an event stream (HTML §9.2.6): the first event that has data. */
function firstEvent(text: string): { readonly name: string; readonly data: string } | undefined {
  for (const block of text.split(/\r?\n\r?\n|\r\r/)) {
    const lines = block.split(/\r\n|\r|\n/)
    const fields = (name: string): readonly string[] =>
      lines.filter((line) => line.startsWith(`${name}:`)).map((line) => line.slice(name.length + 1).trimStart())
    const data = fields('data')
    if (data.length > 0) return { name: fields('event').at(-1) ?? 'message', data: data.join('\n') }
  }
  return undefined
}

/** Whether a body that came with a success is an error all the same. */
export function isErrorBody(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const body = value as Readonly<Record<string, unknown>>
  const { error, errors, data } = body
  if (typeof error === 'string' ? error !== '' : typeof error === 'object' && error !== null) return true
  if (body['ok'] === false || body['success'] === false) return true
  if (body['type'] === 'error' || body['object'] === 'error') return true
  if (body['status'] === 'error' && typeof body['message'] === 'string') return true
  // GraphQL: with data it is a part of an answer, and the caller's to judge.
  return Array.isArray(errors) && errors.length > 0 && isWithoutData(data)
}

function isWithoutData(data: unknown): boolean {
  if (typeof data !== 'object' || data === null) return true
  return Object.values(data).every((member) => member === null)
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
