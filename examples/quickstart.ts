import { isAuthkeepError, loopbackFlow, openStore, type Provider, TokenBroker } from 'authkeep'

const acme: Provider = {
  id: 'acme',
  issuer: 'https://login.acme.example',
  client: { id: 'my-registered-client' },
  scopes: ['openid', 'offline_access', 'files:read'],
  endpoints: [
    { url: 'https://api.acme.example/files/*', scopes: ['files:read'], resource: 'https://api.acme.example/files' },
  ],
}
const store = await openStore() // ~/.config/authkeep/auth.json
const broker = new TokenBroker({ store, providers: [acme] })
const url = 'https://api.acme.example/files/report.txt'
try {
  const token = await broker.getToken(url)
  const response = await fetch(url, { headers: await token.headers({ method: 'GET', url }) })
  console.log(response.status)
} catch (error) {
  if (!isAuthkeepError(error)) throw error
  // authorize: a person logs in, in the browser; then ask again. choose: name an account. retry: later. fix: read on.
  if (error.remedy === 'authorize') await broker.authorize(url, loopbackFlow())
  else console.error(`${error.remedy}: ${error.message}`)
} finally {
  await broker.close()
  await store.close()
}
