import type { JsonObject } from '../credential.ts'
import { isSecureUrl } from '../provider.ts'
import { scopeSet } from '../scope.ts'
import { type DiscoverOptions, fetchDocument, insertWellKnown } from './well-known.ts'

/** What a protected resource says of itself (RFC 9728 §2). */
export interface ProtectedResource {
  /** The RFC 8707 resource that tokens for it are issued for. */
  readonly resource: string
  /** Issuers, in the resource's order; none where it names none. */
  readonly authorizationServers: readonly string[]
  /** Scopes that requests to it may need. */
  readonly scopes: readonly string[]
  readonly metadata: JsonObject
}

export type ResourceDiscovery =
  | { readonly kind: 'found'; readonly resource: ProtectedResource }
  | { readonly kind: 'none' }
  /** Nobody can say for now. */
  | { readonly kind: 'unavailable'; readonly status?: number; readonly cause: string }
  /** There is metadata, and it must not be used. */
  | { readonly kind: 'invalid'; readonly what: string }

export interface ResourceDiscoveryOptions extends DiscoverOptions {
  /** The `resource_metadata` of a challenge (RFC 9728 §5.1). Asked instead of the well-known locations. */
  readonly resourceMetadata?: string | undefined
}

const wellKnown = 'oauth-protected-resource'

/**
 * Finds out which authorization servers a URL takes tokens of (RFC 9728). The metadata must be about exactly the URL, or
 * about exactly the resource that its own location stands for, if the URL is part of that (§3.3): metadata that could
 * name any resource could have tokens of ours sent to it.
 *
 * Every answer and every failure of the network is an outcome; rejects with `signal.reason` only.
 */
export async function discoverResource(
  url: string | URL,
  options: ResourceDiscoveryOptions,
): Promise<ResourceDiscovery> {
  const asked = new URL(url)
  asked.search = ''
  asked.hash = ''
  const { resourceMetadata } = options
  const root = new URL('/', asked)
  const locations =
    resourceMetadata === undefined
      ? [...new Set([insertWellKnown(asked, wellKnown), insertWellKnown(root, wellKnown)])]
      : [resourceMetadata]
  let miss: ResourceDiscovery = { kind: 'none' }
  for (const location of locations) {
    if (!URL.canParse(location) || !isSecureUrl(new URL(location)))
      return { kind: 'invalid', what: 'the metadata is neither at an https URL nor on this machine' }
    const document = await fetchDocument(location, options)
    if (document.kind === 'absent') continue
    if (document.kind === 'unavailable') {
      if (miss.kind === 'none') miss = document
      continue
    }
    const { body } = document
    const { resource } = body
    if (typeof resource === 'string' && isAbout(resource, [String(url), asked.href], new URL(location), asked))
      return { kind: 'found', resource: describe(resource, body) }
    miss = { kind: 'invalid', what: `the metadata at ${location} is about another resource` }
  }
  return miss
}

function isAbout(resource: string, spellings: readonly string[], location: URL, asked: URL): boolean {
  // Of a URL without a path there are two spellings, and URL knows only the longer.
  return [...spellings, ...standsFor(location, asked)].some(
    (spelling) => resource === spelling || (isBare(spelling) && resource === new URL(spelling).origin),
  )
}

/** The resource whose metadata is at a well-known location, if what was asked for is part of it. */
function standsFor(location: URL, asked: URL): readonly string[] {
  const prefix = `/.well-known/${wellKnown}`
  if (location.origin !== asked.origin || !`${location.pathname}/`.startsWith(`${prefix}/`)) return []
  const path = location.pathname.slice(prefix.length)
  const isPart = `${asked.pathname}/`.startsWith(path.endsWith('/') ? path : `${path}/`)
  return isPart ? [`${location.origin}${path === '' ? '/' : path}`] : []
}

function isBare(spelling: string): boolean {
  const { origin, href } = new URL(spelling)
  return href === `${origin}/`
}

function describe(resource: string, metadata: JsonObject): ProtectedResource {
  const strings = (member: string): readonly string[] => {
    const value = metadata[member]
    return Array.isArray(value) ? value.filter((each): each is string => typeof each === 'string') : []
  }
  const isUsable = (issuer: string): boolean => URL.canParse(issuer) && isSecureUrl(new URL(issuer))
  return {
    resource,
    authorizationServers: strings('authorization_servers').filter(isUsable),
    scopes: scopeSet(strings('scopes_supported')),
    metadata,
  }
}
