import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Configuration, Provider } from 'oidc-provider'
import { type Fault, type Mutation, mutateJson, serveFaulty } from './faults.ts'
import { interact, interactionPath } from './interactions.ts'
import { createMemory, type Memory } from './memory.ts'

export interface AuthorizationServerOptions {
  /** Default: one that the system chooses. */
  readonly port?: number
  /** Serves https, as what the world calls `origin`, on whatever port. */
  readonly tls?: { readonly key: string; readonly cert: string; readonly origin: string }
  /** Resource path → its scopes. Default: `/files` and `/mail`. */
  readonly resources?: Readonly<Record<string, readonly string[]>>
  /** Default 300. */
  readonly accessTokenSeconds?: number
  /** Default `opaque`. */
  readonly accessTokenFormat?: 'opaque' | 'jwt'
  /** Refresh tokens are single-use unless this is false. */
  readonly rotate?: boolean
  /** Changes what the server is made of before it is made. */
  readonly configure?: (configuration: Configuration) => Configuration
  /** Adds to the server before it answers anything: a grant type, for instance. */
  readonly extend?: (server: Provider) => void
}

/** What has really happened at the server since it started or was reset. */
export interface Counts {
  /** Requests that arrived at the token endpoint, faults included. */
  readonly arrived: number
  /** Token requests that the server carried out or refused itself, by grant type. */
  readonly token: Readonly<Record<string, number>>
  /** Refresh tokens that were presented a second time; each revoked its grant. */
  readonly reuse: number
  /** Grants that were revoked, for whatever reason. */
  readonly revoked: number
  /** Most token requests under way at the same time. */
  readonly inFlightMax: number
}

export interface AuthorizationServer {
  /** Where it listens on 127.0.0.1. */
  readonly port: number
  readonly origin: string
  readonly issuer: string
  /** Resource identifier (RFC 8707) → its scopes. */
  readonly resources: Readonly<Record<string, readonly string[]>>
  readonly clientId: string
  /** Credentials with which a resource server may introspect tokens (RFC 7662). */
  readonly introspection: { readonly url: string; readonly clientId: string; readonly clientSecret: string }
  counts(): Counts
  /** Forgets counts, faults and mutations; with `everything` also sessions, grants and tokens. */
  reset(options?: { everything?: boolean }): void
  /** Every token request waits this long before it is carried out. */
  setTokenDelay(ms: number): void
  /** Faults for the next token requests, one each. */
  fault(...faults: Fault[]): void
  /** Rewrites every token answer from now on; null ends it. */
  mutateResponse(mutation: Mutation | null): void
  stop(): Promise<void>
}

const defaultResources: Readonly<Record<string, readonly string[]>> = {
  '/files': ['files:read', 'files:write', 'files:delete'],
  '/mail': ['mail:read', 'mail:send'],
}

const clientId = 'authkeep-demo'

/**
 * Starts a real authorization server on 127.0.0.1: authorization code with PKCE, resource indicators, and single-use
 * refresh tokens whose second use revokes the whole grant. It has one public native client, whose redirect may be on
 * any loopback port.
 */
export async function startAuthorizationServer(options: AuthorizationServerOptions = {}): Promise<AuthorizationServer> {
  let handle: (request: IncomingMessage, response: ServerResponse) => void = () => undefined
  const { tls } = options
  const answer = (request: IncomingMessage, response: ServerResponse): void => handle(request, response)
  const server = tls === undefined ? createServer(answer) : createSecureServer(tls, answer)
  const address = await listen(server, options.port ?? 0)
  const origin = tls?.origin ?? address
  const resources = Object.fromEntries(
    Object.entries(options.resources ?? defaultResources).map(([path, scopes]) => [`${origin}${path}`, scopes]),
  )
  const introspectionClient = { clientId: 'demo-resource-server', clientSecret: randomUUID() }
  const memory = createMemory()
  const provider = await createProvider(origin, resources, introspectionClient, memory, options)

  let counts = emptyCounts()
  let inFlight = 0
  let delayMs = 0
  let faults: Fault[] = []
  let mutation: Mutation | null = null
  provider.on('grant.success', (context) => counted(context.oidc.params?.['grant_type']))
  provider.on('grant.error', (context, error) => {
    counted(context.oidc.params?.['grant_type'])
    if (error.error_detail === 'refresh token already used') counts.reuse++
  })
  provider.on('grant.revoked', () => counts.revoked++)
  const counted = (grantType: unknown): void => {
    const name = String(grantType)
    counts.token[name] = (counts.token[name] ?? 0) + 1
  }

  // oidc-provider looks a refresh token up and marks it used in two steps. A server with a database does so in one
  // transaction; here requests take turns, so that of two simultaneous uses exactly one is the first.
  let turn: Promise<unknown> = Promise.resolve()
  const callback = provider.callback()
  const inTurn = (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const mine = turn.then(() => callback(request, response))
    turn = mine.catch(() => undefined)
    return mine
  }

  const token = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    counts.arrived++
    inFlight++
    counts.inFlightMax = Math.max(counts.inFlightMax, inFlight)
    response.once('close', () => inFlight--)
    const fault = faults.shift()
    if (mutation !== null) mutateJson(response, mutation)
    if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs))
    // Whoever hung up while waiting is not served; their request was never read.
    if (request.destroyed) return
    await serveFaulty(fault, request, response, inTurn)
  }

  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (request.method === 'POST' && request.url === '/token') await token(request, response)
    else if (!(await interact(provider, request, response))) await callback(request, response)
  }
  handle = (request, response) => {
    serve(request, response).catch((error: unknown) => {
      const text = error instanceof Error ? error.message : 'failed'
      if (!response.headersSent) response.writeHead(500, { 'Content-Type': 'text/plain' })
      response.end(text)
    })
  }

  return {
    port: Number(new URL(address).port),
    origin,
    issuer: origin,
    resources,
    clientId,
    introspection: { url: `${origin}/token/introspection`, ...introspectionClient },
    counts: () => structuredClone(counts),
    reset: ({ everything = false } = {}) => {
      counts = emptyCounts()
      delayMs = 0
      faults = []
      mutation = null
      if (everything) memory.clear()
    },
    setTokenDelay: (ms) => {
      delayMs = ms
    },
    fault: (...more) => {
      faults.push(...more)
    },
    mutateResponse: (next) => {
      mutation = next
    },
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

interface Tally {
  arrived: number
  token: Record<string, number>
  reuse: number
  revoked: number
  inFlightMax: number
}

function emptyCounts(): Tally {
  return { arrived: 0, token: {}, reuse: 0, revoked: 0, inFlightMax: 0 }
}

export function listen(server: Server, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => {
      server.off('error', reject)
      resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    })
  })
}

async function createProvider(
  origin: string,
  resources: Readonly<Record<string, readonly string[]>>,
  resourceServer: { clientId: string; clientSecret: string },
  memory: Memory,
  options: AuthorizationServerOptions,
): Promise<Provider> {
  return quietly(async () => {
    const oidc = await import('oidc-provider')
    const accessTokenTTL = options.accessTokenSeconds ?? 300
    const configuration: Configuration = {
      adapter: memory.adapter,
      clients: [
        {
          client_id: clientId,
          application_type: 'native',
          token_endpoint_auth_method: 'none',
          grant_types: ['authorization_code', 'refresh_token'],
          response_types: ['code'],
          redirect_uris: ['127.0.0.1', 'localhost', '[::1]'].flatMap((host) => [
            `http://${host}/callback`,
            `http://${host}/auth/callback`,
          ]),
        },
        {
          client_id: resourceServer.clientId,
          client_secret: resourceServer.clientSecret,
          grant_types: [],
          response_types: [],
          redirect_uris: [],
        },
      ],
      clientDefaults: { id_token_signed_response_alg: 'ES256' },
      cookies: { keys: [randomBytes(32).toString('base64url')] },
      enabledJWA: { idTokenSigningAlgValues: ['ES256'] },
      features: {
        devInteractions: { enabled: false },
        introspection: { enabled: true, allowedPolicy: () => true },
        revocation: { enabled: true, allowedPolicy: (_ctx, client, token) => token.clientId === client.clientId },
        resourceIndicators: {
          enabled: true,
          getResourceServerInfo: (_ctx, resource) => {
            const scopes = resources[resource]
            if (scopes === undefined) throw new oidc.errors.InvalidTarget()
            const format = options.accessTokenFormat ?? 'opaque'
            const jwt = format === 'jwt' ? { jwt: { sign: { alg: 'ES256' as const } } } : {}
            return { scope: scopes.join(' '), audience: resource, accessTokenFormat: format, accessTokenTTL, ...jwt }
          },
        },
      },
      findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
      interactions: { url: (_ctx, interaction) => interactionPath(interaction.uid) },
      jwks: { keys: [signingKey()] },
      // Each login is a grant of its own, so that losing one does not end the others.
      loadExistingGrant: async (context) => {
        const grantId = context.oidc.result?.consent?.grantId
        return grantId === undefined ? undefined : context.oidc.provider.Grant.find(grantId)
      },
      pkce: { required: () => true },
      rotateRefreshToken: options.rotate ?? true,
      scopes: ['openid', 'offline_access'],
      ttl: {
        AccessToken: accessTokenTTL,
        AuthorizationCode: 60,
        Grant: 86_400,
        IdToken: 3600,
        Interaction: 3600,
        RefreshToken: 86_400,
        Session: 86_400,
      },
    }
    const provider = new oidc.Provider(origin, options.configure?.(configuration) ?? configuration)
    provider.silent = true
    options.extend?.(provider)
    return provider
  })
}

function signingKey(): Record<string, unknown> & { kty: 'EC' } {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return { ...privateKey.export({ format: 'jwk' }), kty: 'EC', alg: 'ES256', use: 'sig', kid: 'demo' }
}

/** oidc-provider greets developers with advice for production; a demo server has nothing to say to it. */
async function quietly<T>(work: () => Promise<T>): Promise<T> {
  const { info, warn } = console
  console.info = console.warn = () => undefined
  try {
    return await work()
  } finally {
    Object.assign(console, { info, warn })
  }
}
