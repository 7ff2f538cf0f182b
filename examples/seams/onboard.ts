// What an `onboard` command does: three API keys, added to the credential file of an OpenClaw agent in one commit.
// Usage: node onboard.ts ~/.openclaw/agents/main/agent/auth.json <provider>=<key> ...
import { apiKeyFlow, type Provider } from 'authkeep'
import { onboard } from 'authkeep/openclaw'

const [path = '', ...pairs] = process.argv.slice(2)
const keys = pairs.map((pair) => pair.split('=', 2))
const providers: readonly Provider[] = keys.map(([id = '']) => ({
  ...{ id, issuer: `https://${id}.example`, client: { id: 'my-onboard' } },
}))
const profiles = keys.map(([provider = '', key = '']) => ({
  target: { provider },
  flow: apiKeyFlow({ key: () => Promise.resolve(key) }),
}))
const stored = await onboard({ path, providers, profiles })
console.log(`Stored ${stored.map(({ provider }) => provider).join(', ')}.`)
