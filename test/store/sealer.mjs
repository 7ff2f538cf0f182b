// A process with a sealed store. Arguments: JSON { path, keys, does, names, timeoutMs }; without `keys` the keys are in the
// keychain. `fill` writes entries; `read` prints them; `rotate` rotates the key, `ask` asks for it, again and again.
// Prints JSON lines; an error is the last one.
import { fileBackend, fileKeys, openStore, Secret, sealed } from '../../dist/index.js'
import { keychainKeys } from '../../dist/store/keychain.js'

const { path, keys, does, names = [], timeoutMs } = JSON.parse(process.argv[2])
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`)
const provider = keys === undefined ? keychainKeys({ timeoutMs }) : fileKeys(keys)
const backend = sealed(fileBackend({ path }), provider)
const store = await openStore({ backend })

const deeds = {
  async fill() {
    const all = names.map((account) => ({ provider: 'p', account }))
    const entryOf = (key) => ({ type: 'api_key', ...key, key: new Secret(`sk-${key.account}`) })
    await store.updateAll(all, () => new Map(all.map((key) => [`p:${key.account}`, entryOf(key)])))
    say({ filled: names })
  },
  async read() {
    const read = await Promise.all((await backend.keys()).map((key) => backend.read(key)))
    say({ read: read.map(({ value }) => value.key) })
  },
  async rotate() {
    for (;;) {
      say({ rotates: true })
      await backend.rotateKey()
    }
  },
  async ask() {
    for (let n = 0; ; n++) {
      await provider.open('no such key', null)
      if (n === 0) say({ asks: true })
    }
  },
}

const began = performance.now()
try {
  await deeds[does]()
} catch (error) {
  say({ ...error.toJSON(), afterMs: performance.now() - began })
}
await store.close()
