/**
 * The name that was probably meant: the one with the fewest edits, if they are few for the length of the word (a third
 * of it, or `limit`). Upper and lower case count as the same.
 */
export function nearestName(word: string, names: Iterable<string>, limit?: number): string | undefined {
  let best: string | undefined
  let least = (limit ?? Math.max(2, Math.floor(word.length / 3))) + 1
  for (const name of names) {
    const edits = editDistance(word.toLowerCase(), name.toLowerCase())
    if (edits < least && (edits < Math.min(word.length, name.length) || limit !== undefined))
      [best, least] = [name, edits]
  }
  return best
}

/** Levenshtein's distance, one row at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let above = 0; above < a.length; above++) {
    const next = [above + 1]
    for (let column = 0; column < b.length; column++) {
      const replaced = (row[column] ?? 0) + (a[above] === b[column] ? 0 : 1)
      next.push(Math.min(replaced, (row[column + 1] ?? 0) + 1, (next[column] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}
