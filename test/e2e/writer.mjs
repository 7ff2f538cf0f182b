// One process of the writer tests: adds 1 to a counter in the store, `times` times, by read-modify-write.
import { openStore, Secret } from '../../dist/index.js'

const { path, times } = JSON.parse(process.argv[2])
const store = await openStore({ path })
const key = { provider: 'counter', account: 'default' }
for (let n = 0; n < times; n++) {
  await store.update(key, (current) => {
    const count = current === null ? 0 : Number(current.key.reveal())
    return { type: 'api_key', ...key, key: new Secret(String(count + 1)) }
  })
}
await store.close()
