// Processes count together in one entry while they are killed, and stopped for longer than any lock lives, at random
// and in the middle of a commit. Each writes down, durably, what was acknowledged to it; nothing of that may be missing.
import * as fs from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { tally } from './lab.mjs'

const staleLockMs = 100
const processes = 6

/** @param {import('./lab.mjs').Lab} lab */
export async function* run(lab) {
  const seconds = lab.amount(30, 10)
  yield await storm(lab, 'SIGKILL and SIGSTOP at random', seconds, {})
  const noFence = lab.mutant('no-fence', [
    [/(const isStillOurs = \(\) =>|return) held\.isHeld\(\) &&[^;]*;/, '$1 true;'],
    [/isHeld: \(\) => .*,$/m, 'isHeld: () => true,'],
  ])
  yield await storm(lab, 'SIGKILL and SIGSTOP at random', 3 * seconds, {
    dist: noFence,
    subject: 'mutant without the fence',
    mustLose: true,
  })
  yield await stoppedBeforeRename(lab)
}

async function storm(lab, attack, seconds, { dist = lab.dist, subject, mustLose }) {
  const chance = lab.chance('chaos')
  const place = lab.directory('chaos')
  const path = join(place, 'store', 'auth.json')
  const logOf = (id) => join(place, `${id}.log`)
  const counts = { kills: 0, stops: 0, ownStops: 0, crashes: 0, lost: 0 }
  const told = []
  const needless = []
  let isOver = false

  const slots = Array.from({ length: processes }, (_, id) => ({ id, worker: start(id), isStopped: false }))
  function start(id) {
    fs.appendFileSync(logOf(id), '')
    return lab.worker('chaos.mjs', {
      dist,
      path,
      id,
      log: logOf(id),
      staleLockMs,
      seed: Math.floor(chance() * 2 ** 31),
    })
  }
  /** Listens to one process after the other in this slot. */
  async function attend(slot) {
    while (!isOver) {
      const { worker } = slot
      const line = await worker.next().catch((error) => ({ ended: error.message }))
      if (line.lost > 0) counts.lost += line.lost
      if (line.told !== undefined) told.push(line.told)
      if (line.needless !== undefined) needless.push(line.needless)
      if (line.stopping) {
        counts.ownStops++
        slot.isStopped = true
        void delay(2_000 + chance() * 1_000).then(() => {
          worker.child.kill('SIGCONT')
          if (slot.worker === worker) slot.isStopped = false
        })
      }
      if (line.ended === undefined) continue
      const { signal } = await worker.gone
      if (isOver) return
      if (signal !== 'SIGKILL') {
        counts.crashes++
        told.push(line.ended)
      }
      slot.isStopped = false
      slot.worker = start(slot.id)
    }
  }
  const attended = slots.map(attend)

  const from = performance.now()
  const until = from + seconds * 1_000
  // A peer that must lose has done so when the first number is missing; until then it gets more time.
  while (performance.now() < until && !(mustLose && counts.lost > 0)) {
    await delay(100 + chance() * 250)
    const slot = slots[Math.floor(chance() * slots.length)]
    if (slot.isStopped) continue
    if (chance() < 0.3) {
      counts.kills++
      slot.worker.child.kill('SIGKILL')
    } else {
      const { worker } = slot
      counts.stops++
      slot.isStopped = true
      worker.child.kill('SIGSTOP')
      void delay(300 + chance() * 2_700).then(() => {
        worker.child.kill('SIGCONT')
        if (slot.worker === worker) slot.isStopped = false
      })
    }
  }
  isOver = true
  const elapsed = ((performance.now() - from) / 1_000).toFixed(0)
  for (const { worker } of slots) worker.child.kill('SIGKILL')
  await Promise.all(attended)

  // The model: what was acknowledged to each process is the least that must be there.
  const { fileBackend } = await lab.library('index.js')
  const backend = fileBackend({ path, staleLockMs })
  const final = (await backend.read('p:shared'))?.value ?? {}
  await backend.close()
  let acknowledged = 0
  for (const { id } of slots) {
    const last = Number(fs.readFileSync(logOf(id), 'utf8').trimEnd().split('\n').at(-1) ?? 0)
    acknowledged += last
    counts.lost += Math.max(0, last - (final[`n${id}`] ?? 0))
  }
  const { kills, stops, ownStops, crashes, lost } = counts
  return {
    ...{
      attack,
      subject,
      mustLose,
      fs: lab.kindOf(lab.root),
      states: acknowledged,
      lost,
      unrecovered: crashes + needless.length,
    },
    note: `acknowledged increments; ${processes} processes, ${elapsed} s, ${kills} SIGKILL, ${stops} SIGSTOP at random and ${ownStops} between lock and rename, ${crashes} crashes${needless.length > 0 ? `; ${needless.length} failed with nothing wrong: ${tally(needless)}` : ''}${told.length > 0 ? `; told: ${tally(told)}` : ''}`,
  }
}

/** Between the last look at the lock and rename(2) no fence holds; the second look finds out, and the copy knows what was there. */
async function stoppedBeforeRename(lab) {
  const path = join(lab.directory('limit'), 'auth.json')
  await lab.fill(path, 2)
  const sleeper = lab.worker('sleeper.mjs', { path, key: 'p:00', staleLockMs })
  await sleeper.next()
  const { fileBackend } = await lab.library('index.js')
  const backend = fileBackend({ path, staleLockMs })
  const entry = await backend.read('p:01')
  await backend.commit([{ key: 'p:01', next: { token: 'acknowledged' }, expected: entry.revision }])
  sleeper.child.kill('SIGCONT')
  const answer = await sleeper.next()
  await sleeper.gone
  const now = await backend.read('p:01')
  await backend.close()
  const isLost = now?.value.token !== 'acknowledged'
  return {
    attack: 'stopped just before rename(2), after the last look at the lock',
    ...{ fs: lab.kindOf(lab.root), states: 1, lost: isLost ? 1 : 0, unrecovered: 0 },
    note: `woken after the lock had been taken over: the sleeper was told ${answer.told?.ok === true ? 'stored' : 'to read again'}, the other's acknowledged commit is ${isLost ? 'overwritten' : 'there'}`,
  }
}
