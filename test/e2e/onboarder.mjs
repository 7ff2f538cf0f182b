// Adds three profiles to a store in one onboarding. Arguments: JSON { path, provider }. Says when it begins, when
// the last key is there and the commit begins, and when it is done, as JSON lines; whoever started it may kill it at any moment.
import { apiKeyFlow, openStore, TokenBroker } from '../../dist/index.js'

const { path, provider } = JSON.parse(process.argv[2])
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`)
const store = await openStore({ path })
const broker = new TokenBroker({ store, providers: [provider] })
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
let missing = 3
const type = async (key) => {
  await pause(2)
  if (--missing === 0) say({ commits: performance.now() - startedAt })
  return key
}
const flow = (key) => apiKeyFlow({ key: () => type(key) })
say({ begins: true })
const startedAt = performance.now()
await broker.onboard(
  ['x', 'y', 'z'].map((account) => ({ target: { provider: provider.id, account }, flow: flow(`sk-${account}`) })),
)
say({ done: performance.now() - startedAt })
await broker.close()
await store.close()
// Stays until it is told to go, so that there is always somebody to kill.
process.stdin.resume()
