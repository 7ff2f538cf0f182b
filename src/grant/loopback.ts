import type { GrantFlow } from './flow.ts'
import type { PastePrompt } from './pasted.ts'

/** How `loopbackFlow` reaches the person. */
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
  return { name: 'loopback', run: async (request) => (await import('./loopback-login.ts')).login(request, options) }
}
