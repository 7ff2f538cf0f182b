import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatScope, type Implications, missingScopes, parseScope, scopeSet, unionScopes } from '../src/scope.ts'

/** RFC 6749 §3.3, some of a few letters so that sets overlap often. Names that every object has get their own test. */
const scope = fc
  .oneof(fc.stringMatching(/^[a-d]{1,2}$/), fc.stringMatching(/^[\x21\x23-\x5B\x5D-\x7E]{1,8}$/))
  .filter((name) => !(name in Object.prototype))
const scopes = fc.array(scope, { maxLength: 6 })
const implications: fc.Arbitrary<Implications> = fc.dictionary(fc.stringMatching(/^[a-d]{1,2}$/), scopes, {
  maxKeys: 5,
})
const sorted = (list: Iterable<string>): string[] => [...new Set(list)].sort()

describe('a scope value', () => {
  it('comes back from its list whatever the order, repetition and spacing were', () => {
    fc.assert(
      fc.property(scopes, fc.constantFrom(' ', '  ', '   '), (list, space) => {
        expect(parseScope(` ${list.join(space)} `)).toEqual(sorted(list))
        expect(parseScope(formatScope(list))).toEqual(sorted(list))
      }),
    )
  })

  it('is empty for an empty string', () => expect(parseScope('')).toEqual([]))
  it('keeps case, because scopes are case sensitive', () => expect(parseScope('Read read')).toEqual(['Read', 'read']))
  it('is not split at anything but spaces', () => expect(parseScope('a,b\tc')).toEqual(['a,b\tc']))
})

describe('a scope set', () => {
  it('is the same list for equal sets', () => {
    fc.assert(
      fc.property(scopes, (list) => {
        expect(scopeSet([...list, ...list].reverse())).toEqual(scopeSet(list))
        expect(scopeSet(scopeSet(list))).toEqual(scopeSet(list))
      }),
    )
  })

  it('has a union that is commutative, associative, idempotent and contains both', () => {
    fc.assert(
      fc.property(scopes, scopes, scopes, (a, b, c) => {
        expect(unionScopes(a, b)).toEqual(unionScopes(b, a))
        expect(unionScopes(unionScopes(a, b), c)).toEqual(unionScopes(a, unionScopes(b, c)))
        expect(unionScopes(a, a)).toEqual(scopeSet(a))
        expect(unionScopes()).toEqual([])
        expect(missingScopes([...a, ...b], unionScopes(a, b))).toEqual([])
      }),
    )
  })

  it('does not change what it was made from', () => {
    const given = Object.freeze(['b', 'a', 'b'])
    expect(scopeSet(given)).toEqual(['a', 'b'])
    expect(given).toEqual(['b', 'a', 'b'])
  })
})

describe('missing scopes', () => {
  it('without implications are the plain difference', () => {
    fc.assert(
      fc.property(scopes, scopes, (required, granted) => {
        expect(missingScopes(required, granted)).toEqual(required.filter((each) => !granted.includes(each)))
      }),
    )
  })

  it('are exactly what has to be granted in addition', () => {
    fc.assert(
      fc.property(scopes, scopes, implications, (required, granted, implies) => {
        const missing = missingScopes(required, granted, implies)
        expect(missingScopes(required, [...granted, ...missing], implies)).toEqual([])
        expect(missing.every((each) => required.includes(each) && !granted.includes(each))).toBe(true)
      }),
    )
  })

  it('only become fewer when more is granted', () => {
    fc.assert(
      fc.property(scopes, scopes, scopes, implications, (required, granted, more, implies) => {
        const before = new Set(missingScopes(required, granted, implies))
        for (const each of missingScopes(required, [...granted, ...more], implies)) expect(before).toContain(each)
      }),
    )
  })

  it('follow chains of implications to their end, round cycles too', () => {
    const implies = { admin: ['write'], write: ['read', 'admin'], read: ['list'] }
    expect(missingScopes(['list', 'admin'], ['write'], implies)).toEqual([])
    fc.assert(
      fc.property(scopes, implications, (granted, rules) => {
        const reached = new Set(granted)
        for (let before = -1; before !== reached.size; ) {
          before = reached.size
          for (const each of [...reached])
            for (const next of Object.hasOwn(rules, each) ? (rules[each] ?? []) : []) reached.add(next)
        }
        const all = sorted([...reached, ...Object.values(rules).flat()])
        expect(missingScopes(all, granted, rules)).toEqual(all.filter((each) => !reached.has(each)))
      }),
    )
  })

  it('know that an implication has one direction: a write brings the read, a read does not bring the write', () => {
    const implies = { 'files:write': ['files:read'] }
    expect(missingScopes(['files:read'], ['files:write'], implies)).toEqual([])
    expect(missingScopes(['files:write'], ['files:read'], implies)).toEqual(['files:write'])
  })

  it('do not take a prefix, a wildcard or another case for a grant', () => {
    expect(missingScopes(['files:read'], ['files', 'files:*', 'Files:Read', 'files:read '])).toEqual(['files:read'])
  })

  // Fails: `implies[scope]` finds what every object inherits.
  it('are not confused by scopes that are called like members of every object', () => {
    const names = ['constructor', 'toString', '__proto__', 'hasOwnProperty', 'valueOf']
    expect(missingScopes(['a'], names, { b: ['a'] })).toEqual(['a'])
    expect(missingScopes(names, names, { b: ['a'] })).toEqual([])
    expect(missingScopes(names, [], { b: ['a'] })).toEqual(names)
  })
})
