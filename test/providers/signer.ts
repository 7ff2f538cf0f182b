import { exportJWK, generateKeyPair, SignJWT } from 'jose'

/** Signs ID tokens as an authorization server does. */
export interface Signer {
  readonly jwks: object
  idToken(issuer: string, audience: string, claims: Readonly<Record<string, unknown>>, until?: string): Promise<string>
}

export async function createSigner(): Promise<Signer> {
  const { publicKey, privateKey } = await generateKeyPair('RS256')
  const header = { alg: 'RS256', kid: 'k1' }
  return {
    jwks: { keys: [{ ...(await exportJWK(publicKey)), ...header, use: 'sig' }] },
    idToken: (issuer, audience, claims, until = '1h') =>
      new SignJWT({ sub: 'user-1', ...claims })
        .setProtectedHeader(header)
        .setIssuer(issuer)
        .setAudience(audience)
        .setIssuedAt()
        .setExpirationTime(until)
        .sign(privateKey),
  }
}
