import type { Provider } from '../provider.ts'
import type { OwnClient } from './options.ts'

/**
 * Google, for a client of type "desktop app" of your own. The secret of such a client is not one: Google wants it sent,
 * and counts on PKCE. A refresh token comes only with `access_type` and, for whoever consented before, `prompt`.
 */
export const google = ({ client }: OwnClient): Provider => ({
  id: 'google',
  issuer: 'https://accounts.google.com',
  client,
  scopes: ['openid', 'https://www.googleapis.com/auth/userinfo.email'],
  authorization: { access_type: 'offline', prompt: 'consent' },
  endpoints: [{ url: 'https://*.googleapis.com/*' }],
  refresh: { rotation: 'none' },
})
