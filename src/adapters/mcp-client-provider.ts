import { randomBytes } from 'node:crypto'
import type { AccessToken } from '../broker/access-token.ts'
import type { TokenBroker } from '../broker/broker.ts'
import { type JsonObject, Secret } from '../credential.ts'
import { matchEndpoint } from '../endpoint.ts'
import { AuthkeepError, isAuthkeepError } from '../errors.ts'
import { discover } from '../grant/discovery.ts'
import type { GrantAnswer, GrantRequest } from '../grant/flow.ts'
import { grantedScopes } from '../grant/granted-scopes.ts'
import { tokenAnswer } from '../grant/token-answer.ts'
import { validateToken } from '../grant/validate.ts'
import type { AuthorizationServerMetadata, Provider } from '../provider.ts'
import { formatScope, missingScopes, parseScope, unionScopes } from '../scope.ts'
import type { CredentialStore } from '../store/store.ts'
import { plain } from './sdk.ts'

/** How the person is sent to the authorization server, and back. */
export interface McpClientProviderOptions {
  /** Where the authorization server sends the person back to: an address of the program's own. */
  readonly redirectUrl: string | URL
  /** Shows the authorization URL to the person. The code that comes back is for the transport's `finishAuth`. */
  readonly redirectToAuthorization: (url: URL) => void | Promise<void>
  /** Whose token, where there are several. */
  readonly account?: string
}

/** A client, as the SDK wants it described (RFC 7591 §3.2.1), and the server that it is registered with. */
export interface McpClientInformation {
  readonly client_id: string
  readonly client_secret?: string
  readonly token_endpoint_auth_method?: string
  readonly issuer: string
}

/** A token answer (RFC 6749 §5.1), and the server that it is of. */
export interface McpTokens {
  readonly access_token: string
  readonly token_type: string
  readonly expires_in?: number
  readonly scope?: string
  readonly issuer: string
}

interface Found {
  readonly provider: Provider
  readonly broker: TokenBroker
}

/** What it needs to know of its server. */
export interface Surroundings {
  readonly fetch: typeof fetch
  readonly store: CredentialStore
  /** The provider that declares the server, if one does. */
  known(): Promise<Found | undefined>
  /** The same, and where none does, what the server says of itself. */
  find(): Promise<Found | undefined>
}

/** A login that the SDK has begun. */
interface Login extends Found {
  readonly metadata: AuthorizationServerMetadata
  readonly scopes: readonly string[]
}

const timeoutMs = 20_000

/**
 * An `OAuthClientProvider` of the SDK of the Model Context Protocol, for one server.
 *
 * The SDK has the login: its page, its redirect and the exchange of its code. Everything else is the broker's. `tokens`
 * gives a token that is fresh, and never the refresh token: the SDK would spend that without asking who else is about to,
 * and after `invalid_grant` throw away what is stored by then. What the SDK cannot know, it cannot spoil: nothing that it
 * invalidates is ours, and nothing is saved but a login that has been begun here.
 *
 * A login is begun only where the broker has no token and can get none. Where it has one after all, in place of one that
 * the server has just refused, `auth` of the SDK rejects with `token_replaced`, and the same call made again goes through.
 */
export class McpClientProvider {
  readonly redirectUrl: string | URL
  readonly clientMetadata: { redirect_uris: string[] }
  readonly #url: URL
  readonly #options: McpClientProviderOptions
  readonly #around: Surroundings
  /** What the SDK had from us when it began to look for another. */
  #given: string | undefined
  #refused: string | undefined
  #codeVerifier: string | undefined
  #login: Login | undefined

  constructor(url: URL, options: McpClientProviderOptions, around: Surroundings) {
    this.redirectUrl = options.redirectUrl
    this.clientMetadata = { redirect_uris: [String(options.redirectUrl)] }
    this.#url = url
    this.#options = options
    this.#around = around
  }

  /**
   * Where to log in. What scopes the resource has is left out: those that a refusal names are then the only ones that the
   * SDK asks for.
   */
  async discoveryState(): Promise<{
    authorizationServerUrl: string
    resourceMetadata?: { resource: string; authorization_servers: string[] }
  }> {
    this.#refused = this.#given
    const { provider } = await this.#found()
    const { issuer, endpoints = [] } = provider
    const resource = matchEndpoint(endpoints, this.#url)?.resource
    return {
      authorizationServerUrl: issuer,
      ...(resource === undefined ? {} : { resourceMetadata: { resource, authorization_servers: [issuer] } }),
    }
  }

  /** The client that is registered with the server of this resource; registers it where it has to be (RFC 7591). */
  async clientInformation(): Promise<McpClientInformation> {
    const { provider } = await this.#found()
    const { id, secret, authentication: method } = provider.client
    return {
      ...{ client_id: id, issuer: provider.issuer },
      ...(secret === undefined ? {} : { client_secret: secret }),
      ...(method === undefined ? {} : { token_endpoint_auth_method: method }),
    }
  }

  /**
   * A fresh access token, or undefined where a person has to log in.
   *
   * @throws AuthkeepError as `getToken`; `not_supported` for a DPoP token
   */
  async tokens(): Promise<McpTokens | undefined> {
    const found = await this.#around.known()
    const token = found === undefined ? null : await this.#token(found)
    if (found === undefined || token === null) return undefined
    const { type, expiresAt, scopes } = token
    this.#given = plain(token)
    return {
      ...{ access_token: this.#given, token_type: type, issuer: found.provider.issuer },
      ...(expiresAt === null ? {} : { expires_in: Math.max(0, Math.floor((expiresAt - Date.now()) / 1000)) }),
      ...(scopes.length === 0 ? {} : { scope: formatScope(scopes) }),
    }
  }

  /** The `state` of the login under way (RFC 6749 §10.12). */
  state(): string {
    return randomBytes(16).toString('base64url')
  }

  /** Keeps the verifier of the login under way, in memory only (RFC 7636). */
  saveCodeVerifier(codeVerifier: string): void {
    this.#codeVerifier = codeVerifier
  }

  /** @throws TypeError where no login has been begun by this object */
  codeVerifier(): string {
    if (this.#codeVerifier === undefined) throw new TypeError('no login has been begun here')
    return this.#codeVerifier
  }

  /**
   * Leads the person to a login that asks for all that the account has been granted as well, so that it takes nothing away.
   *
   * @throws AuthkeepError `token_replaced` where none is needed
   */
  async redirectToAuthorization(authorizationUrl: URL): Promise<void> {
    const found = await this.#found()
    const { provider } = found
    const asked = parseScope(authorizationUrl.searchParams.get('scope') ?? '')
    const token = await this.#token(found)
    const isEnough = token !== null && missingScopes(asked, token.scopes, provider.implies).length === 0
    const served = isEnough ? await this.#token(found, this.#refused) : null
    if (served !== null) {
      throw new AuthkeepError('token_replaced', { provider: provider.id, account: served.account })
    }
    const stored = await this.#around.store.list({ provider: provider.id })
    const own = stored.filter(({ account }) => account === (this.#options.account ?? account))
    const scopes = unionScopes(provider.scopes ?? [], asked, ...own.map((info) => info.scopes ?? []))
    const url = new URL(authorizationUrl)
    for (const [name, value] of Object.entries(provider.authorization ?? {})) url.searchParams.set(name, value)
    if (scopes.length > 0) url.searchParams.set('scope', formatScope(scopes))
    this.#login = { ...found, scopes, metadata: await discover(provider, { fetch: this.#around.fetch }) }
    await this.#options.redirectToAuthorization(url)
  }

  /**
   * Stores what a login has brought, if it was begun here; anything else changes nothing.
   *
   * @throws AuthkeepError as `authorize`; `response_invalid` for an ID token that is not what it should be
   */
  async saveTokens(tokens: Readonly<Record<string, unknown>> & { readonly access_token: string }): Promise<void> {
    if (typeof tokens.access_token !== 'string' || tokens.access_token === '') throw new TypeError('no access token')
    const login = this.#login
    if (login === undefined || tokens.access_token === this.#given) return
    const { account } = this.#options
    const target = { provider: login.provider.id, ...(account === undefined ? {} : { account }) }
    const run = (request: GrantRequest): Promise<GrantAnswer> => this.#answer(login, tokens, request)
    await login.broker.authorize(target, { name: 'mcp', run }, { narrower: 'keep' })
    this.#login = undefined
    this.#codeVerifier = undefined
  }

  /** Nothing. It speaks of what the SDK has had from here, and that is never what is stored. */
  invalidateCredentials(_scope: string): void {}

  /** What the SDK was answered, in our names. It has looked at its shape and at nothing else. */
  async #answer(
    { provider, metadata, scopes }: Login,
    { id_token: shown, ...body }: Readonly<Record<string, unknown>>,
    { fetch, now }: GrantRequest,
  ): Promise<GrantAnswer> {
    const idToken = typeof shown === 'string' && shown !== '' ? new Secret(shown) : null
    const asked = { provider, metadata, fetch, now, timeoutMs }
    const found = idToken === null ? null : await validateToken({ ...asked, token: idToken, kind: 'id_token' })
    if (found?.kind === 'invalid') {
      const what = 'the ID token is not what it should be'
      throw new AuthkeepError('response_invalid', { provider: provider.id, status: 200, what })
    }
    const isShown = found?.kind === 'valid'
    const resource = matchEndpoint(provider.endpoints ?? [], this.#url)?.resource ?? null
    const resources = resource === null ? [] : [resource]
    const token = tokenAnswer({ ...body, ...(isShown ? { id_token: shown } : {}) } as JsonObject, {
      ...{ requestedScopes: scopes, resource, obtainedAt: now(), headers: new Headers() },
      subject: isShown ? found.evidence.subject : null,
    })
    return { type: 'oauth', ...(await grantedScopes(token, { ...asked, scopes, resources })), resources, token }
  }

  async #found(): Promise<Found> {
    const found = await this.#around.find()
    if (found !== undefined) return found
    const asked = `${this.#url.origin}${this.#url.pathname}`
    throw new AuthkeepError('endpoint_unknown', { asked })
  }

  /** Null where a person has to log in. */
  async #token({ broker }: Found, rejected?: string): Promise<AccessToken | null> {
    const { account } = this.#options
    try {
      return await broker.getToken(this.#url, {
        ...(account === undefined ? {} : { account }),
        ...(rejected === undefined ? {} : { rejected }),
      })
    } catch (error) {
      if (isAuthkeepError(error) && error.remedy === 'authorize') return null
      throw error
    }
  }
}
