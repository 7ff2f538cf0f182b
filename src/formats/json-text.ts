import type { Json, JsonObject } from '../credential.ts'
import { createHash } from '../on-demand.ts'
import { type Entry, FormatError } from './format.ts'

// JSON as text: what JSON.parse does not tell of it, and how to change a part and leave every other byte as it is.

/**
 * The object that a text is.
 *
 * @throws FormatError, which carries no piece of the text: the parser's own message quotes it, and it may be a token
 */
export function parseJsonObject(text: string): JsonObject {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    throw new FormatError('it is not JSON')
  }
  if (!isObject(json)) throw new FormatError('it is not a JSON object')
  return json
}

/**
 * JSON.parse keeps the last of two members with one name: the other one would vanish with the next write.
 *
 * @throws FormatError
 */
export function refuseTwins(text: string, parsed: JsonObject): void {
  if (namesIn(text) !== membersOf(parsed)) throw new FormatError('two of its members have the same name')
}

/** How many member names are written in a JSON text: the strings that a colon follows. */
function namesIn(text: string): number {
  let names = 0
  for (let at = text.indexOf('"'); at !== -1; at = text.indexOf('"', at)) {
    at = afterBlanks(text, endOfString(text, at))
    if (text[at] === ':') names++
  }
  return names
}

function membersOf(json: Json): number {
  if (Array.isArray(json)) return (json as Json[]).reduce<number>((sum, item) => sum + membersOf(item), 0)
  if (!isObject(json)) return 0
  return Object.values(json).reduce<number>((sum, value) => sum + 1 + membersOf(value), 0)
}

/** The same text for the same content, whatever the order of members. */
export function canonical(json: Json): string {
  if (Array.isArray(json)) return `[${json.map(canonical).join(',')}]`
  if (!isObject(json)) return JSON.stringify(json)
  const members = Object.keys(json).sort()
  return `{${members.map((member) => `${JSON.stringify(member)}:${canonical(json[member] ?? null)}`).join(',')}}`
}

/** An entry whose revision is a hash over all that the file has of it, worked out when somebody compares it. */
export function hashed(value: JsonObject, raw: JsonObject): Entry {
  let revision: string | undefined
  return {
    value,
    get revision() {
      revision ??= createHash('sha256').update(canonical(raw)).digest('base64url').slice(0, 22)
      return revision
    },
  }
}

/** Sets a member; an assignment to "__proto__" would not make one. */
export function define(object: JsonObject, name: string, value: Json): void {
  Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true })
}

export function own(object: JsonObject, name: string): Json | undefined {
  return Object.hasOwn(object, name) ? object[name] : undefined
}

export function isObject(json: unknown): json is JsonObject {
  return typeof json === 'object' && json !== null && !Array.isArray(json)
}

// --- changing a part -------------------------------------------------------------------------------------------------

/**
 * The text of an object, changed to say `after` where it says `before`: a value that is the same one in both keeps its
 * bytes, its place and its white space, and so does every number in its own spelling. What is new is indented like the
 * rest.
 */
export function edited(text: string, before: JsonObject, after: JsonObject): string {
  const from = text.indexOf('{')
  const layout = layoutOf(text)
  return text.slice(0, from) + editedObject(text, from, before, after, layout) + text.slice(endOfValue(text, from))
}

/** How the members of an object are set apart: by a line break and an indent, or by nothing. */
interface Layout {
  /** What stands before each member. */
  readonly lead: string
  /** One more level; null where all of it stands on one line. */
  readonly unit: string | null
}

/** A member as it is written: `chunk` is all between two commas. */
interface Member {
  readonly name: string
  readonly lead: string
  readonly from: number
  readonly nameTo: number
  readonly valueFrom: number
  readonly valueTo: number
  readonly to: number
}

function layoutOf(text: string): Layout {
  const first = membersAt(text, text.indexOf('{'))[0]
  if (first === undefined) return { lead: '\n  ', unit: '  ' }
  const unit = /\n([ \t]*)$/.exec(first.lead)?.[1]
  return { lead: first.lead, unit: unit ?? null }
}

function editedObject(text: string, from: number, before: JsonObject, after: JsonObject, outer: Layout): string {
  const members = membersAt(text, from)
  const last = members.at(-1)
  const layout = last === undefined ? outer : { lead: last.lead, unit: last.lead.includes('\n') ? outer.unit : null }
  const kept = members
    .filter(({ name }) => Object.hasOwn(after, name))
    .map((member) => {
      const chunk = text.slice(member.from, member.valueFrom)
      const trail = member === last ? '' : text.slice(member.valueTo, member.to)
      return chunk + editedValue(text, member, [own(before, member.name), own(after, member.name)], layout) + trail
    })
  const added = Object.keys(after)
    .filter((name) => !Object.hasOwn(before, name))
    .map((name) => {
      const usual = layout.unit === null ? ':' : ': '
      const separator = last === undefined ? usual : text.slice(last.nameTo, last.valueFrom)
      return `${layout.lead}${JSON.stringify(name)}${separator}${printed(own(after, name) ?? null, layout)}`
    })
  if (kept.length + added.length === 0) return '{}'
  const closing = last === undefined ? lessIndented(layout) : text.slice(last.valueTo, last.to)
  return `{${[...kept, ...added].join(',')}${closing}}`
}

function editedValue(
  text: string,
  { valueFrom, valueTo, lead }: Member,
  [before, after]: readonly [Json | undefined, Json | undefined],
  { unit }: Layout,
): string {
  if (before === after) return text.slice(valueFrom, valueTo)
  const inner = { lead: unit === null ? '' : lead + unit, unit }
  if (isObject(before) && isObject(after)) return editedObject(text, valueFrom, before, after, inner)
  return printed(after ?? null, { lead, unit })
}

function printed(value: Json, { lead, unit }: Layout): string {
  if (unit === null) return JSON.stringify(value)
  return JSON.stringify(value, null, unit).replaceAll('\n', /\r?\n[ \t]*$/.exec(lead)?.[0] ?? '\n')
}

function lessIndented({ lead, unit }: Layout): string {
  return unit === null ? '' : lead.slice(0, lead.length - unit.length)
}

function membersAt(text: string, from: number): readonly Member[] {
  const members: Member[] = []
  let at = from + 1
  while (text[afterBlanks(text, at)] !== '}') {
    const nameFrom = afterBlanks(text, at)
    const nameTo = endOfString(text, nameFrom)
    const valueFrom = afterBlanks(text, afterBlanks(text, nameTo) + 1)
    const valueTo = endOfValue(text, valueFrom)
    const to = afterBlanks(text, valueTo)
    const name = JSON.parse(text.slice(nameFrom, nameTo)) as string
    members.push({ name, lead: text.slice(at, nameFrom), from: at, nameTo, valueFrom, valueTo, to })
    if (text[to] !== ',') break
    at = to + 1
  }
  return members
}

/** Of valid JSON, the end of the value that begins here. */
function endOfValue(text: string, from: number): number {
  if (text[from] === '"') return endOfString(text, from)
  if (text[from] !== '{' && text[from] !== '[') {
    let at = from
    while (at < text.length && !/[\s,}\]]/.test(text.charAt(at))) at++
    return at
  }
  let depth = 0
  for (let at = from; ; ) {
    const letter = text[at]
    if (letter === '"') {
      at = endOfString(text, at)
      continue
    }
    if (letter === '{' || letter === '[') depth++
    else if (letter === '}' || letter === ']') depth--
    at++
    if (depth === 0 || at >= text.length) return at
  }
}

function endOfString(text: string, from: number): number {
  let at = from
  do at = text.indexOf('"', at + 1)
  while (isEscaped(text, at))
  return at + 1
}

function isEscaped(text: string, at: number): boolean {
  let from = at
  while (text[from - 1] === '\\') from--
  return (at - from) % 2 === 1
}

function afterBlanks(text: string, from: number): number {
  let at = from
  while (isBlank(text.charCodeAt(at))) at++
  return at
}

const isBlank = (code: number): boolean => code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09
