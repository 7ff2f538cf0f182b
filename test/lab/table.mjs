// The report of the crash laboratory as text.

const columns = ['attack', 'file system', 'states tried', 'lost', 'unrecovered', 'note']

/** One table: what was tried, where, how often, and what it cost. */
export function tableText(rows) {
  const lines = rows.map((row) => {
    if ('notRun' in row) return [row.attack, row.fs ?? '', '', '', '', `not run: ${row.notRun}`]
    if ('broken' in row) return [row.attack, '', '', '', '', `BROKEN: ${row.broken.split('\n')[0]}`]
    const { subject, attack, fs, states, lost, unrecovered, note } = row
    return [
      subject === undefined ? attack : `${attack} [${subject}]`,
      fs,
      String(states),
      String(lost),
      String(unrecovered),
      note,
    ]
  })
  const widths = columns.map((name, n) => Math.max(name.length, ...lines.map((line) => (n === 5 ? 4 : line[n].length))))
  const text = (cells) =>
    cells
      .map((cell, n) => (n >= 2 && n <= 4 ? cell.padStart(widths[n]) : cell.padEnd(widths[n])))
      .join('  ')
      .trimEnd()
  return [text(columns), text(widths.map((width) => '-'.repeat(width))), ...lines.map(text)].join('\n')
}

/** What a stranger must know to read the table. */
export const legend = `lost          something that was acknowledged is gone, or what is there is torn; must be 0
unrecovered   a person has to help, an answer was wrong, or something was left behind; must be 0
[who]         the same attack on somebody else: most must lose, or the attack would prove nothing
not run       this machine does not permit it, or lacks a tool`

/** Measured figures, one a line. */
export function figuresText(figures) {
  const width = Math.max(0, ...figures.map(([name]) => name.length))
  return figures.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n')
}
