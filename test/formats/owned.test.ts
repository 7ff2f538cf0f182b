import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { JsonObject } from '../../src/credential.ts'
import type { Format } from '../../src/formats/format.ts'
import { openClawAuthProfilesFormat } from '../../src/formats/openclaw-auth-profiles.ts'
import { piAuthJsonFormat } from '../../src/formats/pi-auth-json.ts'

const login = (key: string, more: JsonObject = {}): JsonObject => ({
  ...{ type: 'oauth', provider: key.split(':')[0] ?? '', account: key.slice(key.indexOf(':') + 1) },
  ...{ issuer: 'https://as.example', clientId: 'c', subject: 'somebody' },
  grant: { scopes: ['a', 'b'], evidence: 'response', refreshToken: 'refresh-2', generation: 2, state: 'live' },
  tokens: [{ accessToken: 'access-2', scopes: ['a', 'b'], resource: null, expiresAt: 1_790_000_000_000 }],
  lease: null,
  ...more,
})

/** How a file is written by hand: blanks anywhere, numbers in any spelling, names escaped or not. */
const blank = fc.stringMatching(/^[ \t\n\r]{0,4}$/)
const value = fc.oneof(
  fc.constantFrom('1.0', '1e400', '-0', '12345678901234567890', '1E2', '"\\u0041\\/"', 'null', '[ 1,\n2 ]', '{ }'),
  fc.json(),
)
const members = (least: number): fc.Arbitrary<readonly string[]> =>
  fc
    .uniqueArray(fc.tuple(fc.stringMatching(/^[a-z_]{1,8}$/), blank, blank, blank, blank, value), {
      selector: ([name]) => name,
      minLength: least,
      maxLength: 6,
    })
    .map((all) =>
      all.map(([name, a, b, c, d, text]) => `${a}"${name}${b.length > 2 ? '\\u0031' : ''}"${b}:${c}${text}${d}`),
    )

/** Of each format, the text of a file with these pieces around its entries. */
const files: readonly (readonly [Format, (entries: string) => string, string])[] = [
  [piAuthJsonFormat, (entries) => entries, 'x.y:default'],
  [
    openClawAuthProfilesFormat,
    (entries) => `{"version":1 ,"order" : {"x.y":["x.y:me"]},\t"profiles":${entries}, "later": [1.0]}\n`,
    'x.y:me',
  ],
]

describe.each(files.map(([format, around, key]) => ({ format, around, key })))(
  '$format.name',
  ({ format, around, key }) => {
    const name = format === piAuthJsonFormat ? 'x.y' : key

    it('leaves every byte that a commit is not about', () => {
      fc.assert(
        fc.property(members(0), members(0), members(0), members(0), blank, (before, after, first, last, space) => {
          const theirs = [...first, `"type":${space}"oauth"`, ...last, '"access":"a","refresh":"r"', '"expires": 1']
          const mine = `${space}"${name}":{${theirs.join(',')}}${space}`
          const text = around(`{${[...before, mine, ...after].join(',')}}`)
          // Names that occur twice are refused, and asked for elsewhere.
          fc.pre(isParsed(format, text))
          const document = format.parse(text)
          const changed = format.print(format.put(document, [[key, login(key)]]))
          const [start, end] = text.split(mine) as [string, string]
          expect(changed.startsWith(start)).toBe(true)
          expect(changed.endsWith(end)).toBe(true)
          for (const member of [...first, ...last].filter((each) => !/"(access|refresh|expires|authkeep)/.test(each))) {
            expect(changed).toContain(member.trim())
          }
          expect(format.entry(format.parse(changed), key)?.value).toMatchObject(login(key))
          // Taken out again, and put in anew.
          const without = format.print(format.put(document, [[key, null]]))
          for (const piece of [...before, ...after]) expect(without).toContain(piece.trim())
          expect(format.entry(format.parse(without), key)).toBeNull()
          const again = format.print(format.put(format.parse(without), [[key, login(key)]]))
          for (const piece of [...before, ...after]) expect(again).toContain(piece.trim())
          expect(format.entry(format.parse(again), key)?.value).toMatchObject(login(key))
        }),
      )
    })

    it('reads back whatever the store may write', () => {
      const json = fc.jsonValue().map((any) => JSON.parse(JSON.stringify({ any })) as JsonObject)
      fc.assert(
        fc.property(json, json, fc.boolean(), fc.boolean(), (metadata, other, hasToken, hasRefresh) => {
          const written = login(key, {
            metadata,
            laterVersion: other,
            grant: { scopes: ['a'], refreshToken: hasRefresh ? 'r' : null, newer: other, stateFor: 'x' },
            tokens: hasToken
              ? [
                  { accessToken: 'narrow', scopes: ['a'], resource: 'https://api.example', expiresAt: 5, newer: other },
                  { accessToken: 'wide', scopes: ['a', 'b'], resource: null, expiresAt: null, newer: other },
                ]
              : [],
          })
          const text = format.print(format.put(format.empty(), [[key, written]]))
          const { rest: _, ...read } = format.entry(format.parse(text), key)?.value ?? {}
          expect(read).toEqual(written)
        }),
      )
    })
  },
)

function isParsed(format: Format, text: string): boolean {
  try {
    format.parse(text)
    return true
  } catch {
    return false
  }
}

describe('the layout of a file', () => {
  const key = 'acme:default'
  const entryOf = (text: string): string =>
    piAuthJsonFormat.print(piAuthJsonFormat.put(piAuthJsonFormat.parse(text), [[key, { type: 'api_key', key: 'k' }]]))
  const shown = (text: string): string => entryOf(text).replace(/"rev":( ?)"[^"]+"/, '"rev":$1"…"')
  it.each([
    [
      '{}',
      '{\n  "acme": {\n    "type": "api_key",\n    "key": "k",\n    "authkeep": {\n      "rev": "…"\n    }\n  }\n}',
    ],
    ['{"a":{"type":"x"}}', '{"a":{"type":"x"},"acme":{"type":"api_key","key":"k","authkeep":{"rev":"…"}}}'],
    ['{"acme":{"type":"api_key", "key":"old"}}\n', '{"acme":{"type":"api_key", "key":"k", "authkeep":{"rev":"…"}}}\n'],
    [
      '{\r\n\t"acme": {\r\n\t\t"mode": "api_key",\r\n\t\t"apiKey": "old"\r\n\t}\r\n}\r\n',
      '{\r\n\t"acme": {\r\n\t\t"type": "api_key",\r\n\t\t"key": "k",\r\n\t\t"authkeep": {\r\n\t\t\t"rev": "…"\r\n\t\t}\r\n\t}\r\n}\r\n',
    ],
  ])('%j', (before, after) => {
    expect(shown(before)).toBe(after)
  })
})
