import { isAuthkeepError, loadProvider, loopbackFlow, openStore, TokenBroker } from 'authkeep'

const store = await openStore() // ~/.config/authkeep/auth.json
const broker = new TokenBroker({ store, providers: [await loadProvider('acme.json')] })
const url = 'https://api.acme.example/files/report.txt'
try {
  const token = await broker.getToken(url)
  const response = await fetch(url, { headers: await token.headers({ method: 'GET', url }) })
  console.log(response.status)
} catch (error) {
  if (!isAuthkeepError(error)) throw error
  if (error.remedy === 'authorize')
    await broker.authorize(url, loopbackFlow()) // a person, in the browser
  else console.error(`${error.remedy}: ${error.message}`) // choose an account, retry later, or fix something
}
await broker.close()
