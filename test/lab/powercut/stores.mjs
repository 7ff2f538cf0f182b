// The stores on trial: each writes the same document, in its own way. And the one reader that judges them all.
import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdir, open, rename, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname } from 'node:path'
import writeFileAtomic from 'write-file-atomic'

const library = process.env['POWERCUT_LIBRARY'] ?? '../../../dist/index.js'
const { fileBackend, nativeFormat, openStore, Secret } = await import(library)

/** The first is refreshed by every commit; the others must come through untouched. */
const providers = ['acme', 'bolt', 'crane', 'dune']
const account = 'me'
/** As long as a signed token, so that the document spans several blocks of the disk. */
const padding = '.'.repeat(1500)

function credential(provider, n, secret) {
  const generation = provider === providers[0] ? n : 0
  const [issuer, clientId, scopes] = [`https://${provider}.example`, 'rig', ['read']]
  const seen = { scopes, evidence: 'response', obtainedAt: 0 }
  const refreshToken = secret(`refresh ${provider} ${generation}`)
  const grant = { ...seen, resources: [], refreshToken, refreshExpiresAt: null, generation, state: 'live', replays: 0 }
  const accessToken = secret(`access ${generation} ${padding}`)
  const tokens = [{ ...seen, accessToken, tokenType: 'Bearer', resource: null, expiresAt: null }]
  return { type: 'oauth', provider, account, issuer, clientId, subject: null, grant, tokens, lease: null }
}

/** What the naive stores write. */
function documentOf(n) {
  const entries = providers.map((provider) => [`${provider}:${account}`, credential(provider, n, String)])
  return nativeFormat.print(nativeFormat.put(nativeFormat.empty(), entries))
}

const prepared = (path) => mkdir(dirname(path), { recursive: true })

async function renamed(path, text, { flush }) {
  const temporary = `${path}.${randomUUID()}`
  const file = await open(temporary, 'wx', 0o600)
  await file.writeFile(text)
  if (flush) await file.sync()
  await file.close()
  await rename(temporary, path)
}

/** Which stores must keep every promise. The others are here to be caught. */
export const isTrusted = (name) => name.startsWith('authkeep')

/** Each opens a store at a path and gives the function that commits value n. Committed is what has resolved. */
export const stores = {
  async authkeep(path) {
    const store = await openStore({ path })
    const keys = providers.map((provider) => ({ provider, account }))
    return async (n) => {
      const changed = n === 0 ? keys : keys.slice(0, 1)
      const next = changed.map(({ provider }) => credential(provider, n, (text) => new Secret(text)))
      await store.updateAll(changed, () => new Map(next.map((one) => [`${one.provider}:${account}`, one])))
    }
  },
  /** The file alone is mounted into a container. What the store keeps beside it there does not outlive the cut. */
  async 'authkeep-mounted-file'(path) {
    await prepared(path)
    await writeFile(path, nativeFormat.print(nativeFormat.empty()), { mode: 0o600, flush: true })
    const inside = '/mnt/container/auth.json'
    await prepared(inside)
    await writeFile(inside, '')
    const directory = await open(dirname(path))
    await directory.sync()
    await directory.close()
    execFileSync('mount', ['--bind', path, inside])
    return stores.authkeep(inside)
  },
  async 'in-place'(path) {
    await prepared(path)
    return (n) => writeFile(path, documentOf(n), { mode: 0o600, flush: true })
  },
  async 'rename-without-file-sync'(path) {
    await prepared(path)
    return (n) => renamed(path, documentOf(n), { flush: false })
  },
  async 'rename-without-directory-sync'(path) {
    await prepared(path)
    return (n) => renamed(path, documentOf(n), { flush: true })
  },
  async 'write-file-atomic'(path) {
    await prepared(path)
    return (n) => writeFileAtomic(path, documentOf(n), { mode: 0o600 })
  },
}

/** Who we are after the power has come back: the boot is another one, so nothing proves the lock's last owner dead. */
const rebooted = { host: hostname(), bootId: 'after the power cut', pidNamespace: null, pid: 1, startTime: null }

/**
 * The value of the last commit that a fresh process finds; -1 when there is no store yet. Rejects when it cannot be
 * read or is not whole. `onEvent` hears of recoveries. With `isUsed` it also commits, over whatever the dead left behind.
 */
export async function valueAt(path, { isUsed, onEvent }) {
  const backend = fileBackend({ path, owner: rebooted, staleLockMs: 100, onEvent })
  const store = await openStore({ backend })
  try {
    const found = []
    for (const provider of providers) found.push(await store.read({ provider, account }))
    if (found.every((one) => one === null)) return -1
    const n = found[0]?.grant.generation
    for (const [index, provider] of providers.entries()) {
      const { grant, tokens } = credential(provider, n, String)
      if (found[index] === null) throw new Error(`${provider} is missing`)
      if (found[index].grant.refreshToken.reveal() !== grant.refreshToken) throw new Error(`${provider}: refresh token`)
      if (found[index].tokens[0].accessToken.reveal() !== tokens[0].accessToken) throw new Error(`${provider}: token`)
    }
    const { copy } = await backend.verify()
    if (copy === 'damaged') throw new Error('the second copy is damaged')
    if (isUsed) {
      const next = await store.update({ provider: providers[0], account }, (now) => ({ ...now, metadata: { n } }))
      if (next?.metadata?.n !== n) throw new Error('a commit after the cut is not there')
    }
    return n
  } finally {
    await store.close()
  }
}
