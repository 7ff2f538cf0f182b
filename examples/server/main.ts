import { startAuthorizationServer } from './authorization-server.ts'
import { demoProvider } from './demo-provider.ts'
import { startResourceServer } from './resource-server.ts'

const [port = '8010', apiPort = '8011'] = process.argv.slice(2)
const server = await startAuthorizationServer({ port: Number(port) })
const api = await startResourceServer({ authorizationServer: server, port: Number(apiPort) })

console.log(`Authorization server: ${server.issuer}
Its metadata:         ${server.issuer}/.well-known/openid-configuration
APIs:                 ${api.origin}/files and ${api.origin}/mail

A provider file for it:
${JSON.stringify(demoProvider(server, { api: api.origin }), null, 2)}

Any name and password will do. Ctrl-C ends it, and everything it knows.`)

const stop = async (): Promise<void> => {
  await Promise.all([server.stop(), api.stop()])
}
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void stop())
