import { type ForeignReader, foreignLogin, objectOf, parseObject, secretOf, textOf, timeOf } from './foreign.ts'

/** Claude Code: `{ claudeAiOauth: { accessToken, refreshToken, expiresAt, scopes } }`; empty strings are a logout. */
export const readClaudeCodeCredentials: ForeignReader = (text) => {
  const entry = objectOf(parseObject(text)['claudeAiOauth']) ?? {}
  const { scopes } = entry
  const login = foreignLogin({
    ...{ name: 'claude', type: 'oauth', secret: secretOf(entry['accessToken']) },
    refreshToken: secretOf(entry['refreshToken']),
    expiresAt: timeOf(entry['expiresAt']),
    scopes: Array.isArray(scopes) ? scopes.flatMap((scope) => textOf(scope) ?? []) : [],
  })
  return login === null ? [] : [login]
}
