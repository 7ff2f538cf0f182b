import type { Dispatcher } from 'undici'
import { errnoOf } from '../errors.ts'
import { type Context, UsageError } from './context.ts'

/** The proxy that the environment names. */
interface Proxy {
  /** The variable that does. */
  readonly variable: string
  /** Without user and password. */
  readonly url: URL
  /** `host:port`, for people. */
  readonly name: string
  /** What `Proxy-Authorization` takes (RFC 7617). */
  readonly token: string | undefined
}

/** The way to the servers. */
export interface Web {
  readonly fetch: typeof fetch
  /** `host:port` of the proxy through which the host of a URL was asked, or was to be. */
  readonly proxyTo: (url: string) => string | undefined
  /** Ends every connection. */
  readonly close: () => Promise<void>
}

/** As long as undici gives a connection that needs no proxy. */
const tunnelMs = 10_000

const firstOf = (env: Context['env'], names: readonly string[]): string | undefined =>
  names.find((name) => (env[name] ?? '') !== '')

/**
 * The proxy for https, or null. http is for this machine only, and goes through none; what is there for http serves
 * where nothing is said of https, as in undici and Node.
 *
 * @throws UsageError for what is not the address of an HTTP proxy; it does not repeat it, because of the password
 */
export function proxyIn(env: Context['env']): Proxy | null {
  const variable = firstOf(env, ['https_proxy', 'HTTPS_PROXY', 'http_proxy', 'HTTP_PROXY'])
  if (variable === undefined) return null
  const text = env[variable] ?? ''
  try {
    const url = new URL(text.includes('://') ? text : `http://${text}`)
    if (!/^https?:$/.test(url.protocol)) throw new TypeError('another protocol')
    const port = url.port === '' ? (url.protocol === 'https:' ? '443' : '80') : url.port
    const login = [url.username, url.password].map(decodeURIComponent).join(':')
    const token = login === ':' ? undefined : `Basic ${Buffer.from(login).toString('base64')}`
    return { variable, url: new URL(url.origin), name: `${url.hostname}:${port}`, token }
  } catch {
    throw new UsageError(`${variable} is not the address of an HTTP proxy, such as http://proxy.example:3128.`)
  }
}

/**
 * Opens the way that the environment says: through the proxy of `HTTPS_PROXY`, except to the hosts of `NO_PROXY` and to
 * this machine. Nothing is loaded or connected before the first request.
 *
 * What fails on the way to the proxy, in it, or behind it, fails with the name of the proxy; what fails before there is
 * a tunnel, with the `syscall` of a connection that never was.
 *
 * @throws UsageError as `proxyIn`
 */
export function openWeb(env: Context['env'], limits: { readonly tunnelMs: number } = { tunnelMs }): Web {
  const proxy = proxyIn(env)
  if (proxy === null) return { fetch, proxyTo: () => undefined, close: async () => undefined }
  const asked = new Set<string>()
  const proxyTo: Web['proxyTo'] = (url) => {
    const { hostname, port } = new URL(url)
    return asked.has(`${hostname}:${port === '' ? '443' : port}`) ? proxy.name : undefined
  }
  let opened: ReturnType<typeof open> | undefined
  const open = async () => {
    const { EnvHttpProxyAgent, fetch: send, Pool } = await import('undici')
    const except = env[firstOf(env, ['no_proxy', 'NO_PROXY']) ?? ''] ?? ''
    const agent = new EnvHttpProxyAgent({
      httpsProxy: proxy.url.href,
      httpProxy: '',
      noProxy: except.trim() === '*' ? '*' : `${except},localhost,127.0.0.1,[::1]`,
      ...(proxy.token === undefined ? {} : { token: proxy.token }),
      clientFactory: (origin, options) => {
        const pool = new Pool(origin, { ...options, headersTimeout: limits.tunnelMs })
        const ask: (request: Dispatcher.ConnectOptions) => Promise<Dispatcher.ConnectData> = pool.connect.bind(pool)
        // undici says of a refusal only that the request was cancelled, and asks for ever where the proxy hangs up.
        const connect = async (request: Dispatcher.ConnectOptions): Promise<Dispatcher.ConnectData> => {
          asked.add(request.path)
          const answer = await ask(request).catch((error: unknown) => {
            throw noTunnel(errnoOf(error) ?? 'unknown')
          })
          if (answer.statusCode === 200) return answer
          answer.socket.on('error', () => undefined).destroy()
          throw noTunnel(String(answer.statusCode))
        }
        return Object.assign(pool, { connect })
      },
    })
    return { agent, send: send as unknown as (...request: [unknown, object]) => Promise<Response> }
  }
  return {
    fetch: async (input, init) => {
      opened ??= open()
      const { agent, send } = await opened
      try {
        return await send(input, { ...init, dispatcher: agent })
      } catch (error) {
        const name = proxyTo(input instanceof Request ? input.url : input.toString())
        throw name === undefined
          ? error
          : Object.assign(new TypeError('fetch failed', { cause: error }), { proxy: name })
      }
    },
    proxyTo,
    close: async () => (await opened)?.agent.destroy(),
  }
}

function noTunnel(why: string): Error {
  return Object.assign(new Error('there is no way through the proxy'), { code: `proxy_${why}`, syscall: 'connect' })
}
