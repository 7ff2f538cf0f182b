import { claimsOf } from '../claims.ts'
import { parseScope } from '../scope.ts'
import { type ForeignLogin, type ForeignReader, foreignLogin, objectOf, parseObject, secretOf } from './foreign.ts'

/** Codex CLI: `{ auth_mode, OPENAI_API_KEY, tokens: { id_token, access_token, refresh_token, account_id } }`. */
export const readCodexAuthJson: ForeignReader = (text) => {
  const file = parseObject(text)
  const tokens = objectOf(file['tokens']) ?? {}
  const secret = secretOf(tokens['access_token'])
  const { exp, scp } = (secret === null ? null : claimsOf(secret)) ?? {}
  const found = [
    foreignLogin({
      ...{ name: 'chatgpt', type: 'oauth', provider: 'openai-codex', secret },
      refreshToken: secretOf(tokens['refresh_token']),
      idToken: secretOf(tokens['id_token']),
      expiresAt: typeof exp === 'number' ? exp * 1_000 : null,
      scopes: Array.isArray(scp) ? parseScope(scp.join(' ')) : [],
    }),
    foreignLogin({ name: 'api-key', type: 'api_key', provider: 'openai', secret: secretOf(file['OPENAI_API_KEY']) }),
  ]
  return found.filter((login): login is ForeignLogin => login !== null)
}
