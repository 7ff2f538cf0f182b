import { abortable } from '../abort.ts'
import { randomInt } from '../on-demand.ts'
import { type Provider, redirectPorts } from '../provider.ts'
import { exchangeCode, prepareAuthorization } from './authorization-code.ts'
import { discover } from './discovery.ts'
import { dpopKeyFor } from './dpop.ts'
import type { GrantAnswer, GrantRequest } from './flow.ts'
import { inTime, personMs } from './in-time.ts'
import type { PasteOptions } from './paste.ts'
import { askForRedirect } from './pasted.ts'

const exchangeMs = 20_000

/** What `pasteFlow` does. */
export async function login(
  request: GrantRequest,
  { prompt, timeoutMs = personMs }: PasteOptions,
): Promise<GrantAnswer> {
  const { provider, account, fetch, now, signal } = request
  signal?.throwIfAborted()
  const metadata = await discover(provider, { fetch, signal })
  const dpopKey = await dpopKeyFor(request)
  const redirectUri = redirectUriOf(provider)
  const prepared = await prepareAuthorization({ ...request, metadata, redirectUri, dpopKey, timeoutMs: exchangeMs })
  const over = new AbortController()
  try {
    const callback = await inTime(askForRedirect(prepared, prompt, over.signal), request, timeoutMs)
    return await abortable(exchangeCode({ prepared, callback, account, fetch, now, timeoutMs: exchangeMs }), signal)
  } finally {
    over.abort()
  }
}

/** Where the server may choose any port (RFC 8252 §7.3), one that hardly anybody listens on. */
function redirectUriOf(provider: Provider): string {
  const { host = '127.0.0.1', path = '/callback' } = provider.redirect ?? {}
  const port = redirectPorts(provider).find((declared) => declared !== 0) ?? randomInt(49_152, 65_536)
  return `http://${host}:${port}${path}`
}
