import { AuthkeepError } from '../errors.ts'
import type { GrantFlow } from './flow.ts'

/** What a person needs in order to log in on another device (RFC 8628 §3.2). */
export interface DeviceCode {
  readonly userCode: string
  readonly verificationUri: string
  readonly verificationUriComplete?: string
  /** Unix milliseconds. */
  readonly expiresAt: number
}

export interface DeviceOptions {
  /** Shows the code to the person. */
  readonly show: (code: DeviceCode) => void | Promise<void>
}

/**
 * Login on another device (RFC 8628). A later version carries it out; for now `run` rejects with AuthkeepError
 * `not_supported`.
 */
export const deviceFlow: (options: DeviceOptions) => GrantFlow = () => ({
  name: 'device',
  run: () => Promise.reject(new AuthkeepError('not_supported', { feature: 'the device code flow' })),
})
