import type { GrantFlow } from './flow.ts'

/** What a person needs in order to log in on another device (RFC 8628 §3.2). */
export interface DeviceCode {
  readonly userCode: string
  readonly verificationUri: string
  /** Has the code in it already, for a QR code: the person still compares the code. */
  readonly verificationUriComplete?: string
  /** Unix milliseconds. */
  readonly expiresAt: number
}

/** How the person is shown the code. */
export interface DeviceOptions {
  /**
   * Shows the code to the person, who should be told to enter it only where they began the login themselves (RFC 8628
   * §5.4). If it fails, the login ends: nobody has seen the code.
   */
  readonly show: (code: DeviceCode) => void | Promise<void>
  /** How polling waits, for those who have a clock of their own; default: the system's timer. */
  readonly sleep?: (ms: number, signal: AbortSignal | undefined) => Promise<unknown>
}

/**
 * Login on another device: RFC 8628, or what the provider declares in its place (`deviceLogin`). The server is asked as
 * often as it allows, and less often while it says `slow_down` or cannot be reached (§3.5); no failure of the network
 * ends the login before the code expires.
 *
 * `run` rejects with AuthkeepError `flow_unavailable`, `authorization_required` (`denied`, `timed_out`, `answer_lost`),
 * `response_invalid`, `server_rejected`, `server_unavailable` (before there is a code), `edge_challenge`, with whatever
 * `show` throws, or with `signal.reason`.
 */
export function deviceFlow(options: DeviceOptions): GrantFlow {
  return { name: 'device', run: async (request) => (await import('./device-code-login.ts')).login(request, options) }
}
