import { describe, expect, it } from 'vitest'
import { Secret } from '../../src/credential.ts'
import { refresh } from '../../src/grant/token-request.ts'
import { json, stub } from './setup.ts'

/** The Authorization header of a refresh by a client that authenticates with HTTP Basic. */
async function sentBy(id: string, secret: string): Promise<string> {
  let authorization = ''
  const server = await stub((request, response) => {
    authorization = request.headers.authorization ?? ''
    json(response, 200, { access_token: 'a', token_type: 'Bearer' })
  })
  const { origin: issuer } = server
  await refresh({
    provider: { id: 'acme', issuer, client: { id, secret, authentication: 'client_secret_basic' } },
    metadata: { issuer, token_endpoint: `${issuer}/token` },
    refreshToken: new Secret('r'),
    requestedScopes: [],
    resource: null,
    expectedSubject: null,
    fetch,
    now: Date.now,
    timeoutMs: 5000,
    beforeSend: () => undefined,
    onAnswer: async () => undefined,
  })
  await server.stop()
  return Buffer.from(authorization.replace('Basic ', ''), 'base64').toString()
}

describe('client_secret_basic', () => {
  it('leaves alone what form-encoding need not touch, for servers that compare without decoding', async () => {
    expect(await sentBy('my-client_1.example', 'a~secret-_.')).toBe('my-client_1.example:a~secret-_.')
  })

  it('form-encodes what could be misread (RFC 6749 §2.3.1)', async () => {
    expect(await sentBy('https://client.example/id', 'a:b+c%d é')).toBe(
      'https%3A%2F%2Fclient.example%2Fid:a%3Ab%2Bc%25d%20%C3%A9',
    )
  })
})
