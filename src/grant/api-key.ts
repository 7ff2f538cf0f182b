import { Secret } from '../credential.ts'
import type { GrantFlow } from './flow.ts'

/** Which key `apiKeyFlow` stores. */
export interface ApiKeyOptions {
  /** The key, or where it comes from: a prompt, a file, a secret manager. */
  readonly key: string | (() => string | Promise<string>)
}

/**
 * Takes an API key as it is; no server is asked. White space around it is dropped.
 *
 * `run` rejects with TypeError when there is no key, and with whatever `key` throws.
 */
export function apiKeyFlow(options: ApiKeyOptions): GrantFlow {
  return {
    name: 'api-key',
    run: async ({ signal }) => {
      signal?.throwIfAborted()
      const key = (typeof options.key === 'string' ? options.key : await options.key()).trim()
      if (key === '') throw new TypeError('an API key must not be empty')
      return { type: 'api_key', key: new Secret(key) }
    },
  }
}
