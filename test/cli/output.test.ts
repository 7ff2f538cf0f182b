import { describe, expect, it } from 'vitest'
import { expiryInWords, harmless, painter, table } from '../../src/cli/output.ts'

describe('text for the terminal', () => {
  it('cannot steer it', () => {
    expect(harmless('a\u001B[2Jb')).toBe('a\uFFFD[2Jb')
    expect(harmless('safe\u202Egnp.exe\r\nnext')).toBe('safe\uFFFDgnp.exe\uFFFDnext')
    expect(harmless('Zoë — 東京 🦊')).toBe('Zoë — 東京 🦊')
  })

  it('is painted on a terminal only, and not where NO_COLOR is set', () => {
    expect(painter({ isTTY: true }, {})('red', 'x')).toContain('\u001B[31m')
    expect(painter({ isTTY: true }, { NO_COLOR: '1' })('red', 'x')).toBe('x')
    expect(painter({ isTTY: true }, { TERM: 'dumb' })('red', 'x')).toBe('x')
    expect(painter({ isTTY: false }, {})('red', 'x')).toBe('x')
    expect(painter({}, {})('red', 'x')).toBe('x')
  })
})

describe('a table', () => {
  const head = ['ONE', 'TWO', 'THREE']

  it('is as wide as what is in it', () => {
    expect(table(head, [['a', 'bb', 'c']], 80)).toBe('ONE  TWO  THREE\na    bb   c')
  })

  it.each([40, 60, 80])('fits %d columns at the expense of its widest column', (width) => {
    const text = table(head, [['a'.repeat(100), 'b'.repeat(50), 'short']], width)
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(width)
    expect(text).toContain('…')
    expect(text).toContain('short')
  })
})

describe('an expiry', () => {
  const now = 1_790_000_000_000
  it.each([
    [undefined, ''],
    [null, 'not said'],
    [now - 1, 'expired'],
    [now, 'expired'],
    [now + 59_000, 'in 59 s'],
    [now + 59 * 60_000, 'in 59 min'],
    [now + 5 * 3_600_000, 'in 5 h'],
    [now + 72 * 3_600_000, 'in 3 days'],
  ])('%s is %j', (expiresAt, words) => expect(expiryInWords(expiresAt, now)).toBe(words))
})
