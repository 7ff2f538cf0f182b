import { randomBytes } from 'node:crypto'
import { exportJWK, generateKeyPair } from 'jose'
import type { ClientMetadata, Configuration, Provider as OidcProvider } from 'oidc-provider'
import { errors } from 'oidc-provider'
import { type AuthorizationServer, startAuthorizationServer } from '../../examples/server/authorization-server.ts'
import { demoProvider } from '../../examples/server/demo-provider.ts'
import { discover } from '../../src/grant/discovery.ts'
import type { AuthorizationServerMetadata, PrivateJwk, Provider } from '../../src/provider.ts'

/** The demo server with everything that oidc-provider can do, and clients that are services. */
export interface FullServer extends AuthorizationServer {
  /** Like the demo client, but for a service: it has a secret or a key of its own. */
  readonly service: Provider
  readonly person: Provider
  readonly metadata: AuthorizationServerMetadata
  readonly privateKey: PrivateJwk
  /** Whether DPoP proofs must carry a nonce. */
  requireNonce(isRequired: boolean): void
  /** The resources in order, files first. */
  readonly resourceList: readonly string[]
}

const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange'
export const serviceSecret = 's3cr3t:/+ %~'

export async function startFullServer(
  options: { requirePushed?: boolean; accessTokenFormat?: 'jwt' } = {},
): Promise<FullServer> {
  let needsNonce = false
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
  const [privateJwk, publicJwk] = await Promise.all([exportJWK(privateKey), exportJWK(publicKey)])
  const service = (id: string, more: Partial<ClientMetadata>): ClientMetadata => ({
    client_id: id,
    client_secret: serviceSecret,
    grant_types: ['client_credentials', exchangeGrant],
    response_types: [],
    redirect_uris: [],
    scope: 'files:read files:write mail:read',
    ...more,
  })
  const clients = [
    service('service', { token_endpoint_auth_method: 'client_secret_post' }),
    service('service-basic', { token_endpoint_auth_method: 'client_secret_basic' }),
    service('service-key', {
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'ES256',
      jwks: { keys: [{ ...publicJwk, kty: 'EC', kid: 'mine' }] },
    }),
  ]
  const configure = (configuration: Configuration): Configuration => ({
    ...configuration,
    scopes: [...(configuration.scopes ?? []), 'files:read', 'files:write', 'mail:read', 'mail:send'],
    clients: [...(configuration.clients ?? []), ...clients],
    ttl: { ...configuration.ttl, ClientCredentials: 300 },
    features: {
      ...configuration.features,
      clientCredentials: { enabled: true },
      dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => needsNonce },
      pushedAuthorizationRequests: {
        enabled: true,
        requirePushedAuthorizationRequests: options.requirePushed ?? false,
      },
      registration: { enabled: true },
    },
  })
  const { accessTokenFormat = 'opaque' } = options
  const server = await startAuthorizationServer({ accessTokenFormat, configure, extend: addTokenExchange })
  const person: Provider = demoProvider(server)
  const metadata = await discover(person, { fetch })
  return {
    ...server,
    person,
    service: { ...person, id: 'service', client: { id: 'service', secret: serviceSecret } },
    metadata,
    privateKey: { ...privateJwk, kty: 'EC', kid: 'mine' },
    resourceList: Object.keys(server.resources),
    requireNonce: (isRequired) => {
      needsNonce = isRequired
    },
  }
}

/** RFC 8693 as far as a test needs it: a token of the client itself for one with some of its scopes. */
function addTokenExchange(server: OidcProvider): void {
  server.registerGrantType<Record<string, string>>(
    exchangeGrant,
    async (ctx) => {
      const { params, client } = ctx.oidc
      const subject = await server.ClientCredentials.find(params['subject_token'] ?? '')
      if (subject === undefined) throw new errors.InvalidRequest('the subject token is unknown')
      const { scope = '' } = params
      const held = subject.scope?.split(' ') ?? []
      const scopes = scope === '' ? held : scope.split(' ')
      if (scopes.some((each) => !held.includes(each))) throw new errors.InvalidScope('not held by the subject', scope)
      const token = new server.ClientCredentials({ client, scope: scopes.join(' ') })
      ctx.body = {
        access_token: await token.save(),
        issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
        token_type: 'Bearer',
        expires_in: token.expiration,
        scope: token.scope,
      }
    },
    ['subject_token', 'subject_token_type', 'requested_token_type', 'scope', 'audience', 'resource'],
  )
}
