// Moves a login out of a file of your own, of MSAL Node or of google-auth-library into authkeep's store, once:
//   node migrate.js home-made|msal|google <file> <provider.json> [account]
// The old file is read and left as it is. What is stored already is not replaced.
import { readFile } from 'node:fs/promises'
import { loadProvider, type OAuthCredential, openStore, type Provider, Secret } from 'authkeep'

/** What the three kinds of file have in common. */
interface Found {
  readonly refreshToken: string
  readonly clientId?: string
  readonly issuer?: string
  readonly subject?: string
  readonly scope?: string
  /** `expiresAt` in Unix milliseconds. */
  readonly access?: { readonly token: string; readonly expiresAt: number }
}

type Members = Readonly<Record<string, unknown>>
const text = (from: Members, name: string): string | undefined => {
  const value = from[name]
  return typeof value === 'string' && value !== '' ? value : undefined
}
const claimsOf = (idToken = '.e30'): Members =>
  JSON.parse(Buffer.from(idToken.split('.')[1] ?? '', 'base64url').toString()) as Members

/** A token answer as many programs keep it, with the time of its end as `expires_at`, in seconds. Change the names to yours. */
function homeMade(file: Members): Found {
  const [token, expiresAt] = [text(file, 'access_token'), Number(file['expires_at']) * 1_000]
  return { ...common(file), ...accessOf(token, expiresAt) }
}

/** `TokenCache.serialize()` of msal-node 7, decrypted where its extensions have encrypted it: one account. */
function msal(file: Members): Found {
  const entries = (kind: string): readonly Members[] => Object.values((file[kind] ?? {}) as Record<string, Members>)
  if (entries('RefreshToken').length !== 1) throw new Error('not one refresh token: choose one by its home_account_id')
  const [refresh = {}, [access], [id]] = [entries('RefreshToken')[0], entries('AccessToken'), entries('IdToken')]
  const { iss, sub } = claimsOf(id && text(id, 'secret')) as { iss?: string; sub?: string }
  const found = { refreshToken: text(refresh, 'secret') ?? '', clientId: text(refresh, 'client_id') ?? '' }
  const who = { ...(iss === undefined ? {} : { issuer: iss }), ...(sub === undefined ? {} : { subject: sub }) }
  if (access === undefined) return { ...found, ...who }
  const [token = '', scope = ''] = [text(access, 'secret'), text(access, 'target')]
  return { ...found, ...who, scope, ...accessOf(token, Number(access['expires_on']) * 1_000) }
}

/** Application default credentials of a user, or what a listener of the event `tokens` has saved. */
function google(file: Members): Found {
  if (file['type'] !== undefined && file['type'] !== 'authorized_user') throw new Error('that is no login of a user')
  const [token, expiresAt] = [text(file, 'access_token'), Number(file['expiry_date'])]
  return { ...common(file), ...accessOf(token, expiresAt) }
}

/** An access token whose end is not known is left behind: the refresh token brings another. */
function accessOf(token: string | undefined, expiresAt: number): Pick<Found, 'access'> {
  return token === undefined || !Number.isFinite(expiresAt) ? {} : { access: { token, expiresAt } }
}

function common(file: Members): Found {
  const [clientId, scope] = [text(file, 'client_id'), text(file, 'scope')]
  return {
    refreshToken: text(file, 'refresh_token') ?? '',
    ...(clientId === undefined ? {} : { clientId }),
    ...(scope === undefined ? {} : { scope }),
  }
}

function credentialOf(found: Found, provider: Provider, account: string): OAuthCredential {
  const { clientId = provider.client.id, issuer = provider.issuer, access, scope } = found
  if (found.refreshToken === '') throw new Error('there is no refresh token in it')
  // A refresh token is of use to the client and at the issuer that it was given by, and goes to no other.
  if (clientId !== provider.client.id) throw new Error(`it is of another client than ${provider.id} has: ${clientId}`)
  if (issuer !== provider.issuer) throw new Error(`it is of another issuer than ${provider.id}: ${issuer}`)
  const scopes = scope === undefined ? (provider.scopes ?? []) : scope.split(' ')
  const known = { scopes, evidence: scope === undefined ? ('assumed' as const) : ('response' as const) }
  // Nobody has written down for which resources it was granted: for those that the provider declares.
  const resources = [...new Set((provider.endpoints ?? []).flatMap(({ resource }) => resource ?? []))]
  const now = Date.now()
  const token = { tokenType: 'Bearer', resource: null, obtainedAt: now, ...known }
  return {
    ...{ type: 'oauth', provider: provider.id, account, issuer, clientId, subject: found.subject ?? null },
    grant: {
      ...{ ...known, resources, refreshToken: new Secret(found.refreshToken), refreshExpiresAt: null },
      ...{ generation: 1, obtainedAt: now, state: 'live', replays: 0 },
    },
    tokens:
      access === undefined ? [] : [{ ...token, accessToken: new Secret(access.token), expiresAt: access.expiresAt }],
    lease: null,
  }
}

const [kind = '', path = '', providerPath = '', account = 'default'] = process.argv.slice(2)
const readers: Readonly<Record<string, (file: Members) => Found>> = { 'home-made': homeMade, msal, google }
const reader = readers[kind]
if (reader === undefined) throw new Error('the first word is home-made, msal or google')
const provider = await loadProvider(providerPath)
const credential = credentialOf(reader(await readJson(path)), provider, account)
const store = await openStore()
const key = { provider: provider.id, account }
const isThere = (await store.read(key)) !== null
await store.update(key, (current) => (current === null ? credential : undefined))
await store.close()
console.log(`${provider.id}:${account} ${isThere ? 'was there already, and stays as it is' : 'is stored'}.`)

async function readJson(file: string): Promise<Members> {
  const content = await readFile(file, 'utf8')
  try {
    return JSON.parse(content) as Members
  } catch {
    // The parser's own message quotes the file.
    throw new Error(`${file} is not JSON`)
  }
}
