import type { JsonObject } from '../credential.ts'
import { type Format, FormatError } from './format.ts'
import { parseJsonObject, refuseTwins } from './json-text.ts'
import { ownedFormat } from './owned.ts'

/** The one login that a provider has there. */
const account = 'default'

/**
 * `auth.json` of pi, which OpenClaw used in its beginnings as well:
 * `{ "<provider>": { "type": "oauth", "refresh", "access", "expires" } | { "type": "api_key", "key" } }`, an entry a
 * provider. Each is the account `default` of its provider; others, and tokens that nothing renews, have no place there,
 * because pi refuses a file with anything else in it.
 */
export const piAuthJsonFormat: Format = ownedFormat('pi-auth-json', 'pi', {
  empty: '{}',
  parse(text) {
    const file = parseJsonObject(text)
    refuseTwins(text, file)
    return file
  },
  entries: (file) => file,
  withEntries: (_, entries: JsonObject) => entries,
  nameOf(key) {
    if (!key.endsWith(`:${account}`)) throw new FormatError('An account other than "default" in a file of pi')
    return key.slice(0, -account.length - 1)
  },
  keyOf: (name) => `${name}:${account}`,
  // proper-lockfile, which it touches every 15 s.
  refreshLock: { staleMs: 30_000 },
  dialect: { hasTokens: false, namesProvider: false },
})
