import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const directory = fileURLToPath(new URL('results/', import.meta.url))

/** Writes what was measured as `results/<case>.json` and `.md`, and returns the Markdown. */
export function report(name, about, environment, tables) {
  mkdirSync(directory, { recursive: true })
  const text = [
    `# ${name}: ${about}`,
    'Medians of interleaved rounds. Times are of one machine on one day; the ratios are what counts.',
    Object.entries(environment)
      .map(([key, value]) => `- ${key}: ${value}`)
      .join('\n'),
    ...tables.map(section),
  ].join('\n\n')
  writeFileSync(join(directory, `${name}.json`), `${JSON.stringify({ name, about, environment, tables }, null, 2)}\n`)
  writeFileSync(join(directory, `${name}.md`), `${text}\n`)
  return text
}

function section({ title, unit, baseline, rounds, rows, goals, notes }) {
  const head = `| ${unit} | median | p10 – p90 | × ${baseline} |\n| --- | ---: | ---: | ---: |`
  const body = rows.map((row) =>
    row.absent
      ? `| ${row.name} | not measured: ${row.absent} | | |`
      : `| ${row.name} | ${digits(row.median)} | ${digits(row.p10)} – ${digits(row.p90)} | ${row.ratio === null ? '–' : row.ratio.toFixed(2)} |`,
  )
  const lines = [...goals.map(goalText), ...notes].map((line) => `- ${line}`)
  return [
    `## ${title} (${rounds} rounds)`,
    [head, ...body].join('\n'),
    ...(lines.length > 0 ? [lines.join('\n')] : []),
  ].join('\n\n')
}

function goalText({ contender, atMost, times, over, value, isMet }) {
  const relation = times !== undefined ? ` × ${times}` : over !== undefined ? ` more than ${over}` : ''
  const what = `${contender} at most ${atMost}${relation}`
  if (isMet === null) return `Goal: ${what}: could not be measured`
  return `Goal: ${what}: ${isMet ? 'met' : 'NOT met'} (${digits(value)})`
}

const digits = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3))
