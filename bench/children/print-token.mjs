// The smallest program that prints a living token. Arguments: library, store, provider file, URL.
import { readFileSync } from 'node:fs'

const [library, path, provider, url] = process.argv.slice(2)
const { openStore, TokenBroker } = await import(library)
const store = await openStore({ path })
const broker = new TokenBroker({ store, providers: [JSON.parse(readFileSync(provider, 'utf8'))] })
console.log((await broker.getToken(url)).reveal())
await broker.close()
await store.close()
