// One process of the process tests: asks for a token at the word "go", and can be told to stop dead at a point.
// Arguments: JSON { path, provider, url, stopAt?, isCareless?, once?, timing? }. Prints JSON lines.
import { createInterface } from 'node:readline'
import { fileBackend, openStore, TokenBroker } from '../../dist/index.js'

const { path, provider, url, stopAt, isCareless = false, once, timing = {} } = JSON.parse(process.argv[2])
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`)

/** The backend, except that after a commit for which `isPoint` holds nothing happens any more. */
function stoppingAfter(backend, isPoint) {
  const commit = backend.commit.bind(backend)
  backend.commit = async (changes) => {
    const result = await commit(changes)
    if (!changes.some(({ next }) => isPoint(next))) return result
    say({ stopped: stopAt })
    return new Promise(() => {})
  }
  return backend
}

const points = {
  claimed: (next) => next?.lease != null && next.lease.sentAt === null && next.lease.padding !== undefined,
  sent: (next) => next?.lease?.sentAt != null,
}
const backend = fileBackend({ path })
const store = await openStore({ backend: stopAt === undefined ? backend : stoppingAfter(backend, points[stopAt]) })
const broker = new TokenBroker({ store, providers: [provider], timing })
if (once !== undefined) process.once(once, () => say({ heard: once }))
say({ ready: process.pid })
for await (const line of createInterface({ input: process.stdin })) {
  if (line !== 'go') break
  try {
    const token = await broker.getToken(url)
    say({ token: token.reveal(), expiresAt: token.expiresAt })
  } catch (error) {
    say({ error: error.code ?? String(error), detail: error.detail })
  }
  if (isCareless) break
}
// A careless program closes nothing: it ends when it has nothing left to do.
if (isCareless) process.stdin.destroy()
else {
  await broker.close()
  await store.close()
}
