import type { Provider } from '../provider.ts'
import type { OwnClient } from './options.ts'

/**
 * GitHub, for a GitHub App of your own with device flow. What its tokens may do is set at the App and where it is
 * installed, so no scopes are asked for; those of an OAuth App are `scopes` of a copy. With expiring tokens switched off at the App, there is nothing to refresh.
 */
export const github = ({ client }: OwnClient): Provider => ({
  id: 'github',
  issuer: 'https://github.com/login/oauth',
  metadata: {
    authorization_endpoint: 'https://github.com/login/oauth/authorize',
    token_endpoint: 'https://github.com/login/oauth/access_token',
    device_authorization_endpoint: 'https://github.com/login/device/code',
  },
  client,
  scopeSeparator: ',',
  endpoints: [{ url: 'https://api.github.com/*' }],
  environment: { GH_TOKEN: 'token', GITHUB_TOKEN: 'token' },
  refresh: { rotation: 'strict', narrowing: 'ignored', deadErrors: ['bad_refresh_token'] },
})
