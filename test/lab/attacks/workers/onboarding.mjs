// An onboarding of some API keys between two marks that the tracer counts between. Arguments: JSON { dist, path, added }.
import { accessSync } from 'node:fs'

const { dist, path, added } = JSON.parse(process.argv[2])
const { onboard } = await import(`${dist}/adapters/openclaw.js`)
const { apiKeyFlow } = await import(`${dist}/index.js`)

function mark(name) {
  try {
    accessSync(`/authkeep-lab/${name}`)
  } catch {
    // It is not there, and need not be: the tracer has seen us ask.
  }
}

const providers = added.map((id) => ({ id, issuer: `https://${id}.example`, client: { id: 'cli' } }))
mark('begin')
await onboard({
  path,
  providers,
  profiles: added.map((id) => ({ target: { provider: id }, flow: apiKeyFlow({ key: async () => `sk-${id}` }) })),
})
mark('end')
