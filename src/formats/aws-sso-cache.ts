import { type ForeignReader, foreignLogin, parseObject, secretOf, textOf } from './foreign.ts'
import { FormatError } from './format.ts'

/**
 * AWS SSO: one file a session, `{ startUrl, accessToken, expiresAt, refreshToken, clientId }`, times in ISO 8601. The
 * files of registered clients lie beside them and hold no token.
 */
export const readAwsSsoCache: ForeignReader = (text) => {
  const file = parseObject(text)
  const secret = secretOf(file['accessToken'])
  if (secret === null) return []
  // Older versions write UTC for Z. Without its time a token would seem to live for ever.
  const expiresAt = Date.parse((textOf(file['expiresAt']) ?? '').replace(/UTC$/, 'Z'))
  if (Number.isNaN(expiresAt)) throw new FormatError('it does not say when its token expires')
  const clientId = textOf(file['clientId'])
  const login = foreignLogin({
    ...{ name: textOf(file['startUrl']) ?? 'default', type: 'oauth', secret },
    refreshToken: secretOf(file['refreshToken']),
    expiresAt,
    ...(clientId === null ? {} : { clientId }),
  })
  return login === null ? [] : [login]
}
