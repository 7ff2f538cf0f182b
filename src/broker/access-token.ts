import { claimsOf } from '../claims.ts'
import type { Credential, JsonObject, Secret } from '../credential.ts'
import { declaredHosts, matchEndpoint, urlOf } from '../endpoint.ts'
import { AuthkeepError } from '../errors.ts'
import type { Provider } from '../provider.ts'
import type { Usable } from './token-index.ts'

/** The request that headers are for. */
export interface HeadersRequest {
  readonly method: string
  readonly url: string
  /** What the server wants in a DPoP proof (RFC 9449 §9); default what it has sent last. */
  readonly nonce?: string
}

/** A token that serves the target it was asked for. Prints as `[redacted]`. */
export interface AccessToken {
  readonly type: string
  /** Unix milliseconds, or null where nothing says. */
  readonly expiresAt: number | null
  /** What the token can do, which may be more than was asked for. */
  readonly scopes: readonly string[]
  readonly resource: string | undefined
  readonly account: string
  /** What its endpoint declares as `username`. */
  readonly username: string | undefined
  /** The token itself. */
  reveal(): string
  /**
   * The headers that carry it. With `request` given, only for a URL that the provider declares. A DPoP token needs it:
   * its proof is for this one request (RFC 9449 §7.1).
   *
   * @throws AuthkeepError `host_not_bound` when it does not; `not_supported` for another type than Bearer and DPoP;
   *   TypeError for a DPoP token without a request, or a URL that other programs may read as another host
   */
  headers(request?: HeadersRequest): Promise<Record<string, string>>
}

/** Where a token comes from, for its headers. */
interface Origin {
  readonly provider: Provider
  /** The pattern of the endpoint that it was wanted for, if it was one. */
  readonly endpoint: string | undefined
  readonly credential: Credential
  /** Unix milliseconds. */
  readonly now: () => number
  /** The header templates of the endpoint. */
  readonly headers: Readonly<Record<string, string>>
  /** A base URL that the provider does not declare, and that the caller trusts with the token. */
  readonly trusted?: string | undefined
}

export class BrokeredToken implements AccessToken {
  static {
    Object.defineProperty(this.prototype, Symbol.for('nodejs.util.inspect.custom'), {
      value: () => 'AccessToken [redacted]',
    })
  }

  readonly type: string
  readonly expiresAt: number | null
  readonly scopes: readonly string[]
  readonly resource: string | undefined
  readonly account: string
  readonly #secret: Secret
  readonly #origin: Origin

  get provider(): Provider {
    return this.#origin.provider
  }

  get endpoint(): string | undefined {
    return this.#origin.endpoint
  }

  get username(): string | undefined {
    const { provider, endpoint } = this.#origin
    return provider.endpoints?.find(({ url }) => url === endpoint)?.username
  }

  constructor(token: Usable, origin: Origin) {
    // RFC 6750 §5.1.1: the type is case insensitive; the scheme in a header is commonly matched as if it were not.
    this.type = /^bearer$/i.test(token.tokenType) ? 'Bearer' : token.tokenType
    this.expiresAt = token.expiresAt
    this.scopes = token.scopes
    this.resource = token.resource ?? undefined
    this.account = origin.credential.account
    this.#secret = token.secret
    this.#origin = origin
  }

  reveal(): string {
    return this.#secret.reveal()
  }

  /** Whether it may go to a URL: one that its provider declares, or that is below a base URL that the caller trusts. */
  isFor(url: URL): boolean {
    const { provider, trusted } = this.#origin
    const more = trusted === undefined ? [] : [{ url: trusted }, { url: `${trusted}/*` }]
    return matchEndpoint([...(provider.endpoints ?? []), ...more], url) !== undefined
  }

  async headers(request?: HeadersRequest): Promise<Record<string, string>> {
    const { headers, credential } = this.#origin
    const bound = request === undefined ? undefined : this.#bound(request)
    const idToken = credential.type === 'oauth' ? credential.idToken : undefined
    // An ID token was checked when it was stored. A header whose claim is missing is left out.
    const sources = {
      claims: idToken === undefined ? {} : (claimsOf(idToken) ?? {}),
      metadata: credential.metadata ?? {},
    }
    const extra = Object.entries(headers).flatMap(([name, template]) => {
      const value = fill(template, sources)
      return value === undefined ? [] : [[name, value]]
    })
    return { ...(await this.#authorization(bound)), ...(Object.fromEntries(extra) as Record<string, string>) }
  }

  /**
   * A token goes only where its provider declares an endpoint. What was looked at is what counts: the request is the
   * caller's, who may change it while a proof is made.
   *
   * @throws AuthkeepError `host_not_bound`
   */
  #bound(request: HeadersRequest): HeadersRequest {
    const url = urlOf(request.url)
    if (this.isFor(url)) return { ...request, url: url.href }
    const { id, endpoints = [] } = this.provider
    throw new AuthkeepError('host_not_bound', { host: url.host, provider: id, declared: declaredHosts(endpoints) })
  }

  async #authorization(request?: HeadersRequest): Promise<Record<string, string>> {
    const { credential, provider } = this.#origin
    if (credential.type === 'api_key' && provider.apiKeyHeader !== undefined)
      return { [provider.apiKeyHeader]: this.reveal() }
    if (this.type === 'Bearer') return { authorization: `Bearer ${this.reveal()}` }
    const key = credential.type === 'oauth' ? credential.dpopKey : undefined
    if (this.type !== 'DPoP' || key === undefined) {
      throw new AuthkeepError('not_supported', { feature: `A ${this.type} token without its key` })
    }
    if (request === undefined) throw new TypeError('a DPoP token is proven for one request: name its method and URL')
    const { dpopNonces, dpopProof } = await import('../grant/dpop.ts')
    const { method, url, nonce = dpopNonces.get(url) } = request
    const proof = await dpopProof({ key, method, url, nonce, accessToken: this.#secret, now: this.#origin.now() })
    return { authorization: `DPoP ${this.reveal()}`, dpop: proof }
  }

  toString(): string {
    return '[redacted]'
  }

  toJSON(): string {
    return '[redacted]'
  }
}

/** Placeholders replaced; undefined when one of them has no value, so that the header is left out. */
function fill(template: string, sources: Sources): string | undefined {
  const missing = new Set<string>()
  const value = template.replace(/\{((?:claims|metadata)[./][^{}]+)\}/g, (placeholder, alternatives: string) => {
    for (const alternative of alternatives.split('|')) {
      const found = lookUp(alternative, sources)
      if (found !== undefined) return found
    }
    missing.add(placeholder)
    return ''
  })
  return missing.size === 0 ? value : undefined
}

interface Sources {
  readonly claims: JsonObject
  readonly metadata: JsonObject
}

/** One alternative: `claims.a.b`, or a JSON Pointer (RFC 6901) behind the name of the source; `=text` asks for a value. */
function lookUp(alternative: string, sources: Sources): string | undefined {
  const [, source = '', path = '', wanted] = /^(claims|metadata)([./][^=]*)(?:=(.*))?$/.exec(alternative) ?? []
  if (source !== 'claims' && source !== 'metadata') return undefined
  const steps = path.startsWith('/')
    ? path
        .slice(1)
        .split('/')
        .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'))
    : path.slice(1).split('.')
  const found = steps.reduce<unknown>(
    (at, step) =>
      typeof at === 'object' && at !== null && Object.prototype.propertyIsEnumerable.call(at, step)
        ? (at as JsonObject)[step]
        : undefined,
    sources[source],
  )
  if (typeof found !== 'string' && typeof found !== 'number' && typeof found !== 'boolean') return undefined
  return wanted === undefined || wanted === String(found) ? String(found) : undefined
}
