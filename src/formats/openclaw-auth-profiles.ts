import { type ForeignReader, foreignLogin, loginsIn, objectOf, parseObject, secretOf, timeOf } from './foreign.ts'
import { type Format, FormatError } from './format.ts'
import { define, isObject, parseJsonObject, refuseTwins } from './json-text.ts'
import { ownedFormat } from './owned.ts'

/** Where a newer OpenClaw marks a refresh under way; looks like a token and is none. */
const fence = 'openclaw-oauth-refresh-fence:'

/** OpenClaw: `{ version: 1, profiles: { "provider:name": { type: "oauth" | "token" | "api_key", … } } }`. */
export const readOpenClawAuthProfiles: ForeignReader = (text) =>
  loginsIn(objectOf(parseObject(text)['profiles']) ?? {}, (entry, name) => {
    const expiresAt = timeOf(entry['expires'])
    switch (entry['type']) {
      case 'oauth': {
        const [secret, refreshToken] = [secretOf(entry['access']), secretOf(entry['refresh'])]
        if ([secret, refreshToken].some((each) => each?.reveal().startsWith(fence) === true)) return null
        return foreignLogin({ name, type: 'oauth', secret, refreshToken, expiresAt })
      }
      case 'token':
        return foreignLogin({ name, type: 'token', secret: secretOf(entry['token']), expiresAt })
      case 'api_key':
        return foreignLogin({ name, type: 'api_key', secret: secretOf(entry['key']) })
      default:
        return null
    }
  })

/**
 * `auth-profiles.json` of OpenClaw up to 2026.5: `{ "version": 1, "profiles": { "<provider>:<name>": … } }`, with what
 * else OpenClaw remembers beside the profiles. A profile is the account `<name>` of its provider.
 */
export const openClawAuthProfilesFormat: Format = ownedFormat('openclaw-auth-profiles', 'OpenClaw', {
  empty: '{\n  "version": 1,\n  "profiles": {}\n}\n',
  parse(text) {
    const file = parseJsonObject(text)
    const { version, profiles } = file
    if (typeof version === 'number' && version > 1) {
      throw new FormatError(`it was written by a newer version (format ${version})`, true)
    }
    if (!isObject(profiles)) throw new FormatError('it has no profiles object')
    refuseTwins(text, file)
    return file
  },
  entries: ({ profiles }) => objectOf(profiles) ?? {},
  withEntries(file, profiles) {
    const next = { ...file }
    define(next, 'profiles', profiles)
    return next
  },
  nameOf: (key) => key,
  keyOf: (name) => name,
  // A file that it makes and does not touch again; a request under it may take 120 s.
  refreshLock: { staleMs: 180_000 },
  dialect: { hasTokens: true, namesProvider: true },
})
