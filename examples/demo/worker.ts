import { once } from 'node:events'
import { join } from 'node:path'
import { homeDirectory, loadProviders, openStore, TokenBroker } from 'authkeep'
import { fingerprint } from './secrecy.ts'

// One of several processes that want the same token at the same moment: says that it is ready, waits for a line on
// stdin, asks, and tells which token it was given.
const [url = ''] = process.argv.slice(2)
const { providers } = await loadProviders(join(homeDirectory(), 'providers'))
const store = await openStore()
const broker = new TokenBroker({ store, providers })

console.log('ready')
await once(process.stdin, 'data')

const askedAt = Date.now()
const token = await broker.getToken(url)
console.log(JSON.stringify({ token: fingerprint(token.reveal()), askedAt, servedAt: Date.now() }))
await broker.close()
await store.close()
