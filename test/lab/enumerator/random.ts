/** A seeded generator (mulberry32): the same states on every run. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/**
 * Every choice of one option out of each of `sizes` while there are no more than `bound`; beyond that the first and
 * the last of each, and random ones up to the bound.
 */
export function* choices(sizes: readonly number[], bound: number, random: () => number): Generator<readonly number[]> {
  const total = sizes.reduce((product, size) => product * size, 1)
  if (total > bound) {
    yield sizes.map(() => 0)
    yield sizes.map((size) => size - 1)
    for (let n = 2; n < bound; n++) yield sizes.map((size) => Math.floor(random() * size))
    return
  }
  const choice = sizes.map(() => 0)
  for (let n = 0; n < total; n++) {
    yield [...choice]
    for (let place = 0; place < sizes.length; place++) {
      choice[place]!++
      if (choice[place]! < sizes[place]!) break
      choice[place] = 0
    }
  }
}
