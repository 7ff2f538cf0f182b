import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterEach, expect, it } from 'vitest'
import { listen } from '../../examples/server/authorization-server.ts'
import { Secret } from '../../src/credential.ts'
import { openStore } from '../../src/store/store.ts'
import { type Desk, openDesk } from '../cli/desk.ts'
import { startProgram } from '../seams/program.ts'

let desk: Desk
afterEach(() => desk.clear())

it("the real google-auth-library exchanges a token that it was given; without a login it says authkeep's sentence", async () => {
  const seen: string[] = []
  const sts = createServer((request, response) => {
    void text(request).then((body) => {
      seen.push(new URLSearchParams(body).get('subject_token') ?? '')
      const answer = { access_token: 'of-google', token_type: 'Bearer', expires_in: 3_600 }
      const issued = { ...answer, issued_token_type: 'urn:ietf:params:oauth:token-type:access_token' }
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(issued))
    })
  })
  const url = `${await listen(sts, 0)}/v1/token`
  desk = await openDesk({ accessTokenFormat: 'jwt' })
  try {
    const endpoints = [{ url, scopes: ['files:read'], resource: `${desk.server.origin}/files` }]
    await desk.addProvider('demo', { scopes: ['openid', 'offline_access', 'files:read'], endpoints })
    const env = { TOKEN_URL: url, GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES: '1' }
    const early = startProgram('google.ts', desk.home, env)
    expect(await early.ask('')).toMatch(/^no answer: .*login to demo/i)
    await early.end()
    expect(await desk.login()).toMatchObject({ code: 0 })
    const program = startProgram('google.ts', desk.home, env)
    expect(await program.ask('')).toBe('of-google')
    await program.end()
    expect(seen).toEqual([(await desk.authkeep('token', url)).stdout.trim()])
  } finally {
    sts.close()
    sts.closeAllConnections()
  }
})

it('the real AWS SDK reads the keys of a credential_process', async () => {
  desk = await openDesk()
  const url = 'https://sts.amazonaws.com/'
  await desk.addProvider('aws', { endpoints: [{ url, accepts: ['token'] }] })
  const store = await openStore({ path: join(desk.home, 'auth.json') })
  const key = { provider: 'aws', account: 'default' }
  const keys = { AccessKeyId: 'AKIAEXAMPLE', SecretAccessKey: 'secret', SessionToken: 'session' }
  await store.update(key, () => ({ type: 'token', ...key, token: new Secret(JSON.stringify(keys)), expiresAt: null }))
  await store.close()
  const config = join(desk.home, 'aws-config')
  const authkeep = `${process.execPath} node_modules/authkeep/dist/cli/main.js`
  await writeFile(config, `[profile acme]\ncredential_process = ${authkeep} token ${url} --format aws\n`)
  const program = startProgram('aws.ts', desk.home, { AWS_CONFIG_FILE: config })
  expect(await program.ask('')).toBe('AKIAEXAMPLE')
  await program.end()
})
