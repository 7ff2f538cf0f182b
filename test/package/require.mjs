// Every supported line of Node can require an ES module.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const { openStore, TokenBroker, Secret } = require('authkeep')

assert.equal(typeof openStore, 'function')
assert.equal(typeof TokenBroker, 'function')
assert.equal(String(new Secret('x')), '[redacted]')
assert.equal(typeof require('authkeep/package.json').version, 'string')
console.log('ok')
