import type { JsonObject } from '../credential.ts'
import type { Requirement } from '../endpoint.ts'
import { type Implications, missingScopes, scopeSet, unionScopes } from '../scope.ts'

/** What an endpoint needs beyond what its provider declares. */
export interface Learned {
  readonly scopes: readonly string[]
  /** RFC 9470. */
  readonly acrValues?: readonly string[]
  /** Seconds (RFC 9470). */
  readonly maxAge?: number
}

/** Where the store remembers what was learned about an endpoint. */
export const learnedName = (endpoint: string): string => `:endpoint:${endpoint}`

/**
 * What is remembered for a method at an endpoint. The members at the top hold for every method; those under `methods`
 * were learned from a refusal of that one. What cannot be read is left out, since it only ever adds to a requirement.
 */
export function learnedFor(state: JsonObject | null, method: string): Learned {
  const always = readLearned(state)
  const here = readLearned(objectIn(objectIn(state, 'methods'), method))
  return { ...always, ...here, scopes: unionScopes(always.scopes, here.scopes) }
}

/** What is remembered once a method has been refused for want of something; undefined when that was known. */
export function withLesson(state: JsonObject | null, method: string, lesson: Learned): JsonObject | undefined {
  const methods = objectIn(state, 'methods')
  const before = readLearned(objectIn(methods, method))
  const after = { ...before, ...lesson, scopes: unionScopes(before.scopes, lesson.scopes) }
  if (JSON.stringify(plain(after)) === JSON.stringify(plain(before))) return undefined
  return { ...state, methods: { ...methods, [method]: plain(after) } }
}

/** A requirement together with something more that is needed. */
export function withNeeds(requirement: Requirement, needs: Learned): Requirement {
  const { acrValues, maxAge } = needs
  return {
    ...requirement,
    scopes: needs.scopes.length === 0 ? requirement.scopes : unionScopes(requirement.scopes, needs.scopes),
    ...(acrValues === undefined ? {} : { acrValues }),
    ...(maxAge === undefined ? {} : { maxAge: Math.min(maxAge, requirement.maxAge ?? Infinity) }),
  }
}

/**
 * A requirement together with what was learned about its endpoint. At a pattern with a star the lesson may be true of
 * one path only: there it is followed where the grant covers it, and never stands in the way of a call.
 */
export function withLearned(
  requirement: Requirement,
  learned: Learned,
  granted: readonly string[],
  implies: Implications = {},
): Requirement {
  if (requirement.endpoint?.includes('*') !== true) return withNeeds(requirement, learned)
  const isCovered = missingScopes(learned.scopes, granted, implies).length === 0
  return withNeeds(requirement, { scopes: isCovered ? learned.scopes : [] })
}

function readLearned(raw: JsonObject | null): Learned {
  const { acrValues, maxAge } = raw ?? {}
  const acr = strings(acrValues)
  return {
    scopes: scopeSet(strings(raw?.['scopes'])),
    ...(acr.length === 0 ? {} : { acrValues: acr }),
    ...(typeof maxAge === 'number' && maxAge >= 0 ? { maxAge } : {}),
  }
}

function plain({ scopes, acrValues, maxAge }: Learned): JsonObject {
  return {
    ...(scopes.length === 0 ? {} : { scopes }),
    ...(acrValues === undefined ? {} : { acrValues }),
    ...(maxAge === undefined ? {} : { maxAge }),
  }
}

function strings(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : []
}

function objectIn(parent: JsonObject | null, name: string): JsonObject | null {
  const value = parent !== null && Object.hasOwn(parent, name) ? parent[name] : undefined
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : null
}
