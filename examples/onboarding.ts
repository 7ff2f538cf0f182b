// Sets up the logins that a program needs, all of them or none:
//   node onboarding.js [--no-browser] <provider.json> …
// What is there already and works is not asked for again. Ctrl-C at any moment changes nothing.
import { createInterface } from 'node:readline/promises'
import { parseArgs } from 'node:util'
import {
  isAuthkeepError,
  loadProvider,
  loopbackFlow,
  type OtherAccount,
  type OtherAccountDecision,
  openStore,
  TokenBroker,
} from 'authkeep'

const { values, positionals } = parseArgs({ allowPositionals: true, options: { 'no-browser': { type: 'boolean' } } })
const providers = await Promise.all(positionals.map((path) => loadProvider(path)))
const store = await openStore()
const broker = new TokenBroker({ store, providers })
const stop = new AbortController()
process.once('SIGINT', () => stop.abort())

const flow = loopbackFlow(
  values['no-browser'] === true ? { openBrowser: (url) => console.log(`Open ${url.href}`) } : {},
)

/** Somebody else has logged in than the one whose login is stored: a question for a person, never a guess. */
async function whoseIsIt({ provider, stored, arrived, suggestion }: OtherAccount): Promise<OtherAccountDecision> {
  if (!process.stdin.isTTY) return 'decline'
  const terminal = createInterface({ input: process.stdin, output: process.stdout })
  const who = `${provider} is set up for ${stored.name ?? stored.subject}, and this is ${arrived.name ?? arrived.subject}.`
  const answer = await terminal.question(`${who} Replace, keep both, or neither? [r/k/N] `, { signal: stop.signal })
  terminal.close()
  if (answer === 'k') return { account: suggestion }
  return answer === 'r' ? 'replace' : 'decline'
}

async function isSetUp(id: string): Promise<boolean> {
  const entries = await store.list({ provider: id })
  return entries.some(({ state = 'live' }) => state === 'live')
}

try {
  const done = await Promise.all(providers.map(({ id }) => isSetUp(id)))
  const missing = providers.filter((_, index) => done[index] === false)
  const profiles = missing.map(({ id }) => ({ target: { provider: id }, flow }))
  const stored =
    profiles.length === 0 ? [] : await broker.onboard(profiles, { signal: stop.signal, onOtherAccount: whoseIsIt })
  for (const { provider, account } of stored) console.log(`${provider}:${account} is set up.`)
  if (stored.length === 0) console.log('Everything is set up.')
} catch (error) {
  if (!stop.signal.aborted && !isAuthkeepError(error)) throw error
  console.error(isAuthkeepError(error) ? error.message : 'Stopped.')
  console.error('Nothing was changed.')
  process.exitCode = stop.signal.aborted ? 2 : 1
} finally {
  await broker.close()
  await store.close()
}
