import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AuthorizationServer, listen } from './authorization-server.ts'

export interface ResourceServerOptions {
  readonly authorizationServer: AuthorizationServer
  readonly port?: number
}

export interface ResourceServer {
  readonly origin: string
  /** Answers so far, by `METHOD /path status`. */
  counts(): Readonly<Record<string, number>>
  reset(): void
  stop(): Promise<void>
}

/**
 * Starts an API on 127.0.0.1 that takes bearer tokens of the demo authorization server: `GET /files` needs
 * `files:read`, `POST /files` `files:write`, `DELETE /files` `files:delete`, `GET /mail` `mail:read`, `POST /mail/send`
 * `mail:send`. It asks the server about each token (RFC 7662) and refuses as RFC 6750 §3 says.
 */
export async function startResourceServer(options: ResourceServerOptions): Promise<ResourceServer> {
  const { authorizationServer } = options
  let counts: Record<string, number> = {}
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://api')
    response.once('finish', () => {
      const name = `${request.method ?? ''} ${pathname} ${response.statusCode}`
      counts[name] = (counts[name] ?? 0) + 1
    })
    answer(authorizationServer, pathname, request, response).catch(() => {
      response.writeHead(500).end()
    })
  })
  const origin = await listen(server, options.port ?? 0)
  return {
    origin,
    counts: () => ({ ...counts }),
    reset: () => {
      counts = {}
    },
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

const verbs: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  '/files': { GET: 'files:read', POST: 'files:write', DELETE: 'files:delete' },
  '/mail': { GET: 'mail:read' },
  '/mail/send': { POST: 'mail:send' },
}

async function answer(
  authorizationServer: AuthorizationServer,
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  request.resume()
  const scopes = verbs[path]
  if (scopes === undefined) {
    respond(response, 404, { error: 'not_found' })
    return
  }
  const scope = scopes[request.method ?? '']
  if (scope === undefined) {
    respond(response, 405, { error: 'method_not_allowed' })
    return
  }
  const token = /^Bearer (\S+)$/i.exec(request.headers.authorization ?? '')?.[1]
  if (token === undefined) {
    challenge(response, 401, 'Bearer')
    return
  }
  const facts = await introspect(authorizationServer, token)
  if (facts?.aud !== authorizationServer.origin + (/^\/\w+/.exec(path)?.[0] ?? '')) {
    challenge(response, 401, 'Bearer error="invalid_token", error_description="expired, revoked or for another API"')
    return
  }
  if (!facts.scope.split(' ').includes(scope)) {
    challenge(response, 403, `Bearer error="insufficient_scope", scope="${scope}"`)
    return
  }
  respond(response, 200, { path, scope: facts.scope, subject: facts.sub })
}

interface TokenFacts {
  readonly aud: string
  readonly scope: string
  readonly sub: string
}

async function introspect({ introspection, issuer }: AuthorizationServer, token: string): Promise<TokenFacts | null> {
  const jwt = await verifiedJwt(issuer, token)
  if (jwt !== null) return jwt
  const { url, clientId, clientSecret } = introspection
  const response = await fetch(url, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString('base64')}` },
    body: new URLSearchParams({ token }),
  })
  const facts = (await response.json()) as { active?: boolean; aud?: string; scope?: string; sub?: string }
  if (facts.active !== true) return null
  return { aud: facts.aud ?? '', scope: facts.scope ?? '', sub: facts.sub ?? '' }
}

/** A JWT access token is checked on the spot (RFC 9068 §4): the authorization server keeps no record of it. */
async function verifiedJwt(issuer: string, token: string): Promise<TokenFacts | null> {
  if (token.split('.').length !== 3) return null
  const { createRemoteJWKSet, jwtVerify } = await import('jose')
  try {
    const { payload } = await jwtVerify(token, createRemoteJWKSet(new URL('/jwks', issuer)), { issuer, typ: 'at+jwt' })
    const scope = payload['scope']
    return { aud: String(payload.aud), scope: typeof scope === 'string' ? scope : '', sub: payload.sub ?? '' }
  } catch {
    return null
  }
}

function challenge(response: ServerResponse, status: number, header: string): void {
  response.setHeader('WWW-Authenticate', header)
  respond(response, status, { error: /error="(\w+)"/.exec(header)?.[1] ?? 'unauthorized' })
}

function respond(response: ServerResponse, status: number, body: object): void {
  response
    .writeHead(status, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' })
    .end(JSON.stringify(body))
}
