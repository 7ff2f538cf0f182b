import { abortable } from '../abort.ts'
import { isAuthkeepError } from '../errors.ts'
import { exchangeCode, type PreparedAuthorization, prepareAuthorization } from './authorization-code.ts'
import { discover } from './discovery.ts'
import { dpopKeyFor } from './dpop.ts'
import type { GrantAnswer, GrantRequest } from './flow.ts'
import { inTime, personMs } from './in-time.ts'
import type { LoopbackOptions } from './loopback.ts'
import { failurePage, successPage } from './pages.ts'
import { askForRedirect, type PastePrompt } from './pasted.ts'
import { type Callback, listenForRedirect, type RedirectListener } from './redirect-listener.ts'

const exchangeMs = 20_000

/** What `loopbackFlow` does. */
export async function login(request: GrantRequest, options: LoopbackOptions): Promise<GrantAnswer> {
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
