import { type ForeignReader, foreignLogin, loginsIn, objectOf, parseObject, secretOf, timeOf } from './foreign.ts'

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
