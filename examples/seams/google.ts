// Google's library with tokens of `authkeep token --format google`, exchanged at TOKEN_URL, by default Google's own.
// GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1 has to be set.
import { ExternalAccountClient } from 'google-auth-library'
import { converse } from './conversation.ts'

const tokenUrl = process.env['TOKEN_URL'] ?? 'https://sts.googleapis.com/v1/token'
const authkeep = `${process.execPath} node_modules/authkeep/dist/cli/main.js`
const client = ExternalAccountClient.fromJSON({
  type: 'external_account',
  audience: '//iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/acme/providers/acme',
  subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
  token_url: tokenUrl,
  credential_source: { executable: { command: `${authkeep} token ${tokenUrl} --format google` } },
})
if (client === null) throw new Error('that is no external account')

await converse(async () => (await client.getAccessToken()).token ?? 'none')
