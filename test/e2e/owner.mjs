// A program that refreshes as pi does: under proper-lockfile on the file, reading again once it has the lock, and
// writing its entry anew, in place. Arguments: JSON { path, tokenEndpoint, clientId, staleMs }. Prints JSON lines.
import { readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import lockfile from 'proper-lockfile'

const { path, tokenEndpoint, clientId, staleMs } = JSON.parse(process.argv[2])
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`)
const retries = { retries: 100, factor: 1, minTimeout: 100, maxTimeout: 200, randomize: true }

async function token() {
  const seen = JSON.parse(readFileSync(path, 'utf8')).demo
  if (Date.now() < seen.expires) return seen.access
  let isCompromised = false
  const release = await lockfile.lock(path, { retries, stale: staleMs, onCompromised: () => (isCompromised = true) })
  try {
    const file = JSON.parse(readFileSync(path, 'utf8'))
    if (Date.now() < file.demo.expires) return file.demo.access
    const response = await fetch(tokenEndpoint, {
      method: 'POST',
      body: new URLSearchParams({ grant_type: 'refresh_token', refresh_token: file.demo.refresh, client_id: clientId }),
    })
    const answer = await response.json()
    if (!response.ok) throw new Error(answer.error)
    if (isCompromised) throw new Error('compromised')
    const { access_token: access, refresh_token: refresh, expires_in: seconds } = answer
    const demo = { type: 'oauth', access, refresh, expires: Date.now() + seconds * 1000 }
    writeFileSync(path, JSON.stringify({ ...file, demo }, null, 2))
    return access
  } finally {
    await release().catch(() => undefined)
  }
}

say({ ready: process.pid })
for await (const line of createInterface({ input: process.stdin })) {
  if (line !== 'go') break
  try {
    say({ token: await token() })
  } catch (error) {
    say({ error: error.message })
  }
}
