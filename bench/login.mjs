/** A login as it is stored, with an access token that has expired unless `expiresAt` says otherwise. */
export async function login({ dist }, { provider, account, issuer, refresh = 'rt', expiresAt = Date.now() - 1_000 }) {
  const { Secret } = await import(`${dist}/index.js`)
  const granted = { scopes: ['files'], evidence: 'response', obtainedAt: Date.now() - 60_000 }
  const accessToken = new Secret(`${account} ${refresh}`.padEnd(400, 'x'))
  return {
    ...{ type: 'oauth', provider, account, issuer, clientId: 'bench', subject: account, lease: null },
    tokens: [{ ...granted, accessToken, tokenType: 'Bearer', resource: null, expiresAt }],
    grant: {
      ...{ ...granted, resources: [], refreshToken: new Secret(refresh), refreshExpiresAt: null },
      ...{ generation: 1, state: 'live', replays: 0 },
    },
  }
}
