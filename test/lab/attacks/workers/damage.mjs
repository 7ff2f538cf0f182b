// Damages stores and reads them. Arguments: JSON { dist, kind, template, place, half, stride, seed, amount }. Prints
// one line { verdicts }.
import * as fs from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'

const { dist, kind, template, place, half, stride, seed, amount } = JSON.parse(process.argv[2])
const { fileBackend } = await import(`${dist}/index.js`)
const { systemFiles } = await import(`${dist}/store/contract.js`)
const good = JSON.parse(fs.readFileSync(join(template, 'auth.json'), 'utf8')).credentials
const keys = Object.keys(good)
const lanes = 48

/** The same for the same seed and case, whatever order they run in. */
function chanceOf(nth) {
  let state = Math.imul(seed ^ 0x9e3779b9, 2654435761) ^ Math.imul(nth + 1, 40503)
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}

function flipped(bytes, nth) {
  const copy = Buffer.from(bytes)
  copy[nth] ^= 1 << Math.floor(chanceOf(nth)() * 8)
  return copy
}

/** One to three pieces cut out, doubled, zeroed, scrambled or exchanged. */
function edited(bytes, nth) {
  const chance = chanceOf(nth)
  let result = Buffer.from(bytes)
  for (let edits = 1 + Math.floor(chance() * 3); edits > 0; edits--) {
    const from = Math.floor(chance() * result.length)
    const to = Math.min(result.length, from + 1 + Math.floor(chance() ** 3 * 600))
    const piece = result.subarray(from, to)
    const changed = [
      () => Buffer.alloc(0),
      () => Buffer.concat([piece, piece]),
      () => Buffer.alloc(piece.length),
      () => Buffer.from(piece.map(() => Math.floor(chance() * 256))),
      () => Buffer.from(piece).reverse(),
    ][Math.floor(chance() * 5)]()
    result = Buffer.concat([result.subarray(0, from), changed, result.subarray(to)])
  }
  return result
}

const damages = { cut: (bytes, nth) => bytes.subarray(0, nth), flip: flipped, edit: edited }

async function verdictOf(path, files) {
  let recovered = false
  const backend = fileBackend({
    path,
    lockTimeoutMs: 5_000,
    onEvent: () => (recovered = true),
    ...(files ? { files } : {}),
  })
  try {
    const found = await backend.keys()
    let wrong = 0
    for (const key of keys) {
      const { rev: _, ...value } = good[key]
      const now = await backend.read(key).catch((error) => {
        // An entry that cannot be read says so, and hides no other.
        if (error.code !== 'store_corrupt') throw error
        return null
      })
      if (!isDeepStrictEqual(now?.value, value)) wrong++
    }
    if (wrong === 0) return { verdict: recovered ? 'recovered' : 'untouched' }
    if (found.length === 0) return { verdict: 'empty', what: 'no entry is left' }
    // Two members of one name are no document that any program writes; the parser keeps the last one and drops the other.
    if (hasTwins(path)) return { verdict: 'fewer', what: `two entries of one name, ${keys.length - found.length} gone` }
    if (found.length < keys.length) return { verdict: 'adopted, entries gone' }
    return { verdict: 'adopted' }
  } catch (error) {
    if (error.code === undefined) return { verdict: 'crashed', what: String(error.stack) }
    return { verdict: 'refused', what: `${error.code}: ${error.detail?.what ?? error.message}` }
  } finally {
    await backend.close()
  }
}

function hasTwins(path) {
  const names = fs.readFileSync(path, 'latin1').match(/^ {4}".*?": \{$/gm) ?? []
  return new Set(names).size < names.length
}

/** Another program has written the damaged bytes. */
async function written(nth) {
  const home = join(place, String(nth))
  fs.cpSync(template, home, { recursive: true })
  const path = join(home, 'auth.json')
  fs.writeFileSync(path, damages[kind](fs.readFileSync(path), nth))
  const verdict = await verdictOf(path)
  fs.rmSync(home, { recursive: true })
  return verdict
}

/** The disk gives back other bytes than were written, of the same inode with the same time stamps. */
async function rotten(nth, lane) {
  const path = join(place, `lane-${lane}`, 'auth.json')
  if (!fs.existsSync(path)) {
    const backend = fileBackend({ path })
    await backend.commit(keys.map((key) => ({ key, next: { ...good[key], rev: undefined }, expected: null })))
    await backend.close()
  }
  const { ino } = fs.statSync(path)
  const files = {
    ...systemFiles,
    read(at) {
      const found = systemFiles.read(at)
      if (at !== path || found === null || Number(found.stat.ino) !== ino) return found
      return { ...found, bytes: flipped(found.bytes, nth) }
    },
  }
  const verdict = await verdictOf(path, files)
  // With the bad block gone, what the recovery wrote must read back.
  if (verdict.verdict !== 'recovered') fs.rmSync(join(place, `lane-${lane}`), { recursive: true })
  return verdict
}

const waiting = Array.from({ length: amount }, (_, nth) => nth).filter((nth) => nth % (2 * stride) === half * stride)
const verdicts = []
await Promise.all(
  Array.from({ length: lanes }, async (_, lane) => {
    for (let nth = waiting.shift(); nth !== undefined; nth = waiting.shift()) {
      const verdict = kind === 'rot' ? await rotten(nth, lane) : await written(nth)
      verdicts.push({ ...verdict, what: verdict.what === undefined ? undefined : `at ${nth}: ${verdict.what}` })
    }
  }),
)
process.stdout.write(`${JSON.stringify({ verdicts })}\n`)
