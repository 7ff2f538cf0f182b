// A process with a sealed store. Arguments: JSON { path, keys, does }. `fill` writes an entry; `rotate` rotates the key
// again and again until it is killed. Prints JSON lines.
import { fileBackend, fileKeys, openStore, Secret, sealed } from '../../dist/index.js'

const { path, keys, does, name } = JSON.parse(process.argv[2])
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`)
const backend = sealed(fileBackend({ path }), fileKeys(keys))
const store = await openStore({ backend })
if (does === 'fill') {
  const key = { provider: 'p', account: name }
  await store.update(key, () => ({ type: 'api_key', ...key, key: new Secret(`sk-${name}`) }))
  say({ filled: name })
} else {
  for (;;) {
    say({ rotates: true })
    await backend.rotateKey()
  }
}
await store.close()
