import type { JsonObject } from '../credential.ts'

/** openid-client's complaints about a token answer, by code; its messages may quote the answer, so none is passed on. */
const complaints: Readonly<Record<string, string>> = {
  OAUTH_JWT_CLAIM_COMPARISON_FAILED: 'its ID token is for somebody else, by somebody else, or not for this login',
  OAUTH_JWT_TIMESTAMP_CHECK_FAILED: 'its ID token is not valid at this time',
  OAUTH_KEY_SELECTION_FAILED: 'its ID token is signed with an unknown key',
  OAUTH_UNSUPPORTED_OPERATION: 'it uses a token type or signature algorithm that is not supported',
  OAUTH_RESPONSE_IS_NOT_CONFORM: 'its status is not the one that the protocol asks for',
  OAUTH_MISSING_SERVER_METADATA: 'its ID token cannot be checked, because the server metadata names no keys',
}

/** Says what openid-client holds against an answer, without quoting from it. */
export function complaintOf(complaint: unknown, body: JsonObject): string {
  const { code, cause } = complaint as { code?: unknown; cause?: { message?: unknown } }
  if (code === 'OAUTH_INVALID_RESPONSE') {
    const member = wrongMember(body)
    if (member !== undefined) return `its ${member} is missing or malformed`
    const message = typeof cause?.message === 'string' ? cause.message : ''
    return /signature/.test(message) ? 'its ID token has a wrong signature' : 'it does not follow the protocol'
  }
  if (typeof code === 'string' && complaints[code] !== undefined) return complaints[code]
  return body['id_token'] === undefined ? 'it does not follow the protocol' : 'its ID token could not be checked'
}

/** The member that makes a token answer malformed (RFC 6749 §5.1), or undefined. */
function wrongMember(body: JsonObject): string | undefined {
  const filled = (member: string): boolean => typeof body[member] === 'string' && body[member] !== ''
  const optional = (member: string): boolean => body[member] === undefined || filled(member)
  if (!filled('access_token')) return 'access_token'
  if (!filled('token_type')) return 'token_type'
  if (!optional('refresh_token')) return 'refresh_token'
  if (!optional('id_token')) return 'id_token'
  if (body['scope'] !== undefined && typeof body['scope'] !== 'string') return 'scope'
  const lifetime = body['expires_in']
  const seconds = typeof lifetime === 'string' ? Number.parseFloat(lifetime) : lifetime
  return seconds === undefined || (typeof seconds === 'number' && seconds >= 0) ? undefined : 'expires_in'
}
