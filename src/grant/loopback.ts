import { AuthkeepError, isAuthkeepError } from '../errors.ts'
import { exchangeCode, prepareAuthorization } from './authorization-code.ts'
import { discover } from './discovery.ts'
import { dpopKeyFor } from './dpop.ts'
import type { GrantAnswer, GrantFlow, GrantRequest } from './flow.ts'
import { failurePage, successPage } from './pages.ts'
import { type Callback, listenForRedirect, type RedirectListener } from './redirect-listener.ts'

export interface LoopbackOptions {
  /**
   * Shows the authorization URL to the person. Default: the system's browser. A failure does not end the login, because
   * the URL may have reached the person in another way.
   */
  readonly openBrowser?: (url: URL) => void | Promise<void>
  /** How long the person may take; default 5 minutes. */
  readonly timeoutMs?: number
}

const personMs = 5 * 60_000
const exchangeMs = 20_000

/**
 * Login in a browser on this machine: authorization code with PKCE, the redirect to a loopback address (RFC 8252
 * §7.3). The server is found before anything listens, one redirect is taken, and nothing listens any more when the flow
 * ends, however it ends. The browser is told of success only once the code has been exchanged.
 *
 * `run` rejects with AuthkeepError `authorization_required` (`denied`, `timed_out`), `redirect_unavailable`,
 * `response_invalid`, `server_rejected`, `server_unavailable`, `edge_challenge`, or with `signal.reason`.
 */
export function loopbackFlow(options: LoopbackOptions = {}): GrantFlow {
  return { name: 'loopback', run: (request) => login(request, options) }
}

async function login(request: GrantRequest, options: LoopbackOptions): Promise<GrantAnswer> {
  const { provider, signal, fetch } = request
  signal?.throwIfAborted()
  const metadata = await discover(provider, { fetch, signal })
  const listener = await listenForRedirect(provider)
  let callback: Callback | undefined
  try {
    const { account, now } = request
    const prepared = await prepareAuthorization({
      ...request,
      metadata,
      redirectUri: listener.redirectUri,
      dpopKey: await dpopKeyFor(request),
      timeoutMs: exchangeMs,
    })
    signal?.throwIfAborted()
    show(prepared.url, options.openBrowser ?? openSystemBrowser)
    callback = await arrival(listener, request, options.timeoutMs ?? personMs)
    const { parameters } = callback
    const exchange = exchangeCode({ prepared, callback: parameters, account, fetch, now, timeoutMs: exchangeMs })
    const answer = await unlessAborted(exchange, signal)
    await callback.reply(successPage(provider.id))
    return answer
  } catch (error) {
    await callback?.reply(failurePage(400, isAuthkeepError(error) ? error.message : 'The login was cancelled.'))
    throw error
  } finally {
    await listener.close()
  }
}

function show(url: URL, openBrowser: (url: URL) => void | Promise<void>): void {
  const attempt = async (): Promise<void> => openBrowser(url)
  attempt().catch(() => undefined)
}

async function openSystemBrowser(url: URL): Promise<void> {
  const { default: open } = await import('open')
  const child = await open(url.href)
  child.once('error', () => undefined)
}

async function arrival(listener: RedirectListener, request: GrantRequest, timeoutMs: number): Promise<Callback> {
  const { provider, account, signal } = request
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new AuthkeepError('authorization_required', { provider: provider.id, account, reason: 'timed_out' }))
    }, timeoutMs)
  })
  try {
    return await unlessAborted(Promise.race([listener.callback, late]), signal)
  } finally {
    clearTimeout(timer)
  }
}

/** The promise, or `signal.reason` as soon as the signal is aborted; the work itself goes on unobserved. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work
  const listening = new AbortController()
  const aborted = new Promise<never>((_, reject) => {
    const stop = (): void => {
      // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the caller chose the reason
      reject(signal.reason)
    }
    if (signal.aborted) stop()
    else signal.addEventListener('abort', stop, { once: true, signal: listening.signal })
  })
  try {
    return await Promise.race([work, aborted])
  } finally {
    listening.abort()
  }
}
