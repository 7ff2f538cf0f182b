import type { JsonObject } from '../credential.ts'
import type { DiscoverOptions } from './well-known.ts'

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

/** What a resource says of itself (RFC 9728 §3), or why that is not known. */
export type ResourceDiscovery =
  | { readonly kind: 'found'; readonly resource: ProtectedResource }
  | { readonly kind: 'none' }
  /** Nobody can say for now. */
  | { readonly kind: 'unavailable'; readonly status?: number; readonly cause: string }
  /** There is metadata, and it must not be used. */
  | { readonly kind: 'invalid'; readonly what: string }

/** Where `discoverResource` looks. */
export interface ResourceDiscoveryOptions extends DiscoverOptions {
  /** The `resource_metadata` of a challenge (RFC 9728 §5.1). Asked instead of the well-known locations. */
  readonly resourceMetadata?: string | undefined
}

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
  const { resourceOf } = await import('./resource-metadata.ts')
  return resourceOf(url, options)
}
