import { AuthkeepError } from '../errors.ts'
import type { AuthorizationServerMetadata, Provider } from '../provider.ts'
import { type DiscoverOptions, type Document, fetchDocument, insertWellKnown } from './well-known.ts'

/**
 * The authorization server's metadata. A provider that declares a `token_endpoint` is complete, and nothing is
 * fetched. Otherwise the well-known documents are, what they say must be about exactly this issuer (RFC 8414 §3.3),
 * and members that the provider declares win over discovered ones.
 *
 * @throws AuthkeepError `server_unavailable` when the server cannot be reached or answers 5xx, `response_invalid` when
 * what it answers is not metadata of this issuer; `signal.reason` when aborted
 */
export async function discover(provider: Provider, options: DiscoverOptions): Promise<AuthorizationServerMetadata> {
  if (provider.metadata?.token_endpoint !== undefined) return { ...provider.metadata, issuer: provider.issuer }
  const misses: Document[] = []
  for (const location of locationsOf(provider.issuer)) {
    const document = await fetchDocument(location, options)
    if (document.kind === 'object' && document.body['issuer'] === provider.issuer) {
      const metadata = { ...document.body, ...provider.metadata, issuer: provider.issuer }
      if (typeof metadata.token_endpoint === 'string') return metadata
    }
    misses.push(document)
    // Nobody is there, or wants to be asked now: that is so for the other locations too.
    if (document.kind === 'unavailable' && (document.status ?? 429) === 429) break
  }
  throw explain(provider, misses)
}

/**
 * Where an issuer's metadata may be: RFC 8414 §3.1, then OpenID Connect Discovery §4 the same way, then as it says
 * itself. Without a path in the issuer the last two are the same.
 */
function locationsOf(issuer: string): ReadonlySet<string> {
  const url = new URL(issuer)
  url.pathname = url.pathname.replace(/\/$/, '')
  const suffixed = new URL(url)
  suffixed.pathname = `${url.pathname === '/' ? '' : url.pathname}/.well-known/openid-configuration`
  return new Set([
    insertWellKnown(url, 'oauth-authorization-server'),
    insertWellKnown(url, 'openid-configuration'),
    suffixed.href,
  ])
}

/** Of several misses, the one that says most: a server that may answer tomorrow, then a document that will not do. */
function explain(provider: Provider, misses: readonly Document[]): AuthkeepError {
  const id = provider.id
  for (const miss of misses) {
    if (miss.kind !== 'unavailable') continue
    const { kind: _, ...said } = miss
    return new AuthkeepError('server_unavailable', { provider: id, ...said, sent: false })
  }
  for (const miss of misses) {
    if (miss.kind !== 'object') continue
    const what =
      miss.body['issuer'] === provider.issuer
        ? 'the authorization server metadata names no token_endpoint'
        : `the metadata is about another issuer than ${provider.issuer}`
    return new AuthkeepError('response_invalid', { provider: id, status: 200, what })
  }
  const [first] = misses as readonly Extract<Document, { kind: 'absent' }>[]
  const what = `there is no authorization server metadata at ${provider.issuer} (${first?.what ?? ''})`
  return new AuthkeepError('response_invalid', { provider: id, status: first?.status ?? null, what })
}
