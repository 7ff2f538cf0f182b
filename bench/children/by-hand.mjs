// The same client as a careful person writes it with proper-lockfile and write-file-atomic: lock, read again, refresh,
// write, unlock. Argument: JSON { path, tokenUrl, clientId, resource, stopsWhenLocked }.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'

const peers = createRequire(new URL('../peers/package.json', import.meta.url))
const lockfile = peers('proper-lockfile')
const writeFileAtomic = peers('write-file-atomic')
const { path, tokenUrl, clientId, resource, stopsWhenLocked } = JSON.parse(process.argv[2])
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`)
const read = () => JSON.parse(readFileSync(path, 'utf8'))
const isAlive = ({ expiresAt }) => expiresAt > Date.now() + 30_000

async function getToken() {
  const seen = read()
  if (isAlive(seen)) return seen.accessToken
  const release = await lockfile.lock(path, { retries: { retries: 10_000, minTimeout: 5, maxTimeout: 25 } })
  if (stopsWhenLocked) {
    say({ stopped: true })
    await new Promise(() => {})
  }
  try {
    const now = read()
    if (isAlive(now)) return now.accessToken
    const body = new URLSearchParams({
      grant_type: 'refresh_token',
      refresh_token: now.refreshToken,
      client_id: clientId,
      resource,
    })
    const response = await fetch(tokenUrl, { method: 'POST', body })
    const answer = await response.json()
    if (!response.ok) throw new Error(answer.error)
    const next = {
      accessToken: answer.access_token,
      refreshToken: answer.refresh_token ?? now.refreshToken,
      expiresAt: Date.now() + answer.expires_in * 1000,
    }
    await writeFileAtomic(path, JSON.stringify(next), { mode: 0o600 })
    return next.accessToken
  } finally {
    await release()
  }
}

say({ ready: true })
for await (const _ of createInterface({ input: process.stdin })) {
  try {
    say({ token: await getToken() })
  } catch (error) {
    say({ error: String(error) })
  }
}
