import type { GrantFlow } from './flow.ts'
import type { PastePrompt } from './pasted.ts'

/** How `pasteFlow` asks the person. */
export interface PasteOptions {
  readonly prompt: PastePrompt
  /** How long the person may take; default 5 minutes. */
  readonly timeoutMs?: number
}

/**
 * Login with a browser on another machine, over SSH for instance: the browser ends at an address of that machine where
 * nobody listens, and the person pastes it. Nothing listens here.
 *
 * `run` rejects with AuthkeepError `authorization_required` (`denied`, `timed_out`), `response_invalid`,
 * `server_rejected`, `server_unavailable`, `edge_challenge`, with whatever `prompt` throws, or with `signal.reason`.
 */
export function pasteFlow(options: PasteOptions): GrantFlow {
  return { name: 'paste', run: async (request) => (await import('./paste-login.ts')).login(request, options) }
}
