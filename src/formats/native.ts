import type { JsonObject } from '../credential.ts'
import { randomBytes } from '../on-demand.ts'
import { type Document, type Entry, type Format, FormatError } from './format.ts'
import { define, hashed, isObject, own, parseJsonObject, refuseTwins } from './json-text.ts'

/**
 * authkeep's own file: `{ "version": 1, "credentials": { "provider:account": … }, "state": { ":…": … } }`.
 *
 * Keys that begin with a colon are not credentials and live under `state`. Each entry carries `rev`, the random value
 * of its last commit; the revision is a hash over all of the entry, so a foreign edit that keeps our members gives it
 * another revision too. A hand-written entry may leave `rev` out.
 */
export const nativeFormat: Format = {
  name: 'native',

  empty: () => ({ version: 1, credentials: {}, state: {} }),

  parse(text) {
    const document = parseJsonObject(text)
    const { version, credentials, state } = document
    if (typeof version === 'number' && version > 1) {
      throw new FormatError(`it was written by a newer version (format ${version})`, true)
    }
    if (version !== 1) throw new FormatError('it has no version')
    if (!isObject(credentials)) throw new FormatError('it has no credentials object')
    if (state !== undefined && !isObject(state)) throw new FormatError('its state is not an object')
    refuseTwins(text, document)
    return document
  },

  print: (document) => `${JSON.stringify(document, null, 2)}\n`,

  keys: (document) => [...Object.keys(section(document, 'credentials')), ...Object.keys(section(document, 'state'))],

  entry(document, key) {
    const raw = own(section(document, sectionOf(key)), key)
    if (raw === undefined) return null
    if (!isObject(raw)) throw new FormatError('it is not an object')
    return entryOf(raw)
  },

  put(document, changes) {
    const credentials = { ...section(document, 'credentials') }
    const state = { ...section(document, 'state') }
    for (const [key, value] of changes) {
      const entries = sectionOf(key) === 'state' ? state : credentials
      if (value === null) Reflect.deleteProperty(entries, key)
      else define(entries, key, { ...value, rev: randomBytes(12).toString('base64url') })
    }
    return { ...document, credentials, state }
  },

  restored: restoredEntry,

  salvage(text) {
    const end = endOfCompleteEntries(text)
    if (end === null) return null
    try {
      const document = nativeFormat.parse(`${text.slice(0, end)}}}`)
      return nativeFormat.keys(document).length === 0 ? null : document
    } catch {
      // What was cut is not all that is wrong with it.
      return null
    }
  },
}

/** `Format.restored` of entries that are spelled as the store spells them. */
export function restoredEntry(older: JsonObject, current: JsonObject | null, now: number): JsonObject | null {
  if (older['type'] !== 'oauth' || !isObject(older['grant'])) return older
  const same = ['type', 'issuer', 'clientId', 'subject'].every((name) => older[name] === current?.[name])
  // The same login, refreshed since: its refresh token is the successor of the one that would come back.
  if (same && current !== null) return null
  const { stateFor: _, ...grant } = older['grant']
  const isLive = grant['state'] !== 'dead'
  const doubt = isLive ? { state: 'in_doubt', doubtSince: now, replays: 0 } : {}
  return { ...older, lease: null, grant: { ...grant, ...doubt } }
}

/** Where the last complete member of a member of the top object ends: `{"…":{"entry":{…}` ← here. */
function endOfCompleteEntries(text: string): number | null {
  let depth = 0
  let end: number | null = null
  let isInString = false
  for (let at = 0; at < text.length; at++) {
    const letter = text[at]
    if (isInString) {
      if (letter === '\\') at++
      else if (letter === '"') isInString = false
    } else if (letter === '"') isInString = true
    else if (letter === '{' || letter === '[') depth++
    else if (letter === '}' || letter === ']') {
      depth--
      if (depth === 2) end = at + 1
    }
  }
  return end
}

const revisions = new WeakMap<JsonObject, Entry>()

function entryOf(raw: JsonObject): Entry {
  let entry = revisions.get(raw)
  if (entry === undefined) {
    const { rev: _, ...value } = raw
    entry = hashed(value, raw)
    revisions.set(raw, entry)
  }
  return entry
}

const sectionOf = (key: string): 'credentials' | 'state' => (key.startsWith(':') ? 'state' : 'credentials')

function section(document: Document, name: 'credentials' | 'state'): JsonObject {
  return (document[name] ?? {}) as JsonObject
}
