/**
 * One thing to be measured beside others. `sample` does it once and returns how long it took, in the unit of its table;
 * without `sample`, `absent` says why it could not be had.
 *
 * @typedef {{ name: string, sample?: () => number | Promise<number>, absent?: string, close?: () => unknown }} Contender
 *
 * @typedef {{ contender: string, atMost: number, times?: string, over?: string }} Goal
 *   with `times`: as a multiple of that contender; with `over`: more than that contender
 *
 * @typedef {object} Table
 * @property {string} title
 * @property {string} unit
 * @property {string} baseline name of the contender that the ratios are to
 * @property {number} rounds
 * @property {number} [warmUps] rounds that are not counted
 * @property {readonly Contender[]} contenders
 * @property {readonly Goal[]} [goals]
 * @property {() => unknown} [settle] called before each sample, not measured: what one left to do is not the next one's
 * @property {() => ReadonlySet<string>} [failed] names of those that did not do what was asked of them, however fast
 * @property {() => readonly string[] | Promise<readonly string[]>} [notes] what else was seen; called after the last round
 */

/**
 * Every contender once a round, in another order each time: what disturbs the machine disturbs all of them, and nobody
 * always comes after the same one.
 *
 * @param {Table} table
 */
export async function measure(table) {
  const present = table.contenders.filter(({ sample }) => sample !== undefined)
  const samples = new Map(present.map(({ name }) => [name, /** @type {number[]} */ ([])]))
  const { warmUps = 0 } = table
  let notes
  try {
    for (let round = -warmUps; round < table.rounds; round++) {
      for (const { name, sample } of shuffled(present)) {
        await table.settle?.()
        const value = await sample()
        if (round >= 0) samples.get(name).push(value)
      }
    }
    notes = await table.notes?.()
  } finally {
    for (const { close } of table.contenders) await close?.()
  }
  const failed = table.failed?.() ?? new Set()
  const rows = table.contenders.map(({ name, absent }) => ({
    ...{ name, ...(failed.has(name) && { failed: true }) },
    ...(absent ? { absent } : summary(samples.get(name))),
  }))
  const medianOf = (name) => rows.find((row) => row.name === name)?.median
  const baseline = medianOf(table.baseline)
  return {
    title: table.title,
    unit: table.unit,
    baseline: table.baseline,
    rounds: table.rounds,
    rows: rows.map((row) =>
      row.absent ? row : { ...row, ratio: baseline === undefined ? null : row.median / baseline },
    ),
    goals: (table.goals ?? []).map((goal) => judged(goal, medianOf)),
    notes: notes ?? [],
  }
}

function shuffled(list) {
  return list
    .map((each) => ({ each, place: Math.random() }))
    .sort((a, b) => a.place - b.place)
    .map(({ each }) => each)
}

function judged(goal, medianOf) {
  const median = medianOf(goal.contender)
  const other = medianOf(goal.times ?? goal.over ?? goal.contender)
  if (median === undefined || other === undefined) return { ...goal, value: null, isMet: null }
  const value = goal.times !== undefined ? median / other : goal.over !== undefined ? median - other : median
  return { ...goal, value, isMet: value <= goal.atMost }
}

function summary(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]
  return { median: at(0.5), p10: at(0.1), p90: at(0.9), samples: sorted.length }
}

/** How long an action takes, in milliseconds. */
export async function timed(action) {
  const from = performance.now()
  await action()
  return performance.now() - from
}
