import type { JsonObject } from '../credential.ts'
import { type Edge, edgeOf } from './edge.ts'
import { printable } from './printable.ts'

/** A finished HTTP answer, its body read to the end. */
export interface HttpAnswer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
}

/**
 * What an answer of the token endpoint means for the refresh token that was sent.
 *
 * `object` is a 2xx JSON object, still unjudged. `limited` and `refused` leave the token unspent, `rejected` says it is
 * dead, and `ambiguous` is everything that could be either.
 */
export type AnswerClass =
  | { readonly kind: 'object'; readonly body: JsonObject }
  | {
      readonly kind: 'limited'
      readonly status: number
      readonly cause: string
      readonly retryAfterMs?: number
      /** With the cause `edge_challenge`: who has answered in place of the server. */
      readonly edge?: Edge
    }
  | {
      readonly kind: 'rejected' | 'refused'
      readonly status: number
      readonly error: string
      readonly description?: string
    }
  | {
      readonly kind: 'ambiguous'
      readonly status: number
      readonly cause: string
      /** The OAuth error code, where the body has one (RFC 6749 §5.2). */
      readonly error?: string
      readonly description?: string
    }

/**
 * Errors that a server finds before it looks at the refresh token, or without using it up (RFC 6749 §5.2), a missing
 * or wrong proof among them (RFC 9449 §5).
 */
const unspent: ReadonlySet<string> = new Set([
  'use_dpop_nonce',
  'invalid_dpop_proof',
  'invalid_scope',
  'invalid_client',
  'unauthorized_client',
  'unsupported_grant_type',
])

/**
 * Judges an answer of the token endpoint. Pure: `now` (Unix milliseconds) is only for a `Retry-After` date, and
 * `secrets` are what a description must not repeat. What was sent is dead by `invalid_grant` (RFC 6749 §5.2) and by what
 * the server says in its place, `deadErrors`.
 */
export function classifyAnswer(
  answer: HttpAnswer,
  now: number,
  secrets: readonly string[] = [],
  deadErrors: readonly string[] = [],
): AnswerClass {
  const { status, headers } = answer
  const body = readObject(answer)
  const isSuccess = status >= 200 && status < 300
  if (isSuccess && body !== null && !isError(body)) return { kind: 'object', body }
  const edge = edgeOf(answer, secrets)
  if (edge !== null) return { kind: 'limited', status, cause: 'edge_challenge', ...retryAfter(headers, now), edge }
  if (isSuccess && body === null) return { kind: 'ambiguous', status, cause: unreadable(answer) }
  if (status === 429) return { kind: 'limited', status, cause: 'rate_limited', ...retryAfter(headers, now) }
  if (status >= 500) return { kind: 'ambiguous', status, cause: `http_${status}` }
  const errors = errorsOf(body, headers)
  const description = describe(body?.['error_description'], secrets)
  const rejected = errors.find((error) => error === 'invalid_grant' || deadErrors.includes(error))
  if (rejected !== undefined) return { kind: 'rejected', status, error: rejected, ...description }
  const refused = errors.find((error) => unspent.has(error))
  if (refused !== undefined) return { kind: 'refused', status, error: refused, ...description }
  const error = printable(errors[0], secrets)
  if (error === undefined)
    return { kind: 'ambiguous', status, cause: body === null ? unreadable(answer) : `http_${status}` }
  return { kind: 'ambiguous', status, cause: error, error, ...description }
}

/** Whether a failed request can have reached the server, and an errno-like name for what happened. */
export interface Failure {
  readonly sent: boolean
  readonly cause: string
  /** `host:port` of the proxy on the way, where the error names one. */
  readonly proxy?: string
}

/** Failures that come before the first byte of a request: name lookup, connecting, the TLS handshake. */
const beforeSending: ReadonlySet<string> = new Set([
  'ENOTFOUND',
  'EAI_AGAIN',
  'EAI_FAIL',
  'EAI_NODATA',
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'EADDRNOTAVAIL',
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_PRX_TLS',
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'CERT_REVOKED',
  'CERT_REJECTED',
  'CERT_UNTRUSTED',
  'CERT_SIGNATURE_FAILURE',
  'CERT_CHAIN_TOO_LONG',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'HOSTNAME_MISMATCH',
  'INVALID_CA',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'ERR_TLS_HANDSHAKE_TIMEOUT',
  'ERR_SSL_WRONG_VERSION_NUMBER',
  'ERR_SSL_PACKET_LENGTH_TOO_LONG',
  'ERR_SSL_UNSUPPORTED_PROTOCOL',
  'ERR_SSL_NO_PROTOCOLS_AVAILABLE',
  'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION',
  'ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE',
  'ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE',
  'ERR_SSL_TLSV1_UNRECOGNIZED_NAME',
])

interface SystemError {
  readonly code?: unknown
  readonly name?: unknown
  readonly syscall?: unknown
  readonly cause?: unknown
  readonly errors?: unknown
  readonly proxy?: unknown
}

/**
 * Judges a request that brought no answer. Only what certainly happened before the request left counts as not sent;
 * a reset, a time-out and everything unknown may have reached the server. Several causes (one per address tried)
 * count as not sent only if each of them does.
 */
export function classifyFailure(error: unknown): Failure {
  let named: string | undefined
  let via: Pick<Failure, 'proxy'> = {}
  let at: unknown = error
  for (let depth = 0; depth < 8 && typeof at === 'object' && at !== null; depth++) {
    const { code, name, syscall, cause, errors, proxy } = at as SystemError
    if (typeof proxy === 'string') via = { proxy }
    if (Array.isArray(errors) && errors.length > 0) {
      const members = errors.map((member) => classifyFailure(member))
      return { ...(members.find((member) => member.sent) ?? (members[0] as Failure)), ...via }
    }
    // A call that never got a connection cannot have sent anything, whatever its errno.
    const connecting = syscall === 'connect' || syscall === 'getaddrinfo'
    if (typeof code === 'string' && (connecting || beforeSending.has(code))) return { sent: false, cause: code, ...via }
    if (name === 'TimeoutError') named ??= 'timeout'
    if (typeof code === 'string' && /^[A-Z][A-Z0-9_]+$/.test(code)) named ??= code
    at = cause
  }
  return { sent: true, cause: named ?? 'unknown', ...via }
}

/** The body as an object: JSON whatever its label, or form-encoded where it is labelled so; null if it is neither. */
function readObject({ headers, text }: HttpAnswer): JsonObject | null {
  if (mediaType(headers) === 'application/x-www-form-urlencoded') return Object.fromEntries(new URLSearchParams(text))
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : null
  } catch {
    return null
  }
}

function mediaType(headers: Headers): string {
  return (headers.get('content-type') ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? ''
}

function unreadable({ headers, text }: HttpAnswer): string {
  if (text.trim() === '') return 'empty'
  return mediaType(headers) === 'text/html' || /^\s*</.test(text) ? 'html' : 'not_json'
}

/** Every spelling of an error code in an answer: `error`, `error.code`, `code`, or the challenge of a 401 (RFC 6750 §3). */
function errorsOf(body: JsonObject | null, headers: Headers): readonly string[] {
  const error = body?.['error']
  const nested = typeof error === 'object' && error !== null ? (error as JsonObject)['code'] : undefined
  const challenge = /(?:^|[\s,])error="([\w.-]{1,64})"/.exec(headers.get('www-authenticate') ?? '')?.[1]
  return [error, nested, body?.['code'], challenge].filter(
    (code) => typeof code === 'string' && code !== '',
  ) as string[]
}

/** Some servers send an error as a success; one that brings a token as well is none (RFC 6749 §5.1, §5.2). */
function isError(body: JsonObject): boolean {
  const has = (member: string): boolean => body[member] !== undefined && body[member] !== null && body[member] !== ''
  return has('error') && !has('access_token') && !has('refresh_token')
}

function describe(text: unknown, secrets: readonly string[]): { description?: string } {
  const description = printable(text, secrets)
  return description === undefined ? {} : { description }
}

/** `Retry-After` in either of its forms (RFC 9110 §10.2.3), as milliseconds from now. */
export function retryAfter(headers: Headers, now: number): { retryAfterMs?: number } {
  const value = headers.get('retry-after')?.trim() ?? ''
  if (/^\d{1,9}$/.test(value)) return { retryAfterMs: Number(value) * 1000 }
  const date = Date.parse(value)
  return Number.isNaN(date) || /^[-+.\d]*$/.test(value) ? {} : { retryAfterMs: Math.max(0, date - now) }
}
