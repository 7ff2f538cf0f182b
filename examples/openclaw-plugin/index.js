import { readFileSync } from 'node:fs'
import { openClawProvider } from 'authkeep/openclaw'
import { definePluginEntry } from 'openclaw/plugin-sdk/plugin-entry'
import { upsertAuthProfileWithLock } from 'openclaw/plugin-sdk/provider-auth'

const { provider, models } = JSON.parse(readFileSync(new URL('acme.json', import.meta.url), 'utf8'))

export default definePluginEntry({
  id: 'authkeep-acme',
  name: 'Acme, kept by authkeep',
  description: 'Models of Acme, with logins that authkeep keeps.',
  register(api) {
    api.registerProvider(openClawProvider({ provider, models, label: 'Acme', saveProfile: upsertAuthProfileWithLock }))
  },
})
