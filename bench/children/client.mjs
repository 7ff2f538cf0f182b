// One process that asks authkeep for a token at the word "go" and answers with a line of JSON. It can be made to stop
// dead once it has claimed the refresh. Argument: JSON { dist, path, provider, url, stopsWhenClaimed }.
import { createInterface } from 'node:readline'

const { dist, path, provider, url, stopsWhenClaimed } = JSON.parse(process.argv[2])
const { fileBackend, openStore, TokenBroker } = await import(`${dist}/index.js`)
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`)

const backend = fileBackend({ path })
if (stopsWhenClaimed) {
  const commit = backend.commit.bind(backend)
  backend.commit = async (changes) => {
    const result = await commit(changes)
    if (!changes.some(({ next }) => next?.lease != null && next.lease.sentAt === null)) return result
    say({ stopped: true })
    return new Promise(() => {})
  }
}
const store = await openStore({ backend })
const broker = new TokenBroker({ store, providers: [provider] })
say({ ready: true })
for await (const _ of createInterface({ input: process.stdin })) {
  try {
    say({ token: (await broker.getToken(url)).reveal() })
  } catch (error) {
    say({ error: error.code ?? String(error) })
  }
}
