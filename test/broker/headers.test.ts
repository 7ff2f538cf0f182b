import { expect, it } from 'vitest'
import { BrokeredToken } from '../../src/broker/access-token.ts'
import { type Credential, type JsonObject, Secret } from '../../src/credential.ts'
import type { Provider } from '../../src/provider.ts'
import { json, rejection, stub } from '../grant/setup.ts'
import { openDesk } from '../providers/simulated.ts'

const claims: JsonObject = {
  sub: 'alice',
  team: { id: 't-1', names: ['red', 'blue'] },
  'https://acme.example/a~b': { id: 'dotted', admin: true, guest: false },
  empty: null,
}
const idToken = new Secret(`e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2ln`)
const provider: Provider = { id: 'acme', issuer: 'https://as.example', client: { id: 'cli' } }

/** What a header of an endpoint becomes. */
async function filled(template: string): Promise<string | undefined> {
  const usable = { tokenType: 'Bearer', scopes: [], resource: null, obtainedAt: 0, expiresAt: null, secret: idToken }
  const credential = { type: 'oauth', provider: 'acme', account: 'default', idToken, metadata: { client: 'm-1' } }
  const token = new BrokeredToken(usable, {
    ...{ provider, endpoint: undefined, credential: credential as unknown as Credential, now: Date.now },
    headers: { 'x-filled': template },
  })
  return (await token.headers())['x-filled']
}

it.each([
  ['plain', 'plain'],
  ['{claims.sub}@{metadata.client}', 'alice@m-1'],
  ['{claims.team.id}', 't-1'],
  ['{claims/team/names/1}', 'blue'],
  ['{claims/https:~1~1acme.example~1a~0b/id}', 'dotted'],
  ['{claims.nobody|claims/team/id|claims.sub}', 't-1'],
  ['{claims/https:~1~1acme.example~1a~0b/guest}', 'false'],
  ['{claims/https:~1~1acme.example~1a~0b/admin=true}', 'true'],
  ['{claims/https:~1~1acme.example~1a~0b/guest=true}', undefined],
  ['{claims.sub}-{claims.nobody}', undefined],
  ['{claims.team}', undefined],
  ['{claims.empty}', undefined],
  ['{claims.constructor.name}', undefined],
  ['{claims/team/names/length}', undefined],
])('a header %s is %s', async (template, value) => {
  expect(await filled(template)).toBe(value)
})

it('an API key in a header of its own stays behind on the way to another origin', async () => {
  const elsewhere = await stub((request, response) => json(response, 200, request.headers))
  const api = await stub((_, response) => void response.writeHead(302, { location: elsewhere.origin }).end())
  const endpoints = [{ url: `${api.origin}/*`, accepts: ['api_key'] as const }]
  const desk = await openDesk({ ...provider, apiKeyHeader: 'X-Key', endpoints })
  const key = { provider: 'acme', account: 'default' }
  await desk.store.update(key, () => ({ ...key, type: 'api_key', key: new Secret('k-1') }))
  const seen = (await (await desk.broker.fetch(`${api.origin}/a`)).json()) as object
  expect(JSON.stringify(seen)).not.toContain('k-1')
  const token = await desk.broker.getToken(`${api.origin}/a`)
  expect(await token.headers()).toEqual({ 'X-Key': 'k-1' })
  expect(await rejection(token.headers({ method: 'GET', url: elsewhere.origin }))).toMatchObject({
    code: 'host_not_bound',
  })
  await desk.close()
  await Promise.all([api.stop(), elsewhere.stop()])
})
