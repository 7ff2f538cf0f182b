import fc from 'fast-check'
import { expect, test } from 'vitest'
import { cacheName } from '../../src/broker/request.ts'

test('two targets have one name only if they ask for the same', () => {
  const text = fc.string({ unit: fc.constantFrom('1', ':', ';', '-'), maxLength: 3 })
  const list = fc.array(text, { maxLength: 2 })
  const target = fc.record(
    { provider: text, account: text, resource: text, scopes: list, acrValues: list, maxAge: fc.nat(12) },
    { requiredKeys: ['provider'] },
  )
  const named = new Map<string | undefined, string>()
  fc.assert(
    fc.property(target, (one) => {
      const { scopes = [], acrValues = [], ...rest } = one
      const asked = JSON.stringify(Object.entries({ ...rest, scopes, acrValues }).sort())
      const name = cacheName(one, {})
      expect(named.get(name) ?? asked).toBe(asked)
      named.set(name, asked)
    }),
    { numRuns: 20_000 },
  )
  const ab = { provider: 'p', scopes: ['a', 'b'] }
  for (const scopes of [['ab'], ['a,b'], ['a1:b'], ['b', 'a']]) {
    expect(cacheName({ ...ab, scopes }, {})).not.toBe(cacheName(ab, {}))
  }
  expect(cacheName({ provider: 'p', scopes: ['a'] }, {})).not.toBe(cacheName({ provider: 'p', acrValues: ['a'] }, {}))
  expect(cacheName({ provider: 'p', account: 'x' }, {})).not.toBe(cacheName({ provider: 'p', resource: 'x' }, {}))
  expect(cacheName(ab, { method: 'POST' })).not.toBe(cacheName(ab, {}))
})
