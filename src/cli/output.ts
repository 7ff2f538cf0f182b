import { styleText } from 'node:util'

/**
 * Text that cannot steer the terminal: names of accounts and words of servers come from elsewhere, and an escape
 * sequence or a change of direction in them could rewrite what is on the screen.
 */
export function harmless(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, '\uFFFD')
}

/** Paints for a stream that is a terminal, unless NO_COLOR says otherwise; for anything else returns the text. */
export function painter(
  stream: { readonly isTTY?: boolean },
  env: Readonly<Record<string, string | undefined>>,
): (style: 'bold' | 'dim' | 'red' | 'yellow', text: string) => string {
  const isPlain = stream.isTTY !== true || (env['NO_COLOR'] ?? '') !== '' || env['TERM'] === 'dumb'
  // The check is made above, for the stream in question; styleText's own is of stdout.
  return isPlain ? (_, text) => text : (style, text) => styleText(style, text, { validateStream: false })
}

/** A table for people: as wide as it must be and no wider than `width`, at the expense of the widest columns. */
export function table(head: readonly string[], rows: readonly (readonly string[])[], width: number): string {
  const all = [head, ...rows].map((row) => row.map(harmless))
  const widths = head.map((_, column) => Math.max(...all.map((row) => lengthOf(row[column] ?? ''))))
  const available = Math.max(width - 2 * (head.length - 1), 6 * head.length)
  while (widths.reduce((sum, each) => sum + each, 0) > available) {
    const widest = widths.indexOf(Math.max(...widths))
    widths[widest] = (widths[widest] ?? 0) - 1
  }
  return all
    .map((row) =>
      row
        .map((cell, column) => fit(cell, widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

const lengthOf = (text: string): number => Array.from(text).length

function fit(text: string, width: number): string {
  const letters = Array.from(text)
  if (letters.length <= width) return text + ' '.repeat(width - letters.length)
  return `${letters.slice(0, width - 1).join('')}…`
}

/** When something expires, in words. */
export function expiryInWords(expiresAt: number | null | undefined, now: number): string {
  if (expiresAt === undefined) return ''
  if (expiresAt === null) return 'not said'
  return expiresAt - now < 500 ? 'expired' : `in ${durationInWords(expiresAt - now)}`
}

/** A length of time in words, as exact as people want it. */
export function durationInWords(ms: number): string {
  const seconds = Math.round(ms / 1_000)
  if (seconds < 100) return `${seconds} s`
  if (seconds < 100 * 60) return `${Math.round(seconds / 60)} min`
  if (seconds < 48 * 3_600) return `${Math.round(seconds / 3_600)} h`
  return `${Math.round(seconds / 86_400)} days`
}
