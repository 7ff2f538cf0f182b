import type { Provider } from '../provider.ts'
import type { Product } from './options.ts'

const issuer = 'https://auth.openai.com'
const scopes = ['openid', 'profile', 'email', 'offline_access', 'api.connectors.read', 'api.connectors.invoke']
/** What Cloudflare sets for itself; none of them is a session of ChatGPT. */
const cloudflareCookies = [
  ...['__cf_bm', '__cflb', '__cfruid', '__cfseq', '__cfwaitingroom', '_cfuvid'],
  ...['cf_clearance', 'cf_ob_info', 'cf_use_ob', 'cf_chl_*'],
]
const claims = 'claims/https:~1~1api.openai.com~1auth'

/**
 * The sign-in with ChatGPT, for the Codex backend of ChatGPT. The public API wants `api.responses.write`, which this client
 * is not given: for that there is `openai`, with an API key.
 */
export const openaiCodex = ({ product = 'authkeep' }: Product = {}): Provider => ({
  id: 'openai-codex',
  issuer,
  metadata: {
    authorization_endpoint: `${issuer}/oauth/authorize`,
    token_endpoint: `${issuer}/oauth/token`,
    revocation_endpoint: `${issuer}/oauth/revoke`,
    jwks_uri: `${issuer}/.well-known/jwks.json`,
  },
  // Asked for more, `api.responses.write` for one, the server refuses the login.
  client: { id: 'app_EMoamEEZ73f0CkXaXp7hrann', scopes },
  scopes,
  redirect: { host: 'localhost', ports: [1455, 1457], path: '/auth/callback' },
  authorization: { id_token_add_organizations: 'true', codex_cli_simplified_flow: 'true', originator: product },
  apiKeyExchange: { provider: 'openai', parameters: { requested_token: 'openai-api-key' } },
  deviceLogin: {
    codeEndpoint: `${issuer}/api/accounts/deviceauth/usercode`,
    pollEndpoint: `${issuer}/api/accounts/deviceauth/token`,
    verificationUri: `${issuer}/codex/device`,
    redirectUri: `${issuer}/deviceauth/callback`,
    encoding: 'json',
    codeParameters: ['client_id'],
    pollParameters: ['device_code', 'user_code'],
    members: { device_code: ['device_auth_id'], user_code: ['user_code', 'usercode'], code: ['authorization_code'] },
    pendingStatuses: [403, 404],
    disabledStatuses: [404],
  },
  endpoints: [
    {
      url: 'https://chatgpt.com/backend-api/codex/*',
      service: 'openai-responses',
      headers: {
        'ChatGPT-Account-ID': `{${claims}/chatgpt_account_id|claims/chatgpt_account_id|claims/organizations/0/id}`,
        'X-OpenAI-Fedramp': `{${claims}/chatgpt_account_is_fedramp=true}`,
        originator: product,
      },
      cookies: cloudflareCookies,
    },
    {
      url: 'https://api.openai.com/v1/responses',
      scopes: ['api.responses.write'],
      service: 'openai-responses',
      baseUrl: 'https://api.openai.com/v1',
    },
  ],
  refresh: {
    encoding: 'json',
    rotation: 'strict',
    deadErrors: ['refresh_token_expired', 'refresh_token_reused', 'refresh_token_invalidated'],
  },
  revocation: { encoding: 'json' },
})
