import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { setStage } from '../stage.mjs'

export const about = 'a holder is killed with SIGKILL: how long until somebody else has what it wanted'

export async function* tables(bench) {
  const rounds = bench.rounds(20, 3)
  const stage = await setStage(bench)
  try {
    yield* leaseTables(bench, stage, rounds)
  } finally {
    await stage.close()
  }
  yield await lockTable(bench, rounds)
}

async function* leaseTables(bench, stage, rounds) {
  const beside = await stage.client()
  yield {
    title: 'A lease holder dies before it sends: from the kill to the token of another process',
    unit: 'ms',
    baseline: 'authkeep',
    rounds,
    warmUps: 1,
    contenders: [{ name: 'authkeep', sample: () => leaseTaken(stage, beside) }],
    goals: [{ contender: 'authkeep', atMost: 500 }],
    notes: () => [`refreshes at the server: ${stage.server.counts().token.refresh_token}, of ${rounds + 1} expected`],
  }
  await beside.end()
  yield {
    title: 'The same by hand with proper-lockfile',
    unit: 'ms',
    baseline: 'by hand',
    rounds: bench.rounds(2, 1),
    contenders: [
      await bench.peers.contender('proper-lockfile', () => ({ name: 'by hand', sample: () => lockTakenByHand(stage) })),
    ],
  }
}

async function leaseTaken(stage, beside) {
  await stage.expire()
  const holder = await stage.client({ stopsWhenClaimed: true })
  holder.say('go')
  await holder.hear()
  beside.say('go')
  return fromKillTo(holder, () => tokenOf(beside))
}

async function tokenOf(process) {
  const answer = JSON.parse(await process.hear())
  if (answer.token === undefined) throw new Error(`no token: ${answer.error}`)
}

async function lockTakenByHand(stage) {
  await stage.expireByHand()
  const beside = await stage.handClient()
  const holder = await stage.handClient({ stopsWhenLocked: true })
  holder.say('go')
  await holder.hear()
  beside.say('go')
  const taken = await fromKillTo(holder, () => tokenOf(beside))
  await beside.end()
  return taken
}

async function lockTable({ dist, scratch }, rounds) {
  const path = join(scratch.directory('writers'), 'auth.json')
  const start = async (stopsInside) => {
    const words = [
      new URL('../children/writer.mjs', import.meta.url).pathname,
      JSON.stringify({ dist, path, stopsInside }),
    ]
    const child = scratch.talk(process.execPath, words)
    await child.hear()
    return child
  }
  const beside = await start(false)
  let last = 1
  const sample = async () => {
    const holder = await start(true)
    holder.say('go')
    await holder.hear()
    beside.say('go')
    return fromKillTo(holder, async () => {
      const { count } = JSON.parse(await beside.hear())
      if (count !== ++last) throw new Error(`counted ${count} instead of ${last}`)
    })
  }
  return {
    title: 'A lock holder dies inside its commit: from the kill to the acknowledged commit of the next',
    unit: 'ms',
    baseline: 'authkeep',
    rounds,
    warmUps: 1,
    contenders: [{ name: 'authkeep', sample, close: () => beside.end() }],
    goals: [{ contender: 'authkeep', atMost: 50 }],
  }
}

/** Kills a holder for whom somebody has been waiting for a while; from the signal to what that somebody then does. */
async function fromKillTo(holder, done) {
  await delay(150 + Math.random() * 100)
  const from = performance.now()
  const [, at] = await Promise.all([holder.end('SIGKILL'), done().then(() => performance.now())])
  return at - from
}
