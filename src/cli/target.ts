import { compilePattern, type Endpoint, matchEndpoint, requirementOf, type Target } from '../endpoint.ts'
import { AuthkeepError } from '../errors.ts'
import type { Provider } from '../provider.ts'
import { missingScopes, unionScopes } from '../scope.ts'
import type { CredentialInfo } from '../store/store.ts'
import { type Context, textOption } from './context.ts'
import type { Home } from './open-home.ts'

/**
 * The URL; with `--account`, what its endpoint needs, of that account.
 *
 * @throws AuthkeepError `authorization_required` when the endpoint does not take the kind of credential that it is
 */
export async function targetFor(context: Context, url: URL, { providers, store }: Home): Promise<Target> {
  const account = textOption(context, 'account')
  if (account === undefined) return url
  const logins = (await store.list()).filter((info) => info.account === account)
  const found = endpointFor(url, providers, logins)
  // Nobody declares it; the broker says so, and what comes nearest.
  if (found === undefined) return url
  const { provider, endpoint } = found
  const { accepts, scopes, resource } = requirementOf(endpoint)
  const login = logins.find((info) => info.provider === provider)
  if (login !== undefined && login.type !== 'unreadable' && !accepts.includes(login.type)) {
    throw new AuthkeepError('authorization_required', { provider, account, reason: 'no_credential' })
  }
  return { provider, account, scopes, ...(resource === null ? {} : { resource }) }
}

/**
 * The scopes that a login for a URL has to ask for, none when the provider's own are enough. A login that names some
 * does not ask for the provider's, so they are among them.
 */
export function scopesToAsk(url: URL, id: string, providers: readonly Provider[]): readonly string[] {
  const provider = providers.find((each) => each.id === id)
  const needed = matchEndpoint(provider?.endpoints ?? [], url)?.scopes ?? []
  const usual = provider?.scopes ?? []
  return missingScopes(needed, usual, provider?.implies).length === 0 ? [] : unionScopes(usual, needed)
}

/** The most specific endpoint, of providers with such a login before others. */
function endpointFor(
  url: URL,
  providers: readonly Provider[],
  logins: readonly CredentialInfo[],
): { readonly provider: string; readonly endpoint: Endpoint } | undefined {
  const rank = (provider: string, endpoint: Endpoint): number =>
    compilePattern(endpoint.url).weight + (logins.some((info) => info.provider === provider) ? 1e9 : 0)
  return providers
    .flatMap(({ id: provider, endpoints = [] }) => {
      const endpoint = matchEndpoint(endpoints, url)
      return endpoint === undefined ? [] : [{ provider, endpoint }]
    })
    .sort((a, b) => rank(b.provider, b.endpoint) - rank(a.provider, a.endpoint))[0]
}
