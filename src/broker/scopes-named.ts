import type { Refusal } from '../grant/challenge.ts'
import { parseScope, scopeSet } from '../scope.ts'
import { scopeHeaders, scopeMembers, scopeSentences } from './refusal-marks.ts'
import type { Said } from './said.ts'

/** The scopes that a refusal names as needed: in its challenge, its members, its headers or its words; or none. */
export function scopesNamed(refusal: Refusal, said: Said, headers: Headers): readonly string[] {
  const ways: readonly (() => readonly string[])[] = [
    () => refusal.scopes ?? [],
    () => scopeMembers.map((name) => listOf(said.found.get(name))).find((list) => list.length > 0) ?? [],
    () => scopesLacking(headers) ?? [],
    () => said.texts.map(inSentence).find((list) => list.length > 0) ?? [],
  ]
  for (const way of ways) {
    const scopes = way().filter((scope) => /^[\x21\x23-\x5B\x5D-\x7E]{1,200}$/.test(scope))
    if (scopes.length > 0) return scopeSet(scopes.slice(0, 50))
  }
  return []
}

/** What headers name as accepted, if the token is said to have none of it; null where they say nothing. */
export function scopesLacking(headers: Headers): readonly string[] | null {
  for (const [held, accepted] of scopeHeaders) {
    const [has, wants] = [listOf(headers.get(held)), listOf(headers.get(accepted))]
    if (headers.has(held) && wants.length > 0 && !wants.some((scope) => has.includes(scope))) return wants
  }
  return null
}

function listOf(value: unknown): readonly string[] {
  if (typeof value === 'string') return parseScope(value.replaceAll(/[,\s]+/g, ' '))
  return Array.isArray(value) ? value.filter((each) => typeof each === 'string') : []
}

/** The list in a sentence: words with commas, "and" or "or" between them; without those, words that look like scopes. */
function inSentence(text: string): readonly string[] {
  for (const pattern of scopeSentences) {
    const match = pattern.exec(text)
    if (match === null) continue
    const rest = text.slice(match.index + match[0].length, match.index + match[0].length + 500)
    const isAnnounced = /:\s*$/.test(match[0]) || /^[`'"[(]/.test(rest)
    const scopes: string[] = []
    let isNext = isAnnounced
    for (const [word] of rest.matchAll(/[^\s,|]+|[,|]/g)) {
      if (/^(?:,|\||and|or)$/.test(word)) {
        isNext = scopes.length > 0
        continue
      }
      const scope = word.replaceAll(/^["'`[({]+|["'`)\]}.;:]+$/g, '')
      const looksSo = /[\w-][:./][\w-]/.test(scope) || scope.includes('_')
      if (scope === '' || !(isNext || looksSo)) break
      scopes.push(scope)
      isNext = false
      if (/[.;]["'`)\]]*$/.test(word)) break
    }
    if (scopes.length > 0) return scopes
  }
  return []
}
