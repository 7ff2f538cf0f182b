import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = fileURLToPath(new URL('.', import.meta.url))

/** The Markdown of a case. */
export function asText({ name, about, environment, tables, failure }) {
  return [
    `# ${name}: ${about}`,
    'Medians of interleaved rounds. Times are of one machine on one day; the ratios are what counts.',
    Object.entries(environment)
      .map(([key, value]) => `- ${key}: ${value}`)
      .join('\n'),
    ...tables.map((table) => section(table)),
    ...(failure === undefined ? [] : [`Not run to the end: ${failure}`]),
  ].join('\n\n')
}

/** Writes what was measured, one file of JSON and one of Markdown for each case, and the summary of a complete run. */
export function write(results, { isComplete, isRecorded }) {
  for (const folder of isRecorded ? ['results', 'recorded'] : ['results']) {
    const directory = join(here, folder)
    mkdirSync(directory, { recursive: true })
    for (const result of results) {
      writeFileSync(join(directory, `${result.name}.json`), `${JSON.stringify(result, null, 2)}\n`)
      writeFileSync(join(directory, `${result.name}.md`), `${asText(result)}\n`)
    }
    if (isComplete) writeFileSync(join(directory, 'README.md'), `${summary(results)}\n`)
  }
}

/** Lines about contenders of ours that are more than twice as slow, beside their baseline, as when it was recorded. */
export function comparedWithRecorded({ name, tables }) {
  const path = join(here, 'recorded', `${name}.json`)
  if (!existsSync(path)) return []
  const recorded = JSON.parse(readFileSync(path, 'utf8')).tables
  return tables.flatMap(({ title, rows }) =>
    rows.flatMap(({ name: contender, ratio }) => {
      const same = recorded.find((table) => table.title === title)?.rows.find((row) => row.name === contender)
      const before = same?.ratio
      const isWorse = contender.startsWith('authkeep') && before && ratio > 2 * before
      return isWorse ? [`${name}: ${contender}: ${ratio.toFixed(2)}, recorded ${before.toFixed(2)}`] : []
    }),
  )
}

/** One table over all cases: who is first, by how much before the next, and whether the goals were met. */
export function summary(results) {
  const head = '| case | what | first | × of the next | goals |\n| --- | --- | --- | ---: | --- |'
  const rows = results.flatMap(({ name, tables, failure }) => [
    ...tables.map(({ title, rows, goals }) => {
      const [first, next] = rows.filter(({ absent, failed }) => !absent && !failed).sort((a, b) => a.median - b.median)
      const ratio = next === undefined ? '–' : `${(next.median / first.median).toFixed(2)} (${next.name})`
      return `| ${name} | ${title} | ${first?.name ?? 'nothing was run'} | ${ratio} | ${verdict(goals)} |`
    }),
    ...(failure === undefined ? [] : [`| ${name} | not run to the end: ${failure} | | | |`]),
  ])
  return ['# All cases', [head, ...rows].join('\n')].join('\n\n')
}

function verdict(goals) {
  if (goals.length === 0) return 'none'
  if (goals.some(({ isMet }) => isMet === false)) return 'NOT met'
  return goals.every(({ isMet }) => isMet) ? 'met' : 'could not be measured'
}

/** A table with its goals and notes, under a heading. */
export function section({ title, unit, baseline, rounds, rows, goals, notes }, heading = '##') {
  const head = `| ${unit} | median | p10 – p90 | × ${baseline} |\n| --- | ---: | ---: | ---: |`
  const body = rows.map((row) =>
    row.absent
      ? `| ${row.name} | not run: ${row.absent} | | |`
      : `| ${row.name}${row.failed ? ' (failed)' : ''} | ${digits(row.median)} | ${digits(row.p10)} – ${digits(row.p90)} | ${row.ratio === null ? '–' : row.ratio.toFixed(2)} |`,
  )
  const lines = [...goals.map(goalText), ...notes].map((line) => `- ${line}`)
  return [
    `${heading} ${title} (${rounds} rounds)`,
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
