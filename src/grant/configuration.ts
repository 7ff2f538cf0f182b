import type { Configuration, CustomFetch, ExportedJWKSCache } from 'openid-client'
import { AuthkeepError } from '../errors.ts'
import { type AuthorizationServerMetadata, isSecureUrl, type Provider } from '../provider.ts'
import { clientAuthentication } from './client-authentication.ts'

/**
 * An openid-client configuration for one provider, whose client authenticates as the provider says. ID token signatures
 * are checked, unless `isUnsigned`.
 *
 * @throws AuthkeepError `provider_invalid` for a private key that cannot be used; `response_invalid` for an endpoint
 * that is neither https nor on this machine
 */
export async function configure(
  provider: Provider,
  metadata: AuthorizationServerMetadata,
  fetch: CustomFetch | typeof globalThis.fetch,
  isUnsigned = false,
): Promise<Configuration> {
  const client = await import('openid-client')
  const insecure = endpointsOf(metadata).filter(
    ([member, url]) => checkEndpoint(provider, member, url).protocol === 'http:',
  )
  const { id, secret } = provider.client
  const config = new client.Configuration(
    metadata as ConstructorParameters<typeof client.Configuration>[0],
    id,
    secret === undefined ? {} : { client_secret: secret },
    await clientAuthentication(provider, metadata),
  )
  config[client.customFetch] = fetch as CustomFetch
  // eslint-disable-next-line @typescript-eslint/no-deprecated -- http endpoints have just been found to be on this machine
  if (insecure.length > 0) client.allowInsecureRequests(config)
  const keys = knownKeys.get(metadata)
  if (keys !== undefined) client.setJwksCache(config, keys)
  if (!isUnsigned) client.enableNonRepudiationChecks(config)
  return config
}

/** Signing keys by metadata object; openid-client would else fetch them again for every configuration. */
const knownKeys = new WeakMap<AuthorizationServerMetadata, ExportedJWKSCache>()

/** Keeps the signing keys that a configuration has fetched for the next one made from the same metadata object. */
export async function keepKeys(config: Configuration, metadata: AuthorizationServerMetadata): Promise<void> {
  const client = await import('openid-client')
  const keys = client.getJwksCache(config)
  if (keys !== undefined) knownKeys.set(metadata, keys)
}

/** The URLs of a metadata document that this room talks to. */
const used = [
  'authorization_endpoint',
  'pushed_authorization_request_endpoint',
  'device_authorization_endpoint',
  'token_endpoint',
  'revocation_endpoint',
  'introspection_endpoint',
  'jwks_uri',
] as const

function endpointsOf(metadata: AuthorizationServerMetadata): readonly (readonly [string, unknown])[] {
  return used.flatMap((member) => (metadata[member] === undefined ? [] : [[member, metadata[member]] as const]))
}

/** @throws AuthkeepError `response_invalid` for an endpoint that is missing, or neither https nor on this machine */
export function endpointOf(provider: Provider, metadata: AuthorizationServerMetadata, member: string): URL {
  return checkEndpoint(provider, member, metadata[member])
}

function checkEndpoint(provider: Provider, member: string, url: unknown): URL {
  if (typeof url === 'string' && URL.canParse(url)) {
    const parsed = new URL(url)
    if (isSecureUrl(parsed)) return parsed
  }
  const what = `its ${member} is neither an https URL nor on this machine`
  throw new AuthkeepError('response_invalid', { provider: provider.id, status: null, what })
}
