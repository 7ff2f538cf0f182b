import { createHash, randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import type { Configuration } from 'oidc-provider'
import {
  type AuthorizationServer,
  type AuthorizationServerOptions,
  startAuthorizationServer,
} from '../../examples/server/authorization-server.ts'
import { completeLogin, type RobotOptions } from '../../examples/server/robot.ts'
import type { Provider } from '../../src/provider.ts'

/** Pages of oidc-provider without its advice for production; where it would ask for another code, there is no form. */
const pages: NonNullable<NonNullable<Configuration['features']>['deviceFlow']> = {
  enabled: true,
  userCodeInputSource: (context) => {
    context.body = 'Which code?'
  },
  userCodeConfirmSource: (context, form) => {
    context.body = form
  },
  successSource: (context) => {
    context.body = 'Done.'
  },
}

/** RFC 8628 for the demo server. */
export const withDeviceCodes = (configuration: Configuration): Configuration => ({
  ...configuration,
  ttl: { ...configuration.ttl, DeviceCode: 600 },
  features: { ...configuration.features, deviceFlow: pages },
  clients: (configuration.clients ?? []).map((client) => ({
    ...client,
    grant_types: [...(client.grant_types ?? []), 'urn:ietf:params:oauth:grant-type:device_code'],
  })),
})

type Members = Readonly<Record<string, unknown>>

/** How a server spells a device login that is its own. */
export interface Dialect {
  readonly type: 'application/json' | 'application/x-www-form-urlencoded'
  /** Paths, on the origin of the issuer. */
  readonly codePath: string
  readonly pollPath: string
  readonly redirectPath: string
  /** Exactly what has to be sent for a code. */
  readonly asksFor: readonly string[]
  readonly issues: (id: string, code: string, origin: string) => Members
  /** What a poll names the login by; no other members may come. */
  readonly polledBy: (id: string, code: string) => Members
  readonly pending: { readonly status: number; readonly body: string }
  readonly done: (code: string, verifier: string) => Members
  readonly provider: (origin: string) => NonNullable<Provider['deviceLogin']>
}

const challengeOf = (verifier: string): string => createHash('sha256').update(verifier).digest('base64url')

/** JSON; the code lives as long as the client thinks; two statuses mean "not yet". */
export const jsonDialect: Dialect = {
  type: 'application/json',
  codePath: '/api/accounts/deviceauth/usercode',
  pollPath: '/api/accounts/deviceauth/token',
  redirectPath: '/deviceauth/callback',
  asksFor: ['client_id'],
  issues: (id, code) => ({ device_auth_id: id, usercode: code, interval: '1' }),
  polledBy: (id, code) => ({ device_auth_id: id, user_code: code }),
  pending: { status: 403, body: '{"error":{"code":"deviceauth_authorization_unknown"}}' },
  done: (code, verifier) => ({
    authorization_code: code,
    code_challenge: challengeOf(verifier),
    code_verifier: verifier,
  }),
  provider: (origin) => ({
    codeEndpoint: `${origin}/api/accounts/deviceauth/usercode`,
    pollEndpoint: `${origin}/api/accounts/deviceauth/token`,
    verificationUri: `${origin}/codex/device`,
    redirectUri: `${origin}/deviceauth/callback`,
    encoding: 'json',
    codeParameters: ['client_id'],
    pollParameters: ['device_code', 'user_code'],
    members: { device_code: ['device_auth_id'], user_code: ['user_code', 'usercode'], code: ['authorization_code'] },
    pendingStatuses: [403, 404],
    disabledStatuses: [404],
  }),
}

/** Forms; the page and the lifetime come with the code; a success without a code means "not yet". */
export const formDialect: Dialect = {
  type: 'application/x-www-form-urlencoded',
  codePath: '/pair',
  pollPath: '/pair/status',
  redirectPath: '/paired',
  asksFor: ['app', 'rights'],
  issues: (id, code, origin) => ({
    pairing: id,
    pin: code,
    page: `${origin}/tv`,
    link: `${origin}/tv#${code}`,
    ttl: 300,
  }),
  polledBy: (id) => ({ app: 'authkeep-demo', pairing: id }),
  pending: { status: 202, body: '{"state":"waiting"}' },
  done: (code, verifier) => ({ grant: code, proof: verifier }),
  provider: (origin) => ({
    codeEndpoint: `${origin}/pair`,
    pollEndpoint: `${origin}/pair/status`,
    redirectUri: `${origin}/paired`,
    members: {
      client_id: ['app'],
      scope: ['rights'],
      device_code: ['pairing'],
      user_code: ['pin'],
      verification_uri: ['page'],
      verification_uri_complete: ['link'],
      expires_in: ['ttl'],
      code: ['grant'],
      code_verifier: ['proof'],
    },
    pendingStatuses: [202],
    disabledStatuses: [501],
  }),
}

/** What comes in the place of one answer of the device login; `cut` is none at all. */
export type DeviceFault =
  | { readonly status: number; readonly body?: string; readonly headers?: Record<string, string> }
  | 'cut'

export interface DeviceServer extends AuthorizationServer {
  readonly deviceLogin: NonNullable<Provider['deviceLogin']>
  /** The person logs in with a browser, having typed the code on the page. */
  approve(userCode: string, robot?: RobotOptions): Promise<void>
  /** For the next requests at the two endpoints, one each. */
  deviceFault(...faults: DeviceFault[]): void
  /** Paths at the two endpoints that were asked. */
  readonly asked: string[]
}

/** The demo server with a device login of a dialect in front of its real authorization codes. */
export async function startDeviceServer(
  dialect: Dialect,
  options: AuthorizationServerOptions = {},
): Promise<DeviceServer> {
  const logins = new Map<string, { readonly id: string; readonly verifier: string; code?: string }>()
  const faults: DeviceFault[] = []
  const asked: string[] = []
  let origin = ''

  const answerTo = async (path: string, request: IncomingMessage): Promise<{ status: number; body: string }> => {
    const body = await text(request)
    const isJson = dialect.type === 'application/json'
    const sent = (isJson ? JSON.parse(body) : Object.fromEntries(new URLSearchParams(body))) as Members
    const no = { status: 400, body: JSON.stringify({ error: 'invalid_request' }) }
    if (request.headers['content-type'] !== dialect.type) return no
    if (path === dialect.codePath) {
      if (Object.keys(sent).join(' ') !== dialect.asksFor.join(' ')) return no
      const [id, code] = [randomBytes(16).toString('base64url'), `${randomBytes(2).toString('hex')}-WXYZ`]
      logins.set(code, { id, verifier: randomBytes(32).toString('base64url') })
      return { status: 200, body: JSON.stringify(dialect.issues(id, code, origin)) }
    }
    for (const [userCode, { id, verifier, code }] of logins) {
      if (JSON.stringify(dialect.polledBy(id, userCode)) !== JSON.stringify(sent)) continue
      if (code === undefined) return dialect.pending
      logins.delete(userCode)
      return { status: 200, body: JSON.stringify(dialect.done(code, verifier)) }
    }
    return no
  }

  const server = await startAuthorizationServer({
    ...options,
    configure: (configuration) => ({
      ...configuration,
      clients: (configuration.clients ?? []).map((client) => ({
        ...client,
        redirect_uris: [...(client.redirect_uris ?? []), `http://127.0.0.1${dialect.redirectPath}`],
      })),
    }),
    extend: (provider) => {
      provider.use(async (context, next) => {
        if (![dialect.codePath, dialect.pollPath].includes(context.path)) {
          await next()
          return
        }
        asked.push(context.path)
        const fault = faults.shift()
        const answer = typeof fault === 'object' ? fault : await answerTo(context.path, context.req)
        if (typeof fault === 'string') {
          context.respond = false
          context.req.socket.destroy()
          return
        }
        context.status = answer.status
        context.type = 'application/json'
        context.body = answer.body ?? ''
        if ('headers' in answer) context.set(answer.headers ?? {})
      })
    },
  })
  origin = server.origin
  return {
    ...server,
    asked,
    deviceLogin: dialect.provider(origin),
    deviceFault: (...more) => void faults.push(...more),
    async approve(userCode, robot = {}) {
      const login = logins.get(userCode)
      if (login === undefined) throw new Error(`nobody was given the code ${userCode}`)
      const url = new URL('/auth', origin)
      url.search = new URLSearchParams({
        client_id: server.clientId,
        response_type: 'code',
        redirect_uri: `${origin}${dialect.redirectPath}`,
        scope: 'openid offline_access files:read mail:read',
        prompt: 'consent',
        code_challenge: challengeOf(login.verifier),
        code_challenge_method: 'S256',
      }).toString()
      for (const resource of Object.keys(server.resources)) url.searchParams.append('resource', resource)
      const code = (await completeLogin(url, robot)).url.searchParams.get('code')
      if (code === null) throw new Error('the login brought no code')
      login.code = code
    },
  }
}
