import { parseScope } from '../scope.ts'
import { type ForeignReader, foreignLogin, parseObject, secretOf, textOf, timeOf } from './foreign.ts'

/** gemini-cli and qwen-code: a token answer (RFC 6749 §5.1) with `expiry_date` in place of `expires_in`. */
export const readOauthCreds: ForeignReader = (text) => {
  const file = parseObject(text)
  const login = foreignLogin({
    ...{ name: 'default', type: 'oauth', secret: secretOf(file['access_token']) },
    refreshToken: secretOf(file['refresh_token']),
    idToken: secretOf(file['id_token']),
    expiresAt: timeOf(file['expiry_date']),
    scopes: parseScope(textOf(file['scope']) ?? ''),
  })
  return login === null ? [] : [login]
}
