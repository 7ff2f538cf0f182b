// Chooses power cuts from the log of a disk. Which bytes they leave is decided here; disk.c only puts them together.
const headBytes = 16

/** @returns {{ kind: 'W' | 'F' | 'M', sectors: number, text: string }[]} */
export function readLog(bytes) {
  const records = []
  for (let at = 0; at < bytes.length; ) {
    const kind = String.fromCharCode(bytes.readUInt32LE(at))
    const length = bytes.readUInt32LE(at + 4)
    const text = kind === 'M' ? bytes.toString('utf8', at + headBytes, at + headBytes + length) : ''
    records.push({ kind, sectors: length / 512, text })
    at += headBytes + length
  }
  return records
}

/** For every position of the log, the newest commit that had been started and the newest that was acknowledged. */
export function promisesOf(records) {
  const promises = [{ started: -1, acknowledged: -1 }]
  for (const { text } of records) {
    const [word, n] = text.split(' ')
    const before = promises.at(-1)
    if (word === 'start') promises.push({ ...before, started: Number(n) })
    else if (word === 'ack') promises.push({ ...before, acknowledged: Number(n) })
    else promises.push(before)
  }
  return promises
}

/** Numbers in [0, 1), the same for the same seed (splitmix32). */
export function randomFrom(seed) {
  let state = seed | 0
  return () => {
    state = (state + 0x9e3779b9) | 0
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad)
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97)
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32
  }
}

/**
 * Where to cut: positions after the first mark, none twice before every one has had its turn. In sweeps from the first
 * to the last, because disks are put together fastest in that order; each sweep covers the whole time.
 */
export function* cutsIn(records, count, random) {
  const first = records.findIndex(({ kind }) => kind === 'M') + 1
  const positions = Array.from({ length: records.length - first + 1 }, (_, index) => first + index)
  const stride = Math.max(1, Math.round(positions.length / 100))
  for (let left = count; left > 0; ) {
    for (const start of shuffled(
      Array.from({ length: stride }, (_, index) => index),
      random,
    )) {
      for (let index = start; index < positions.length && left > 0; index += stride, left--) yield positions[index]
    }
  }
}

function shuffled(list, random) {
  for (let index = list.length - 1; index > 0; index--) {
    const other = Math.floor(random() * (index + 1))
    ;[list[index], list[other]] = [list[other], list[index]]
  }
  return list
}

/**
 * What a power cut at a position leaves. All that was flushed is there. Of the writes since, which the disk had
 * acknowledged but may have held in its cache: all of them, or any, and perhaps only some sectors of one. `kept` names
 * them as disk.c wants it: the number of the record, and of a torn one the first sector and how many.
 */
export function crashState(records, cut, random) {
  let flushed = cut
  while (flushed > 0 && records[flushed - 1].kind !== 'F') flushed--
  const isPrefix = random() < 0.3
  const share = isPrefix ? 1 : [0.15, 0.5, 0.85][Math.floor(random() * 3)]
  const isTorn = !isPrefix && random() < 0.5
  let pending = 0
  const kept = []
  for (let number = flushed; number < cut; number++) {
    const { kind, sectors } = records[number]
    if (kind !== 'W') continue
    pending++
    if (random() >= share) continue
    const first = Math.floor(random() * sectors)
    const length = 1 + Math.floor(random() * (sectors - first))
    kept.push(isTorn && random() < 0.3 ? `${number}.${first}.${length}` : `${number}`)
  }
  return { cut, flushed, pending, kept: kept.join(' ') }
}
