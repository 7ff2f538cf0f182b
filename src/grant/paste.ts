import { AuthkeepError } from '../errors.ts'
import type { GrantFlow } from './flow.ts'

export interface PasteOptions {
  /** Shows the authorization URL and resolves with the redirect URL that the person has pasted. */
  readonly prompt: (url: URL) => Promise<string>
}

/**
 * Login with a browser on another machine: the person pastes the redirect URL. A later version carries it out; for now
 * `run` rejects with AuthkeepError `not_supported`.
 */
export const pasteFlow: (options: PasteOptions) => GrantFlow = () => ({
  name: 'paste',
  run: () => Promise.reject(new AuthkeepError('not_supported', { feature: 'the pasted redirect flow' })),
})
