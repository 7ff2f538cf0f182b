import { type ForeignReader, foreignLogin, parseObject, secretOf, textOf } from './foreign.ts'

/** AWS SSO: one file a session, `{ startUrl, accessToken, expiresAt, refreshToken }`, times in ISO 8601. */
export const readAwsSsoCache: ForeignReader = (text) => {
  const file = parseObject(text)
  const expiresAt = Date.parse(textOf(file['expiresAt']) ?? '')
  const login = foreignLogin({
    ...{ name: textOf(file['startUrl']) ?? 'default', type: 'oauth', secret: secretOf(file['accessToken']) },
    refreshToken: secretOf(file['refreshToken']),
    expiresAt: Number.isNaN(expiresAt) ? null : expiresAt,
  })
  return login === null ? [] : [login]
}
