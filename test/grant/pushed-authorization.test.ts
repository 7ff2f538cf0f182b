import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { completeLogin } from '../../examples/server/robot.ts'
import { loopbackFlow } from '../../src/grant/loopback.ts'
import type { AuthorizationServerMetadata, Provider } from '../../src/provider.ts'
import { type FullServer, startFullServer } from './full-server.ts'
import { grantRequest, json, nobody, oauth, rejection, type Stub, stub } from './setup.ts'

let server: FullServer
let provider: Provider
beforeAll(async () => {
  server = await startFullServer({ requirePushed: true })
  provider = server.person
})
afterEach(() => server.reset())
afterAll(() => server.stop())

const never = (): never => {
  throw new Error('must not be opened')
}

async function login(as: Provider, more: object = {}): Promise<{ shown: URL | undefined; answer: unknown }> {
  let shown: URL | undefined
  const openBrowser = (url: URL): void => {
    shown = url
    void completeLogin(url)
  }
  const answer = oauth(await loopbackFlow({ openBrowser }).run(grantRequest(as, more)))
  return { shown, answer }
}

describe('a pushed authorization request (RFC 9126)', () => {
  it('is made where the server wants one, and the browser is shown nothing but its name', async () => {
    const { shown, answer } = await login(provider, { resources: server.resourceList })
    expect([...(shown?.searchParams.keys() ?? [])].sort()).toEqual(['client_id', 'request_uri'])
    expect(answer).toMatchObject({ resources: server.resourceList, token: { scopes: ['files:read'] } })
  })

  it('is bound to a key with everything else', async () => {
    server.requireNonce(true)
    const { answer } = await login({ ...provider, dpop: 'required' }, { resources: server.resourceList })
    server.requireNonce(false)
    expect(answer).toMatchObject({ token: { tokenType: 'DPoP' } })
  })

  it('is not made where the provider says so', async () => {
    const { shown } = await login({ ...provider, pushedAuthorization: false }).catch(() => ({ shown: undefined }))
    expect(shown).toBeUndefined()
  })

  describe('that fails', () => {
    let pushed: Stub | undefined
    afterEach(() => pushed?.stop())
    const failing = async (url: string | undefined): Promise<unknown> => {
      const { metadata: found } = server
      const metadata: Partial<AuthorizationServerMetadata> = { ...found }
      if (url === undefined) delete (metadata as Record<string, unknown>)['pushed_authorization_request_endpoint']
      else Object.assign(metadata, { pushed_authorization_request_endpoint: url })
      const as = { ...provider, metadata }
      return rejection(loopbackFlow({ openBrowser: never }).run(grantRequest(as)))
    }

    it.each<[number, unknown, string, object]>([
      [400, { error: 'invalid_request', error_description: 'no' }, 'server_rejected', { error: 'invalid_request' }],
      [200, { error: 'invalid_request' }, 'server_rejected', { status: 200, error: 'invalid_request' }],
      [201, { expires_in: 60 }, 'response_invalid', { status: 201 }],
      [503, {}, 'server_unavailable', { status: 503 }],
    ])('says so before a browser is opened: %i %j', async (status, body, code, detail) => {
      pushed = await stub((_, response) => json(response, status, body))
      expect(await failing(`${pushed.origin}/par`)).toMatchObject({ code, detail })
    })

    it('names the endpoint that is missing, or answers with a web page', async () => {
      expect(await failing(undefined)).toMatchObject({
        ...{ code: 'response_invalid', detail: { what: 'its metadata has no pushed_authorization_request_endpoint' } },
      })
      pushed = await stub((_, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html>'))
      expect(await failing(`${pushed.origin}/par`)).toMatchObject({
        detail: { what: 'the pushed authorization request endpoint answered with a web page' },
      })
      expect(await failing(await nobody())).toMatchObject({ code: 'server_unavailable', detail: { sent: false } })
    })
  })
})
