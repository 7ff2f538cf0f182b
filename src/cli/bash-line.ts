/** A quotation that has begun and not ended, if any. */
type Quote = '' | "'" | '"'

/** A command line of bash up to the cursor. */
export interface BashLine {
  /** What follows the command, unquoted; the last one is being typed. */
  readonly words: readonly string[]
  /** What of the last word comes before that which bash will replace: it breaks words at colons and the like. */
  readonly head: string
  /** What the head ends within. */
  readonly quote: Quote
}

/**
 * Reads a line as bash would, and evaluates nothing of it.
 *
 * @param replaced the end of the line, which bash will replace by what is offered
 * @returns null where the line cannot be known without evaluating it
 */
export function readBashLine(line: string, replaced: string): BashLine | null {
  const whole = split(line)
  if (whole === null || !line.endsWith(replaced) || line.length - replaced.length < whole.start) return null
  const head = split(line.slice(whole.start, line.length - replaced.length))
  return head === null ? null : { words: whole.words.slice(1), head: head.words.at(-1) ?? '', quote: head.quote }
}

function split(line: string): { words: readonly string[]; start: number; quote: Quote } | null {
  const words: string[] = []
  let [word, quote, start]: [string, Quote, number] = ['', '', 0]
  for (let at = 0; at < line.length; at += 1) {
    const letter = line[at] ?? ''
    const next = line[at + 1] ?? ''
    if (quote === "'") {
      if (letter === quote) quote = ''
      else word += letter
    } else if (letter === '$' || letter === '`') return null
    else if (letter === '\\') {
      const isKept = quote === '"' && !/[\\"$`]/.test(next)
      word += isKept ? letter : next
      if (!isKept) at += 1
    } else if (letter === '"' || (letter === "'" && quote === '')) quote = quote === '' ? letter : ''
    else if (quote === '' && /[|&;()<>]/.test(letter)) return null
    else if (quote === '' && /\s/.test(letter)) {
      if (at > start) words.push(word)
      ;[word, start] = ['', at + 1]
    } else word += letter
  }
  return { words: [...words, word], start, quote }
}

/** Text as bash reads it back, letter by letter, within a quotation that has begun; it is ended. Nothing in it acts. */
export function encodeForBash(text: string, quote: Quote): string {
  if (quote === '' && /^[\w@%+=:,./-]*$/.test(text)) return text
  const mark = quote === '"' ? '"' : "'"
  const body = (mark === '"' ? text.replaceAll(/[\\"$`]/g, String.raw`\$&`) : text.replaceAll("'", String.raw`'\''`))
    // Not the history either.
    .replaceAll('!', mark === '"' ? `"'!'"` : '!')
    // What could steer the terminal that shows it.
    .replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, (run) => {
      const bytes = [...Buffer.from(run)].map((byte) => String.raw`\x${byte.toString(16).padStart(2, '0')}`)
      return `${mark}$'${bytes.join('')}'${mark}`
    })
  return quote === '' ? `'${body}'` : `${body}${mark}`
}
