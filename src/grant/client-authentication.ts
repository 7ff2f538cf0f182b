import type { CryptoKey, JWK } from 'jose'
import type { ClientAuth } from 'openid-client'
import { AuthkeepError } from '../errors.ts'
import type { AuthorizationServerMetadata, PrivateJwk, Provider, ProviderClient } from '../provider.ts'
import { clientSecretBasic } from './client-secret-basic.ts'

/**
 * How the client shows that it is itself (RFC 6749 §2.3), as the provider declares it or as follows from what it has.
 *
 * @throws AuthkeepError `provider_invalid` for a private key that is missing or cannot be used
 */
export async function clientAuthentication(
  provider: Provider,
  metadata: AuthorizationServerMetadata,
): Promise<ClientAuth> {
  const { None, ClientSecretPost, PrivateKeyJwt } = await import('openid-client')
  const { secret = '', privateKey } = provider.client
  switch (provider.client.authentication ?? authenticationOf(provider.client, metadata)) {
    case 'none':
      return None()
    case 'client_secret_post':
      return ClientSecretPost(secret)
    case 'client_secret_basic':
      return clientSecretBasic(secret)
    case 'private_key_jwt':
      return PrivateKeyJwt(await signingKey(provider, privateKey))
  }
}

function authenticationOf(
  { secret, privateKey }: ProviderClient,
  metadata: AuthorizationServerMetadata,
): NonNullable<ProviderClient['authentication']> {
  if (secret === undefined) return privateKey === undefined ? 'none' : 'private_key_jwt'
  // Servers agree about the body more than about how to encode the header, so the header is for those that know no other.
  const known = metadata['token_endpoint_auth_methods_supported']
  const isBasicOnly =
    Array.isArray(known) && known.includes('client_secret_basic') && !known.includes('client_secret_post')
  return isBasicOnly ? 'client_secret_basic' : 'client_secret_post'
}

const imported = new WeakMap<PrivateJwk, Promise<CryptoKey>>()

async function signingKey(
  provider: Provider,
  jwk: PrivateJwk | undefined,
): Promise<CryptoKey | { key: CryptoKey; kid: string }> {
  try {
    const { importJWK } = await import('jose')
    if (jwk?.['d'] === undefined || jwk.kty === 'oct') throw new TypeError('not a private key')
    const pending = imported.get(jwk) ?? (importJWK(jwk as JWK, jwk.alg ?? algorithmOf(jwk)) as Promise<CryptoKey>)
    imported.set(jwk, pending)
    const key = await pending
    return jwk.kid === undefined ? key : { key, kid: jwk.kid }
  } catch {
    // What a parser has to say about a key may quote it.
    const problems = ['client.privateKey: must be a private key as a JWK, to sign with']
    throw new AuthkeepError('provider_invalid', { source: provider.id, problems })
  }
}

/** What a key that does not say is commonly used with (RFC 7518 §3.1, RFC 8037 §3.1). */
function algorithmOf({ kty, crv }: PrivateJwk): string {
  const curves: Readonly<Record<string, string>> = { 'P-256': 'ES256', 'P-384': 'ES384', 'P-521': 'ES512' }
  if (kty === 'RSA') return 'RS256'
  return curves[String(crv)] ?? 'EdDSA'
}
