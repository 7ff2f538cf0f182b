import { abortable } from '../abort.ts'
import { isAuthkeepError } from '../errors.ts'
import { exchangeCode, type PreparedAuthorization, prepareAuthorization } from './authorization-code.ts'
import { discover } from './discovery.ts'
import { dpopKeyFor } from './dpop.ts'
import type { GrantAnswer, GrantFlow, GrantRequest } from './flow.ts'
import { inTime, personMs } from './in-time.ts'
import { failurePage, successPage } from './pages.ts'
import { askForRedirect, type PastePrompt } from './pasted.ts'
import { type Callback, listenForRedirect, type RedirectListener } from './redirect-listener.ts'

export interface LoopbackOptions {
  /**
   * Shows the authorization URL to the person. Default: the system's browser. A failure does not end the login, because
   * the URL may have reached the person in another way.
   */
  readonly openBrowser?: (url: URL) => void | Promise<void>
  /** Takes a pasted redirect at the same time, for a browser on another machine. The first of the two wins. */
  readonly paste?: PastePrompt
  /** How long the person may take; default 5 minutes. */
  readonly timeoutMs?: number
}

const exchangeMs = 20_000

/**
 * Login in a browser on this machine: authorization code with PKCE, the redirect to a loopback address (RFC 8252
 * §7.3). The server is found before anything listens, one redirect is taken, the one with the state of this login, and
 * nothing listens any more when the flow ends, however it ends. The browser is told of success only once the grant has
 * been kept. A later login of the same client takes over a fixed port from one that still waits.
 *
 * `run` rejects with AuthkeepError `authorization_required` (`denied`, `timed_out`, `superseded`), `redirect_unavailable`,
 * `response_invalid`, `server_rejected`, `server_unavailable`, `edge_challenge`, or with `signal.reason`.
 */
export function loopbackFlow(options: LoopbackOptions = {}): GrantFlow {
  return { name: 'loopback', run: (request) => login(request, options) }
}

async function login(request: GrantRequest, options: LoopbackOptions): Promise<GrantAnswer> {
  const { provider, account, signal, fetch, now } = request
  signal?.throwIfAborted()
  const metadata = await discover(provider, { fetch, signal })
  const dpopKey = await dpopKeyFor(request)
  const listener = await listenForRedirect(provider, account)
  const over = new AbortController()
  let callback: Callback | undefined
  try {
    const { redirectUri } = listener
    const prepared = await prepareAuthorization({ ...request, metadata, redirectUri, dpopKey, timeoutMs: exchangeMs })
    signal?.throwIfAborted()
    show(prepared.url, options.openBrowser ?? openSystemBrowser)
    const arrivals = [listener.redirectWith(prepared.state)]
    if (options.paste !== undefined) arrivals.push(pasted(prepared, options.paste, listener, over.signal))
    callback = await inTime(Promise.race(arrivals), request, options.timeoutMs ?? personMs)
    over.abort()
    const { parameters } = callback
    const exchange = exchangeCode({ prepared, callback: parameters, account, fetch, now, timeoutMs: exchangeMs })
    const answer = await abortable(exchange, signal)
    const kept = await request.keep?.(answer)
    await callback.reply(successPage(typeof kept === 'string' ? { ...request, account: kept } : request))
    return answer
  } catch (error) {
    await callback?.reply(failurePage(isAuthkeepError(error) ? error.message : 'The login was cancelled.', request))
    throw error
  } finally {
    over.abort()
    await listener.close()
  }
}

/** A redirect by hand. Nothing listens any more once there is one; a prompt that fails leaves the browser its chance. */
async function pasted(
  prepared: PreparedAuthorization,
  prompt: PastePrompt,
  listener: RedirectListener,
  signal: AbortSignal,
): Promise<Callback> {
  try {
    const parameters = await askForRedirect(prepared, prompt, signal)
    if (!signal.aborted) await listener.close()
    return { parameters, reply: () => Promise.resolve() }
  } catch {
    return new Promise(() => undefined)
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
