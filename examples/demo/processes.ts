import type { Child } from './child.ts'
import { hold, type Scene } from './play.ts'
import { fingerprint } from './secrecy.ts'
import { call, expireTokens, type Stage } from './stage.ts'

/** So slow that all of them have asked before the first is answered. */
const answerAfterMs = 300
const count = 8

interface Answer {
  readonly token: string
  readonly askedAt: number
  readonly servedAt: number
}

export function eightProcesses(stage: Stage): Scene {
  return {
    name: 'eight-processes',
    title: 'Eight processes need a fresh token at once, and the refresh token works once.',
    async play(voice) {
      const { server, urls } = stage
      await stage.visit((store) => expireTokens(store))
      const before = server.counts()
      const refreshesBefore = stage.refreshes()
      server.setTokenDelay(answerAfterMs)
      voice.say(
        `All access tokens have expired. A refresh token that this server sees twice ends the login. It is told to take ${answerAfterMs} ms an answer, so that the eight meet.`,
      )

      const workers = Array.from({ length: count }, () => stage.startScript('worker', urls.files))
      const ready = await Promise.all(workers.map((worker) => worker.line()))
      hold(
        ready.every((line) => line === 'ready'),
        'not every process got as far as asking',
      )
      for (const worker of workers) worker.end('go\n')
      const answers = await Promise.all(workers.map(answerOf)).finally(() => server.setTokenDelay(0))

      const refreshes = stage.refreshes() - refreshesBefore
      const reuse = server.counts().reuse - before.reuse
      const asked = answers.map(({ askedAt }) => askedAt)
      const askedWithinMs = Math.max(...asked) - Math.min(...asked)
      for (const [index, { token, askedAt, servedAt }] of answers.entries()) {
        voice.quote(`process ${index + 1}  served ${token}  after ${servedAt - askedAt} ms`)
      }
      voice.say(
        `They asked within ${askedWithinMs} ms of each other. The server counted ${refreshes} refresh and ${reuse} reuse.`,
      )
      const tokens = [...new Set(answers.map(({ token }) => token))]
      hold(refreshes === 1, `the server counted ${refreshes} refreshes`)
      hold(reuse === 0, `the server counted ${reuse} reuses`)
      hold(tokens.length === 1, `the processes were given ${tokens.length} different tokens`)
      const [status, stored] = await stage.visit(async (_, broker) => {
        const token = await broker.getToken(urls.files)
        return [await call(urls.files, token), fingerprint(token.reveal())] as const
      })
      hold(status === 200 && stored === tokens[0], `the API answered ${status} to the stored token`)
      voice.say(`${answers.length} of ${count} have the same token, and GET /files with it is ${status}.`)
      return { processes: count, served: answers.length, token: stored, refreshes, reuse, askedWithinMs, status }
    },
  }
}

async function answerOf(worker: Child, index: number): Promise<Answer> {
  const line = await worker.line()
  const { code } = await worker.ended
  hold(line !== null && code === 0, `process ${index + 1} was not served and ended with ${code ?? 'a signal'}`)
  return JSON.parse(line) as Answer
}
