// A credential's round trip, with the package as a stranger imports it.
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { AuthkeepError, isAuthkeepError, openStore, Secret, TokenBroker } from 'authkeep'
import { keychainKeys } from 'authkeep/keychain'
import { McpServers } from 'authkeep/mcp'
import { openClawProvider } from 'authkeep/openclaw'
import { observeRefreshes } from 'authkeep/opentelemetry'
import { piCredentialStore } from 'authkeep/pi'
import * as testing from 'authkeep/testing'

assert.ok(Object.values(testing).some((each) => typeof each === 'function' || Array.isArray(each)))
assert.equal(typeof keychainKeys, 'function')
assert.equal(typeof observeRefreshes, 'function')
assert.equal(typeof openClawProvider, 'function')
assert.equal(typeof McpServers, 'function')
assert.equal(typeof piCredentialStore, 'function')
assert.ok(isAuthkeepError(new AuthkeepError('store_busy', { path: 'x' })))

const home = await mkdtemp(join(tmpdir(), 'authkeep-import-'))
const path = join(home, 'auth.json')
const key = { provider: 'acme', account: 'default' }
try {
  const first = await openStore({ path })
  await first.update(key, () => ({ ...key, type: 'api_key', key: new Secret('sk-round-trip') }))
  await first.close()
  assert.equal((await stat(path)).mode & 0o777, 0o600)
  assert.match(await readFile(path, 'utf8'), /sk-round-trip/)

  const store = await openStore({ path })
  const provider = {
    id: 'acme',
    issuer: 'https://as.example',
    client: { id: 'cli' },
    endpoints: [{ url: 'https://api.example/*', accepts: ['api_key'] }],
  }
  const broker = new TokenBroker({ store, providers: [provider] })
  const token = await broker.getToken('https://api.example/files')
  assert.equal(token.reveal(), 'sk-round-trip')
  assert.doesNotMatch(inspect([token, await store.list()], { depth: 9, showHidden: true }), /sk-round-trip/)
  await assert.rejects(broker.getToken('https://evil.test/files'), (error) => isAuthkeepError(error))
  await broker.close()
  await store.close()
} finally {
  await rm(home, { recursive: true })
}
console.log('ok')
