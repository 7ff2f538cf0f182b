// A provider whose tokens OpenClaw keeps and refreshes, as its documentation describes them: for comparison.
import { readFileSync } from 'node:fs'
import { definePluginEntry } from 'openclaw/plugin-sdk/plugin-entry'
import { upsertAuthProfileWithLock } from 'openclaw/plugin-sdk/provider-auth'

const { tokenEndpoint, clientId, tokens, models } = JSON.parse(
  readFileSync(new URL('usual.json', import.meta.url), 'utf8'),
)
const credential = { type: 'oauth', provider: 'usual', ...tokens }

export default definePluginEntry({
  id: 'usual',
  name: 'Usual',
  description: 'A provider whose tokens OpenClaw keeps.',
  register(api) {
    api.registerProvider({
      id: 'usual',
      label: 'Usual',
      auth: [
        {
          id: 'login',
          label: 'Usual',
          kind: 'oauth',
          run: async () => ({ profiles: [{ profileId: 'usual:default', credential }] }),
          runNonInteractive: async ({ config, agentDir }) => {
            await upsertAuthProfileWithLock({ profileId: 'usual:default', credential, agentDir })
            const providers = { ...config.models?.providers, usual: models }
            return { ...config, models: { ...config.models, providers } }
          },
        },
      ],
      refreshOAuth: async (current) => {
        const body = { grant_type: 'refresh_token', client_id: clientId, refresh_token: current.refresh }
        const response = await fetch(tokenEndpoint, { method: 'POST', body: new URLSearchParams(body) })
        if (!response.ok) throw new Error(`HTTP ${response.status}`)
        const { access_token: access, refresh_token: refresh, expires_in: lifetime } = await response.json()
        return { ...current, access, refresh, expires: Date.now() + lifetime * 1000 }
      },
    })
  },
})
