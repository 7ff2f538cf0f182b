import { createServer } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'

/** A strict token endpoint: a refresh token serves once. At most so many at a time, each as long as the others. */
export async function startTokenServer({ latencyMs, parallelism = Number.POSITIVE_INFINITY }) {
  const counts = { served: 0, reuse: 0 }
  const spent = new Set()
  const waiting = []
  let [serial, free] = [0, parallelism]
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    if (free === 0) await new Promise((resolve) => waiting.push(resolve))
    else free--
    await delay(latencyMs)
    const next = waiting.shift()
    if (next === undefined) free++
    else next()
    const token = new URLSearchParams(body).get('refresh_token')
    const isReuse = spent.has(token)
    spent.add(token)
    counts[isReuse ? 'reuse' : 'served']++
    const [access_token, refresh_token] = [`at-${++serial}`, `rt-${serial}`]
    const answer = { access_token, token_type: 'Bearer', expires_in: 300, refresh_token, scope: 'files' }
    response.writeHead(isReuse ? 400 : 200, { 'content-type': 'application/json' })
    response.end(JSON.stringify(isReuse ? { error: 'invalid_grant' } : answer))
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    ...{ issuer: `http://127.0.0.1:${server.address().port}`, counts },
    stop() {
      server.closeAllConnections()
      server.close()
    },
  }
}
