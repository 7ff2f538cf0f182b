import { type ForeignReader, foreignLogin, loginsIn, parseObject, secretOf, timeOf } from './foreign.ts'

/**
 * pi, early OpenClaw and opencode: an entry per provider, `{ type: "oauth", refresh, access, expires }`, or one with an
 * API key: `{ type: "api_key" | "api", key }`. Older files say `mode` for `type` and `apiKey` for either. opencode
 * writes `expires: 0` where a token does not expire, as one of GitHub Copilot.
 */
export const readKeyedAuthJson: ForeignReader = (text) =>
  loginsIn(parseObject(text), (entry, name) => {
    const type = entry['type'] ?? entry['mode']
    if (type === 'oauth') {
      return foreignLogin({
        ...{ name, type, secret: secretOf(entry['access']) },
        refreshToken: secretOf(entry['refresh']),
        expiresAt: timeOf(entry['expires'] === 0 ? null : entry['expires']),
      })
    }
    if (type === 'wellknown') return foreignLogin({ name, type: 'token', secret: secretOf(entry['token']) })
    if (type !== 'api' && type !== 'api_key' && type !== 'apiKey') return null
    return foreignLogin({ name, type: 'api_key', secret: secretOf(entry['key'] ?? entry['apiKey']) })
  })
