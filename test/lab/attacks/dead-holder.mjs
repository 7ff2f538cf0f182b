// A writer is killed while it holds the lock: how long until the next writer's commit is acknowledged? The quick run
// shows the time and judges none: it also runs where the machine is busy with something else.
import { join } from 'node:path'
import { median } from './lab.mjs'

const goalMs = 50

/** @param {import('./lab.mjs').Lab} lab */
export async function* run(lab) {
  const rounds = lab.amount(20, 6)
  for (const who of ['who comes later', 'who is waiting already']) {
    const times = []
    const problems = []
    const next = lab.worker('next-writer.mjs', {})
    await next.next()
    for (let round = 0; round < rounds; round++) {
      const path = join(lab.directory('dead'), 'auth.json')
      const holder = lab.worker('stuck-writer.mjs', { paths: [path] })
      await holder.next()
      if (who === 'who is waiting already') {
        next.say(path)
        await new Promise((resolve) => setTimeout(resolve, 60))
      }
      const killedAt = process.hrtime.bigint()
      const dead = holder.kill()
      if (who === 'who comes later') {
        await dead
        next.say(path)
      }
      const { at, error } = await next.next()
      if (error !== undefined) problems.push(error)
      else times.push(Number(BigInt(at) - killedAt) / 1e6)
      await dead
    }
    await next.end()
    const typical = median(times)
    const longest = Math.max(...times)
    lab.figure(
      `lock holder killed to acknowledged commit of one ${who}`,
      `median ${typical.toFixed(1)} ms, longest ${longest.toFixed(1)} ms of ${rounds}`,
    )
    yield {
      attack: `dead lock holder, next writer ${who.slice(4)}`,
      fs: lab.kindOf(lab.root),
      states: rounds,
      lost: 0,
      unrecovered: problems.length + (lab.quick || typical < goalMs ? 0 : 1),
      note: `median ${typical.toFixed(1)} ms, goal < ${goalMs} ms${problems.length > 0 ? `; ${problems[0]}` : ''}`,
    }
  }
}
