import { Console } from 'node:console'
import { Writable } from 'node:stream'
import { format, formatWithOptions, inspect } from 'node:util'
import { serialize } from 'node:v8'
import { describe, expect, it } from 'vitest'
import { fingerprint, Secret } from '../src/credential.ts'

const value = 'at_6f1c9a-the-secret-itself'
const secret = new Secret(value)
const redacted = '[redacted]'

describe('a secret', () => {
  it('comes out through reveal() only', () => expect(secret.reveal()).toBe(value))

  it.each<[string, () => string]>([
    ['String()', () => String(secret)],
    ['a template', () => `token=${secret as unknown as string}`.slice(6)],
    ['concatenation', () => ('token=' + (secret as unknown as string)).slice(6)],
    ['an array joined', () => [secret].join()],
    ['a URL parameter', () => new URLSearchParams({ token: secret as unknown as string }).get('token') ?? ''],
    ['a header', () => new Headers({ authorization: secret as unknown as string }).get('authorization') ?? ''],
    ['an object key', () => Object.keys({ [secret as unknown as string]: 1 })[0] ?? ''],
    ['util.inspect', () => inspect(secret)],
    ['util.inspect with everything shown', () => inspect(secret, { showHidden: true, depth: Infinity, getters: true })],
    ['%s', () => format('%s', secret)],
    ['%o', () => format('%o', secret)],
    ['%O', () => format('%O', secret)],
    ['JSON, without its quotes', () => JSON.stringify(secret).slice(1, -1)],
  ])('reads [redacted] in %s', (_, print) => expect(print()).toBe(redacted))

  it.each<[string, () => string]>([
    ['a nested object', () => inspect({ a: { b: [new Map([['k', secret]])] } }, { depth: Infinity, showHidden: true })],
    ['a nested object as JSON', () => JSON.stringify({ a: { b: [secret] } })],
    ['an error', () => inspect(Object.assign(new Error('x'), { secret }))],
    ['inspection with custom printing off', () => inspect(secret, { customInspect: false, showHidden: true })],
    ['the same, nested', () => inspect({ secret }, { customInspect: false, showHidden: true, depth: Infinity })],
    [
      'numbers and colours',
      () => formatWithOptions({ colors: true }, '%d %i %f %j %c', secret, secret, secret, secret, secret),
    ],
    ['a spread', () => JSON.stringify({ ...(secret as object) })],
    ['Object.assign', () => inspect(Object.assign({}, secret))],
    ['its property names', () => Reflect.ownKeys(secret).join()],
    ['a structured clone', () => inspect(structuredClone(secret), { showHidden: true })],
    ['a structured clone of what holds it', () => inspect(structuredClone({ secret }), { showHidden: true, depth: 9 })],
    ['a serialization', () => serialize({ secret }).toString('latin1')],
    ['its own code', () => secret.reveal.toString()],
  ])('does not show in %s', (_, print) => expect(print()).not.toContain(value))

  it('does not show on the console', () => {
    const lines: string[] = []
    const stdout = new Writable({
      write: (chunk, _, done) => {
        lines.push(String(chunk))
        done()
      },
    })
    const own = new Console(stdout)
    own.log('%s %o %O', secret, secret, { secret }, secret)
    own.dir({ secret }, { depth: null, showHidden: true })
    own.table([{ secret }])
    expect(lines.join('')).toContain(redacted)
    expect(lines.join('')).not.toContain(value)
  })

  it('is not a number', () => expect(Number(secret)).toBeNaN())
})

describe('a fingerprint', () => {
  it('is the same for the same secret and says nothing about it', () => {
    expect(fingerprint(secret)).toBe(fingerprint(new Secret(value)))
    expect(fingerprint(secret)).not.toBe(fingerprint(new Secret(`${value}.`)))
    expect(fingerprint(secret)).toMatch(/^[\w-]{22}$/)
  })
})
