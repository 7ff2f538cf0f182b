import type { AccessToken } from '../broker/access-token.ts'
import { parseKeyName } from '../credential.ts'
import type { Target } from '../endpoint.ts'
import { isAuthkeepError } from '../errors.ts'
import { plain } from './sdk.ts'

/** What OpenClaw reads from the stdout of an exec provider of secrets. */
export interface SecretRefAnswer {
  readonly protocolVersion: 1
  readonly values: Readonly<Record<string, string>>
  readonly errors: Readonly<Record<string, { readonly code: string; readonly message: string }>>
}

/**
 * Answers the request that OpenClaw writes to an exec provider of secrets. An id is the URL that a token is for, or a
 * provider, or `provider:account`. One that cannot be served is an error of its own, `NOT_FOUND` where nobody declares it
 * or nothing is stored for it, and stands in no other's way.
 *
 * @param request the parsed JSON of stdin: `{ protocolVersion: 1, provider, ids }`
 * @throws TypeError for a request that is none
 */
export async function answerSecretRefs(
  request: unknown,
  tokenFor: (target: Target) => Promise<AccessToken>,
): Promise<SecretRefAnswer> {
  const { protocolVersion, ids } = (request ?? {}) as { protocolVersion?: unknown; ids?: unknown }
  if (protocolVersion !== 1 || !Array.isArray(ids) || !ids.every((id) => typeof id === 'string')) {
    throw new TypeError('a request has "protocolVersion": 1 and a list of ids')
  }
  const values: [string, string][] = []
  const errors: [string, { code: string; message: string }][] = []
  for (const id of new Set(ids)) {
    try {
      values.push([id, plain(await tokenFor(targetOf(id)))])
    } catch (error) {
      // A target that is none is a TypeError.
      if (!isAuthkeepError(error) && !(error instanceof TypeError)) throw error
      errors.push([id, { code: codeOf(error), message: error.message }])
    }
  }
  return { protocolVersion: 1, values: Object.fromEntries(values), errors: Object.fromEntries(errors) }
}

function targetOf(id: string): Target {
  if (/^https?:/i.test(id)) return id
  const { provider, account } = parseKeyName(id)
  return account === '' ? { provider } : { provider, account }
}

function codeOf(error: Error): string {
  if (!isAuthkeepError(error)) return 'INVALID_ID'
  const isAbsent =
    ['endpoint_unknown', 'provider_unknown'].includes(error.code) ||
    (isAuthkeepError(error, 'authorization_required') && error.detail.reason === 'no_credential')
  return isAbsent ? 'NOT_FOUND' : error.code.toUpperCase()
}
