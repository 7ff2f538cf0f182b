// File systems with room for a part of the document only. authkeep must keep the old one and say ENOSPC. The plain
// library, called as everybody calls it, is shown beside it.
import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import { NotRun, tally, valueOf } from './lab.mjs'

const entries = 20
const width = 4000

const places = [
  { kind: 'ext4', make: (lab) => lab.image('ext4', 16, ['-q', '-F', '-m', '0', '-O', '^has_journal']) },
  { kind: 'ext4 with a journal', make: (lab) => lab.image('ext4', 32, ['-q', '-F', '-m', '0']) },
  { kind: 'btrfs', make: (lab) => lab.image('btrfs', 128, ['-q', '--mixed']) },
  { kind: 'tmpfs', make: (lab) => lab.mount(['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs'], 'small') },
]

/** @param {import('./lab.mjs').Lab} lab */
export async function* run(lab) {
  const { fileBackend } = await lab.library('index.js')
  const require = createRequire(pathToFileURL(join(lab.dist, 'index.js')))
  const writeFileAtomic = require('write-file-atomic')

  for (const { kind, make } of places) {
    let top
    try {
      top = make(lab)
    } catch (error) {
      if (!(error instanceof NotRun)) throw error
      yield { attack: 'nearly full disk', fs: kind, notRun: error.message }
      continue
    }
    const ours = { states: 0, lost: [], unrecovered: [], outcomes: [] }
    const theirs = { states: 0, lost: [], outcomes: [] }
    // From nothing free to room for both copies and the document, in steps of a page.
    const pages = Array.from({ length: lab.amount(48, 12) }, (_, n) => n * lab.amount(1, 4))
    for (const free of pages) {
      const path = join(lab.directory('store', top), 'auth.json')
      const revisions = await lab.fill(path, entries, width)
      const peer = path.replace('auth.json', 'peer.json')
      const old = fs.readFileSync(path)
      fs.writeFileSync(peer, old)
      const filler = fill(top, free)

      const backend = fileBackend({ path })
      ours.states++
      const error = await backend
        .commit([{ key: 'p:00', next: { token: 'new'.padEnd(2 * width, 'n') }, expected: revisions['p:00'] }])
        .then(
          () => null,
          (thrown) => thrown,
        )
      const outcome = error === null ? 'stored' : `${error.code} ${error.detail?.errno ?? ''}`.trim()
      ours.outcomes.push(outcome)
      const now = fs.readFileSync(path)
      if (error !== null && !now.equals(old)) ours.lost.push(`${outcome}, and the document has changed`)
      if (error === null && !(await isWhole(backend))) ours.lost.push('stored, and not whole')
      if (error !== null && error.detail?.errno !== 'ENOSPC') ours.unrecovered.push(`told ${outcome}`)

      theirs.states++
      const text = Buffer.concat([now, Buffer.from(' '.repeat(width))])
      const told = await writeFileAtomic(peer, text).then(
        () => 'resolved',
        (thrown) => `rejected ${thrown.code}`,
      )
      const left = fs.readFileSync(peer)
      const state = left.equals(text) ? 'whole' : left.equals(old) ? 'old' : 'TRUNCATED'
      theirs.outcomes.push(`${told}, ${state}`)
      if (state === 'TRUNCATED') theirs.lost.push(told)

      fs.unlinkSync(filler)
      // With room again the same store goes on.
      const entry = await backend.read('p:01')
      const again = await backend
        .commit([{ key: 'p:01', next: valueOf('p:01'), expected: entry?.revision ?? null }])
        .catch((thrown) => thrown)
      if (again.ok !== true) ours.unrecovered.push(`with room again: ${again.code ?? 'refused'}`)
      await backend.close()
      fs.rmSync(join(path, '..'), { recursive: true })
    }
    lab.unmount(top)
    const { states, lost, unrecovered, outcomes } = ours
    const wrong = [...lost, ...unrecovered]
    yield {
      ...{ attack: 'nearly full disk', fs: kind, states, lost: lost.length, unrecovered: unrecovered.length },
      note: `${tally(outcomes)}${wrong.length > 0 ? `; ${tally(wrong)}` : ''}`,
    }
    yield {
      ...{ attack: 'nearly full disk', subject: 'plain write-file-atomic', fs: kind, states: theirs.states },
      ...{ lost: theirs.lost.length, unrecovered: 0, note: tally(theirs.outcomes) },
    }
  }

  async function isWhole(backend) {
    const values = await Promise.all(
      Array.from({ length: entries - 1 }, (_, n) => `p:${String(n + 1).padStart(2, '0')}`).map(async (key) =>
        isDeepStrictEqual((await backend.read(key))?.value, valueOf(key, width)),
      ),
    )
    return values.every(Boolean)
  }
}

/** Takes all the room there is but so many pages. */
function fill(top, pages) {
  const reserve = join(top, 'reserve')
  if (pages > 0) {
    fs.writeFileSync(reserve, Buffer.alloc(pages * 4096, 7))
    settle(top)
  }
  const filler = join(top, 'filler')
  const fd = fs.openSync(filler, 'w')
  let size = 0
  for (let piece = 2 ** 20; piece >= 512; ) {
    try {
      size += fs.writeSync(fd, Buffer.alloc(piece, 7), 0, piece, size)
    } catch (error) {
      if (error.code !== 'ENOSPC') throw error
      piece /= 2
    }
  }
  fs.closeSync(fd)
  settle(top)
  if (pages > 0) fs.unlinkSync(reserve)
  settle(top)
  return filler
}

/** What is freed can be used only once the file system has written down that it is. */
function settle(top) {
  spawnSync('sync', ['-f', top])
}
