import { createHash } from './on-demand.ts'

/** What JSON can say (RFC 8259). */
export type Json = string | number | boolean | null | readonly Json[] | JsonObject
/** An object of JSON. */
export interface JsonObject {
  readonly [member: string]: Json
}

/** Which entry of the store: one per provider and account. A provider id has no colon; an account may be anything. */
export interface CredentialKey {
  readonly provider: string
  readonly account: string
}

/** How we know a scope set: the server said so, it is read from the token, it was looked up, or RFC 6749 §5.1 lets us assume it. */
export type Evidence = 'response' | 'introspection' | 'jwt' | 'assumed'

/** How a client obtains a token without a person (RFC 6749 §4.4). */
export interface Reissue {
  /** Extra parameters of the token request; nothing secret. */
  readonly parameters?: Readonly<Record<string, string>>
}

/** What a person (or a client) has granted: the long-lived part of an OAuth credential. */
export interface Grant {
  readonly scopes: readonly string[]
  readonly evidence: Evidence
  /** RFC 8707 resources that the grant covers. */
  readonly resources: readonly string[]
  readonly refreshToken: Secret | null
  /** The client obtains tokens by itself; there is nothing to refresh, and nothing to lose. */
  readonly reissue?: Reissue
  /** Unix milliseconds, or null where the server sets no limit that we know of. */
  readonly refreshExpiresAt: number | null
  /** Counts refresh tokens of this entry; for people only. */
  readonly generation: number
  readonly obtainedAt: number
  /** Applies only while `stateFor` is the fingerprint of the stored refresh token (or is absent, in a hand-written file). */
  readonly state: 'live' | 'in_doubt' | 'dead'
  readonly stateFor?: string
  /** When the refresh that left this grant in doubt began, Unix milliseconds. */
  readonly doubtSince?: number
  /** How often a refresh token in doubt has been sent again. */
  readonly replays: number
  /** Fingerprint of the refresh token that this one is the successor of; a login has none. */
  readonly predecessor?: string
  /** Who refreshed last, and when. For people, and to know whose clock the times in the entry are of. */
  readonly refreshed?: Refreshed
  /** Another successor that came late, from a grace window or from before a login; tried once if the first is refused. */
  readonly spare?: { readonly refreshToken: Secret; readonly obtainedAt: number }
}

/** A line of the ledger: one refresh. */
export interface Refreshed {
  /** Unix milliseconds. */
  readonly at: number
  readonly host: string
  readonly bootId: string | null
  readonly pid: number
  /** How far the clock of the server was ahead of that machine's, in milliseconds; absent where it was not. */
  readonly clockSkewMs?: number
}

/** One access token of a grant, for one resource and scope set. */
export interface StoredToken {
  readonly accessToken: Secret
  readonly tokenType: string
  readonly scopes: readonly string[]
  readonly resource: string | null
  /** Unix milliseconds, or null where the server did not say. */
  readonly expiresAt: number | null
  readonly obtainedAt: number
  readonly evidence: Evidence
}

/** Who holds a lease or a lock; enough to prove, on the same machine, that the holder is gone. */
export interface Owner {
  readonly host: string
  readonly bootId: string | null
  readonly pidNamespace: string | null
  readonly pid: number
  readonly startTime: string | null
  /** Random, once per loaded copy of the library: tells our own leases from those of another thread. */
  readonly instance?: string
}

/** A refresh under way, written into the entry before the refresh token is spent. */
export interface Lease {
  readonly id: string
  readonly owner: Owner
  /** How long the holder may take, in milliseconds from when a reader first sees this id. */
  readonly ms: number
  readonly claimedAt: number
  /** Set, durably, immediately before the refresh token is sent; null means it is certainly unspent. */
  readonly sentAt: number | null
  /** Fingerprint of the refresh token this lease is for; it means nothing for any other. */
  readonly token: string
  /** Room that the successor will need, so that a full disk shows before the token is spent. */
  readonly padding?: string
}

/** A key that tokens are bound to (RFC 9449). Whoever has the private key can use them, so it is kept like a token. */
export interface DpopKey {
  /** An ES256 key as the JSON of a private JWK (RFC 7517). */
  readonly privateJwk: Secret
  /** The RFC 7638 thumbprint of its public half, by which servers name it (RFC 9449 §6.1); not secret. */
  readonly jkt: string
}

export interface OAuthCredential extends CredentialKey {
  readonly type: 'oauth'
  /** Empty where another program wrote the entry and says neither this nor the client: then both are the provider's. */
  readonly issuer: string
  readonly clientId: string
  readonly subject: string | null
  readonly grant: Grant
  readonly tokens: readonly StoredToken[]
  readonly lease: Lease | null
  readonly idToken?: Secret
  /** The key that refresh and access tokens are bound to (RFC 9449): it changes in one commit with them. */
  readonly dpopKey?: DpopKey
  /** When an endpoint that refused a token last caused a refresh, Unix milliseconds, by endpoint. */
  readonly forced?: Readonly<Record<string, number>>
  /** Free for the application; never secret, never interpreted. */
  readonly metadata?: JsonObject
}

export interface ApiKeyCredential extends CredentialKey {
  readonly type: 'api_key'
  readonly key: Secret
  readonly metadata?: JsonObject
}

export interface TokenCredential extends CredentialKey {
  readonly type: 'token'
  readonly token: Secret
  readonly expiresAt: number | null
  readonly metadata?: JsonObject
}

/** One entry of the store. Members that this version does not know stay in the document and are not shown here. */
export type Credential = OAuthCredential | ApiKeyCredential | TokenCredential

/** The store that an entry was moved to, and that alone renews it now; undefined for one that lives here. */
export function movedTo(credential: Credential): string | undefined {
  const moved = credential.metadata?.['moved'] as { readonly to?: unknown } | undefined
  return typeof moved?.to === 'string' ? moved.to : undefined
}

const redacted = '[redacted]'

/**
 * A string that does not print. `reveal()` is the only way out, so that every place a secret leaves can be found by
 * searching for it.
 */
export class Secret {
  static {
    Object.defineProperty(this.prototype, Symbol.for('nodejs.util.inspect.custom'), { value: () => redacted })
  }

  readonly #value: string

  constructor(value: string) {
    this.#value = value
  }

  /** The secret itself. */
  reveal(): string {
    return this.#value
  }

  /** `[redacted]`, always. */
  toString(): string {
    return redacted
  }

  /** `[redacted]`, always. */
  toJSON(): string {
    return redacted
  }

  /** `[redacted]`, always. */
  [Symbol.toPrimitive](): string {
    return redacted
  }
}

/** A name for a secret that does not give it away: the first 22 characters of its SHA-256 in base64url. */
export function fingerprint(secret: Secret): string {
  return createHash('sha256').update(secret.reveal()).digest('base64url').slice(0, 22)
}

/** The store's name for an entry, `provider:account`. */
export function keyName(key: CredentialKey): string {
  if (key.provider === '' || key.provider.includes(':')) {
    throw new TypeError(`a provider id is a non-empty string without a colon, not ${JSON.stringify(key.provider)}`)
  }
  if (key.account === '') throw new TypeError('an account is a non-empty string')
  return `${key.provider}:${key.account}`
}

/** The inverse of `keyName`. */
export function parseKeyName(name: string): CredentialKey {
  const colon = name.indexOf(':')
  if (colon === -1) return { provider: name, account: '' }
  return { provider: name.slice(0, colon), account: name.slice(colon + 1) }
}

/** The state of the refresh token that is stored: what was noted about another one says nothing about it. */
export function stateOf(grant: Grant): Grant['state'] {
  if (grant.state === 'live' || grant.refreshToken === null || grant.stateFor === undefined) return grant.state
  return grant.stateFor === fingerprint(grant.refreshToken) ? grant.state : 'live'
}

/** What a credential that an environment variable holds is called among the accounts: as a shell spells it. */
export const environmentAccount = (variable: string): string => `$${variable}`

/** The variable behind such an account; undefined for every other. */
export function variableOf(account: string | undefined): string | undefined {
  return /^\$([A-Za-z_]\w*)$/.exec(account ?? '')?.[1]
}
