import type { AuthorizationServer } from './authorization-server.ts'

/** A provider literal as authkeep takes it, spelled out so that the demo server needs nothing of the library. */
export interface DemoProvider {
  readonly id: string
  readonly issuer: string
  readonly client: { readonly id: string }
  readonly scopes: readonly string[]
  readonly authorization: Readonly<Record<string, string>>
  readonly endpoints: readonly {
    readonly url: string
    readonly scopes: readonly string[]
    readonly resource: string
    readonly service: string
  }[]
  readonly refresh: { readonly rotation: 'strict' | 'none'; readonly narrowing: 'honoured' }
}

/**
 * The demo authorization server as a provider. Its last endpoint needs `mail:send`, which the login does not ask for,
 * so that there is something to step up to. `api` is where the resource server listens.
 */
export function demoProvider<O extends object = object>(
  server: Pick<AuthorizationServer, 'issuer' | 'origin' | 'clientId'>,
  overrides?: O & { readonly api?: string },
): DemoProvider & Omit<O, 'api'> {
  const { api = server.origin, ...members } = overrides ?? ({} as O & { api?: string })
  const files = `${server.origin}/files`
  const mail = `${server.origin}/mail`
  return {
    id: 'demo',
    issuer: server.issuer,
    client: { id: server.clientId },
    scopes: ['openid', 'offline_access', 'files:read', 'mail:read'],
    // OpenID Connect Core §11: offline_access is granted only together with this.
    authorization: { prompt: 'consent' },
    endpoints: [
      { url: `${api}/files`, scopes: ['files:read'], resource: files, service: 'files' },
      { url: `${api}/mail`, scopes: ['mail:read'], resource: mail, service: 'mail' },
      { url: `${api}/mail/send`, scopes: ['mail:send'], resource: mail, service: 'sending' },
    ],
    refresh: { rotation: 'strict', narrowing: 'honoured' },
    ...members,
  }
}
