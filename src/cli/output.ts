import { styleText } from 'node:util'
import widthOf from 'string-width'

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
  const widths = head.map((_, column) => Math.max(...all.map((row) => widthOf(row[column] ?? ''))))
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

/** What a person takes for one letter: no cut goes through the middle of one. */
const letters = new Intl.Segmenter(undefined, { granularity: 'grapheme' })

/** As much of the beginning as there is room for, and the rest. */
function cut(text: string, width: number): readonly [string, string] {
  let [end, used] = [0, 0]
  for (const { segment } of letters.segment(text)) {
    used += widthOf(segment)
    // One that is wider than the room there is would never fit.
    if (used > width && end > 0) break
    end += segment.length
  }
  return [text.slice(0, end), text.slice(end)]
}

function fit(text: string, width: number): string {
  const shown = widthOf(text) <= width ? text : `${cut(text, width - 1)[0]}…`
  return shown + ' '.repeat(Math.max(0, width - widthOf(shown)))
}

/**
 * Lines no wider than `width`, broken between words, and within one only where it is wider than a line. A command of
 * ours is to be copied: it is kept whole, whatever its width.
 */
function wrap(text: string, width: number): readonly string[] {
  const start = text.search(/\bauthkeep [a-z]/)
  const command = start === -1 ? [] : [text.slice(start)]
  const words = (start === -1 ? text : text.slice(0, start).trimEnd()).split(' ')
  const pieces = words.flatMap((word) => {
    const parts: string[] = []
    let rest = word
    while (widthOf(rest) > width) {
      const [first, more] = cut(rest, width)
      parts.push(first)
      rest = more
    }
    return [...parts, rest]
  })
  const lines: string[] = []
  for (const piece of [...pieces, ...command]) {
    const joined = `${lines.at(-1) ?? ''} ${piece}`
    if (lines.length > 0 && widthOf(joined) <= width) lines[lines.length - 1] = joined
    else lines.push(piece)
  }
  return lines
}

/** Sentences beside a title, harmless, within `width`; what goes on in another line is indented further. */
export function titled(title: string, sentences: readonly string[], width: number): readonly string[] {
  const blank = ' '.repeat(title.length)
  return sentences.flatMap((sentence, index) =>
    wrap(harmless(sentence), Math.max(20, width - title.length - 2)).map((line, part) =>
      part > 0 ? `${blank}  ${line}` : `${index === 0 ? title : blank}${line}`,
    ),
  )
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
