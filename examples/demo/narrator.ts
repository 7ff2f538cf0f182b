import { styleText } from 'node:util'
import type { Facts, Scene } from './play.ts'

/** What a scene speaks with. */
export interface Voice {
  /** A sentence or two. */
  say(text: string): void
  /** What was run: a command line, or a call. */
  command(line: string): void
  /** What a program printed or a file holds, line by line. */
  quote(text: string): void
}

/** What the audience gets: a story, or facts. */
export interface Narrator extends Voice {
  open(text: string): void
  begin(scene: Scene): void
  holds(scene: Scene, facts: Facts): void
  fails(scene: Scene, reason: string): void
  close(text: string): void
}

type Sink = Pick<NodeJS.WriteStream, 'write'> & { readonly isTTY?: boolean }

/** One JSON object a scene, and nothing else. */
export function jsonNarrator(out: Sink): Narrator {
  const tell = (scene: Scene, ok: boolean, facts: Facts): void => {
    out.write(`${JSON.stringify({ scene: scene.name, ok, ...facts })}\n`)
  }
  const silence = (): void => undefined
  return {
    ...{ open: silence, begin: silence, say: silence, command: silence, quote: silence, close: silence },
    holds: (scene, facts) => tell(scene, true, facts),
    fails: (scene, reason) => tell(scene, false, { reason }),
  }
}

const columns = 80

/** A story for a terminal of 80 columns. Coloured only where somebody sees it and has not asked for none. */
export function textNarrator(out: Sink, env: NodeJS.ProcessEnv): Narrator {
  const isPlain = out.isTTY !== true || (env['NO_COLOR'] ?? '') !== '' || env['TERM'] === 'dumb'
  const paint = (style: Parameters<typeof styleText>[0], text: string): string =>
    // The look at the stream has been taken above; styleText's own would be at stdout.
    isPlain ? text : styleText(style, text, { validateStream: false })
  const print = (text: string, indent: number, style?: Parameters<typeof styleText>[0]): void => {
    for (const line of text.split('\n').flatMap((each) => wrap(each, columns - indent))) {
      out.write(`${' '.repeat(indent)}${style === undefined ? line : paint(style, line)}`.trimEnd().concat('\n'))
    }
  }
  let [number, held] = [0, 0]
  return {
    open: (text) => print(text, 0),
    begin({ name, title }) {
      number++
      out.write(`\n${paint('bold', `${number}. ${name}`)}\n`)
      print(title, 3, 'italic')
      out.write('\n')
    },
    say: (text) => print(text.replaceAll(/(\d) (?=m?s\b)/g, '$1\u00a0'), 3),
    command: (line) => print(line, 3, 'cyan'),
    quote: (text) => print(text.trimEnd(), 5, 'dim'),
    holds() {
      held++
      print('✓ holds', 3, 'green')
    },
    fails: (_, reason) => print(`✗ does not hold: ${reason}`, 3, 'red'),
    close(text) {
      out.write('\n')
      print(`${held} of ${number} scenes hold. ${text}`, 0, 'bold')
    },
  }
}

/** Lines no longer than `width`, broken between words; what follows the first is indented as it is. */
function wrap(text: string, width: number): readonly string[] {
  if (text.length <= width) return [text]
  const indent = /^ */.exec(text)?.[0] ?? ''
  const lines: string[] = []
  let line = indent
  for (const word of text.trim().split(' ')) {
    const isFirst = line === indent
    if (!isFirst && line.length + 1 + word.length > width) {
      lines.push(line)
      line = indent + word
    } else {
      line += isFirst ? word : ` ${word}`
    }
  }
  return [...lines, line]
}
