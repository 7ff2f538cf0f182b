import { timed } from '../runner.mjs'
import { setStage } from '../stage.mjs'

export const about = '8 processes, one expired rotating token, and an endpoint that takes 50 ms'

const processes = 8

export async function* tables(bench) {
  const stage = await setStage(bench)
  try {
    yield await stormTable(bench, stage)
  } finally {
    await stage.close()
  }
}

async function stormTable(bench, stage) {
  stage.server.setTokenDelay(50)
  const tallies = []
  const storm = async (name, start, expire) => {
    const clients = await Promise.all(Array.from({ length: processes }, () => start()))
    const tally = { name, storms: 0, refreshes: 0, served: 0, reuses: 0 }
    tallies.push(tally)
    const sample = async () => {
      await expire()
      const before = stage.server.counts()
      let answers = []
      const took = await timed(async () => {
        for (const client of clients) client.say('go')
        answers = await Promise.all(clients.map(async (client) => JSON.parse(await client.hear())))
      })
      const after = stage.server.counts()
      tally.storms++
      tally.refreshes += after.arrived - before.arrived
      tally.reuses += after.reuse - before.reuse
      tally.served += answers.filter(({ token }) => token !== undefined && token !== 'expired').length
      return took
    }
    return { name, sample, close: () => Promise.all(clients.map((client) => client.end())) }
  }
  return {
    title: 'From the start until the last of 8 has its token',
    unit: 'ms',
    baseline: 'by hand, proper-lockfile',
    rounds: bench.rounds(20, 3),
    warmUps: 1,
    contenders: [
      await storm('authkeep', stage.client, stage.expire),
      await bench.peers.contender('proper-lockfile', () =>
        storm('by hand, proper-lockfile', stage.handClient, stage.expireByHand),
      ),
    ],
    goals: [{ contender: 'authkeep', atMost: 1, times: 'by hand, proper-lockfile' }],
    notes: () =>
      tallies.map(
        ({ name, storms, refreshes, served, reuses }) =>
          `${name}: ${refreshes} token requests in ${storms} storms, ${served} of ${storms * processes} served, ${reuses} reuses`,
      ),
  }
}
