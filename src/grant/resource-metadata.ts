import type { JsonObject } from '../credential.ts'
import { isSecureUrl } from '../provider.ts'
import { scopeSet } from '../scope.ts'
import type { ProtectedResource, ResourceDiscovery, ResourceDiscoveryOptions } from './resource-discovery.ts'
import { fetchDocument, insertWellKnown } from './well-known.ts'

const wellKnown = 'oauth-protected-resource'

/** What `discoverResource` does. */
export async function resourceOf(url: string | URL, options: ResourceDiscoveryOptions): Promise<ResourceDiscovery> {
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
