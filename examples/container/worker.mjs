// Calls API_URL now and then, as whoever is logged in. Nobody has to be: until then it says what to run.
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { homeDirectory, isAuthkeepError, loadProviders, openStore, TokenBroker } from 'authkeep'

const { API_URL: url = '', EVERY_MS: everyMs = '60000' } = process.env
const stop = new AbortController()
// The kernel does nothing with a signal to process 1 that the program does not listen for.
for (const name of ['SIGTERM', 'SIGINT']) process.once(name, () => stop.abort())

const { providers } = await loadProviders(join(homeDirectory(), 'providers'))
const store = await openStore()
const broker = new TokenBroker({ store, providers })
while (!stop.signal.aborted) {
  try {
    const response = await broker.fetch(url, { signal: stop.signal })
    await response.body?.cancel()
    console.log(response.status)
  } catch (error) {
    if (stop.signal.aborted) break
    if (!isAuthkeepError(error)) throw error
    console.error(`${error.remedy}: ${error.message}`)
  }
  await sleep(Number(everyMs), undefined, { signal: stop.signal }).catch(() => undefined)
}
// A refresh that has been sent is finished and saved first.
await broker.close()
await store.close()
