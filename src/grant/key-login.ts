import { Secret } from '../credential.ts'
import { AuthkeepError } from '../errors.ts'
import type { KeyLogin } from '../provider.ts'
import type { CodeExchange } from './authorization-code.ts'
import { endpointOf } from './configuration.ts'
import type { GrantAnswer } from './flow.ts'
import { postNamed, sentAs, textNamed } from './named-post.ts'
import { tokenError } from './token-error.ts'

/** What the provider may leave out of the authorization request. What is not in here is always sent. */
const optional: ReadonlySet<string> = new Set(['client_id', 'response_type', 'scope', 'state', 'nonce'])

/** Whether an authorization request of this login has a parameter. */
export function isSent(login: KeyLogin, parameter: string): boolean {
  if (!optional.has(parameter)) return true
  const sent: readonly string[] = login.authorizationParameters ?? ['client_id', 'response_type', 'scope', 'state']
  return sent.includes(parameter)
}

/** The authorization URL (RFC 6749 §4.1.1) with what this login sends, under its names. */
export function keyLoginUrl(login: KeyLogin, endpoint: URL, parameters: URLSearchParams): URL {
  const url = new URL(endpoint)
  for (const [name, value] of parameters)
    if (isSent(login, name)) url.searchParams.append(sentAs(name, login.members), value)
  return url
}

/**
 * Exchanges the code of a redirect for an API key, with its verifier (RFC 7636).
 *
 * @throws AuthkeepError as `exchangeCode` does
 */
export async function exchangeForKey(
  { prepared, callback, fetch, now, timeoutMs }: CodeExchange,
  login: KeyLogin,
): Promise<GrantAnswer> {
  const { provider, metadata } = prepared
  const invalid = (status: number | null, what: string): AuthkeepError =>
    new AuthkeepError('response_invalid', { provider: provider.id, status, what })
  const code = callback.get(sentAs('code', login.members)) ?? callback.get('code')
  if (code === null || code === '') throw invalid(null, 'the redirect is malformed')
  const verifier = prepared.codeVerifier.reveal()
  const possible = {
    client_id: provider.client.id,
    grant_type: 'authorization_code',
    redirect_uri: prepared.redirectUri,
    code_challenge_method: 'S256',
  } as const
  const more = login.exchangeParameters ?? ['client_id', 'grant_type', 'redirect_uri']
  const answered = await postNamed({
    url: endpointOf(provider, metadata, 'token_endpoint').href,
    ...{ encoding: login.encoding, names: login.members, secrets: [code, verifier] },
    members: { code, code_verifier: verifier, ...Object.fromEntries(more.map((name) => [name, possible[name]])) },
    ...{ fetch, now, timeoutMs },
  })
  if (answered.body === null) throw tokenError({ provider, metadata }, answered.outcome)
  const key = textNamed(answered.body, 'key', login.members)
  if (key === undefined) throw invalid(answered.status, 'its answer brings no key')
  return { type: 'api_key', key: new Secret(key) }
}
