import { describe, expect, it } from 'vitest'
import { classifyAnswer, classifyFailure } from '../../src/grant/classify.ts'
import { printable } from '../../src/grant/printable.ts'

const now = 1_790_000_000_000

const dead = ['refresh_token_expired', 'refresh_token_reused']
const answer = (status: number, text: string, headers: Record<string, string> = {}) =>
  classifyAnswer({ status, text, headers: new Headers(headers) }, now, ['the-refresh-token'], dead)

const oauthError = (status: number, error: unknown, more: object = {}) =>
  answer(status, JSON.stringify({ error, ...more }))

describe('an answer of the token endpoint', () => {
  it('is an object when it is 2xx JSON, whatever its label', () => {
    expect(answer(200, '{"a":1}', { 'content-type': 'text/plain' })).toEqual({ kind: 'object', body: { a: 1 } })
    expect(answer(201, '{}')).toEqual({ kind: 'object', body: {} })
  })

  it('is an error where it says so and brings nothing (RFC 6749 §5.2)', () => {
    expect(answer(200, '{"error":"invalid_grant"}')).toEqual({ kind: 'rejected', status: 200, error: 'invalid_grant' })
    expect(answer(200, '{"error":"strange","access_token":null,"refresh_token":""}')).toMatchObject({
      ...{ kind: 'ambiguous', status: 200, error: 'strange' },
    })
    for (const body of ['{"error":"x","access_token":"a"}', '{"error":"x","refresh_token":"r"}', '{"error":null}'])
      expect(answer(200, body)).toEqual({ kind: 'object', body: JSON.parse(body) as object })
  })

  it('that refuses a proof leaves the token unspent (RFC 9449 §5)', () => {
    expect(answer(400, '{"error":"invalid_dpop_proof"}')).toMatchObject({ kind: 'refused' })
    expect(answer(401, '', { 'www-authenticate': 'DPoP error="use_dpop_nonce"' })).toMatchObject({ kind: 'refused' })
  })

  it('is an object when it is 2xx and form-encoded, so that a successor in it is not lost', () => {
    const headers = { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' }
    expect(answer(200, 'refresh_token=next', headers)).toEqual({ kind: 'object', body: { refresh_token: 'next' } })
  })

  it.each([
    ['', 'empty'],
    ['<!doctype html><p>Welcome', 'html'],
    ['{"access_token":"cut of', 'not_json'],
    ['[]', 'not_json'],
    ['null', 'not_json'],
  ])('is ambiguous when it is 2xx and %j', (text, cause) => {
    expect(answer(200, text)).toEqual({ kind: 'ambiguous', status: 200, cause })
  })

  it('says that the token is dead only for errors about the token', () => {
    expect(oauthError(400, 'invalid_grant')).toEqual({ kind: 'rejected', status: 400, error: 'invalid_grant' })
    for (const code of dead) {
      const rejected = { kind: 'rejected', status: 401, error: code }
      expect(oauthError(401, code)).toEqual(rejected)
      expect(oauthError(401, { code, message: 'x' })).toEqual(rejected)
      expect(oauthError(401, 'other', { code })).toEqual(rejected)
    }
    expect(oauthError(401, 'refresh_token_eaten')).toMatchObject({ kind: 'ambiguous', error: 'refresh_token_eaten' })
  })

  it.each(['invalid_scope', 'invalid_client', 'unauthorized_client', 'unsupported_grant_type'])(
    'leaves the token unspent for %s',
    (error) => {
      expect(oauthError(400, error)).toEqual({ kind: 'refused', status: 400, error })
    },
  )

  it('reads invalid_client from a challenge when the body says nothing (RFC 6749 §5.2)', () => {
    const headers = { 'www-authenticate': 'Basic realm="as", error="invalid_client"' }
    expect(answer(401, '', headers)).toEqual({ kind: 'refused', status: 401, error: 'invalid_client' })
  })

  it.each(['invalid_target', 'invalid_request', 'server_error', 'made_up'])('is ambiguous for %s', (error) => {
    expect(oauthError(400, error)).toEqual({ kind: 'ambiguous', status: 400, cause: error, error })
  })

  it.each([
    [400, '', 'empty'],
    [400, '<html>', 'html'],
    [400, '{}', 'http_400'],
    [302, '', 'empty'],
    [500, '{"error":"invalid_grant"}', 'http_500'],
    [503, '', 'http_503'],
  ])('is ambiguous for HTTP %d with %j', (status, text, cause) => {
    expect(answer(status, text)).toEqual({ kind: 'ambiguous', status, cause })
  })

  it('asks for patience with 429, in seconds or until a date', () => {
    const limited = { kind: 'limited', status: 429, cause: 'rate_limited' }
    expect(answer(429, '')).toEqual(limited)
    expect(answer(429, '', { 'retry-after': '7' })).toEqual({ ...limited, retryAfterMs: 7000 })
    const date = new Date(now + 3000).toUTCString()
    expect(answer(429, '', { 'retry-after': date })).toEqual({ ...limited, retryAfterMs: 3000 })
    expect(answer(429, '', { 'retry-after': '-1' })).toEqual(limited)
  })

  it('knows an edge that has answered in place of the server', () => {
    const edge = { kind: 'limited', status: 403, cause: 'edge_challenge', edge: { vendor: 'Cloudflare' } }
    const headers = { 'content-type': 'text/html', server: 'cloudflare', 'cf-ray': '8f-FRA' }
    expect(answer(403, '<html>', { 'cf-mitigated': 'challenge' })).toEqual(edge)
    const ray = { vendor: 'Cloudflare', ray: '8f-FRA' }
    expect(answer(503, '<title>Just a moment...</title>', headers)).toEqual({ ...edge, status: 503, edge: ray })
    expect(answer(202, '', { 'x-amzn-waf-action': 'challenge' })).toMatchObject({ edge: { vendor: 'AWS WAF' } })
  })

  it('does not take the page of a server that stands behind an edge for one of the edge', () => {
    const headers = { 'content-type': 'text/html', server: 'cloudflare', 'cf-ray': '8f-FRA' }
    for (const status of [200, 403, 500, 502, 503]) {
      expect(answer(status, '<html><title>Sorry</title>', headers)).toMatchObject({ kind: 'ambiguous' })
    }
    const issued = '{"access_token":"a"}'
    expect(answer(200, issued, { ...headers, 'cf-mitigated': 'challenge' })).toMatchObject({ kind: 'object' })
  })

  it('keeps a description only if it can be printed and repeats no secret', () => {
    const described = (text: unknown) => oauthError(400, 'invalid_grant', { error_description: text })
    expect(described('too\u0007 old\n')).toMatchObject({ description: 'too old' })
    expect(described('x'.repeat(500))).toMatchObject({ description: 'x'.repeat(200) })
    for (const unsafe of ['token the-refresh-token is old', 'the-\u200brefresh-token', 'the-ref\nresh-token', 7]) {
      expect(described(unsafe)).not.toHaveProperty('description')
    }
  })
})

describe('a request without an answer', () => {
  const fetchFailed = (cause: unknown): Error => new TypeError('fetch failed', { cause })
  const errno = (code: string, more: object = {}): Error => Object.assign(new Error(code), { code, ...more })

  it.each([
    'ENOTFOUND',
    'EAI_AGAIN',
    'ECONNREFUSED',
    'EHOSTUNREACH',
    'ENETUNREACH',
    'EADDRNOTAVAIL',
    'UND_ERR_CONNECT_TIMEOUT',
    'UND_ERR_PRX_TLS',
    'CERT_HAS_EXPIRED',
    'DEPTH_ZERO_SELF_SIGNED_CERT',
    'ERR_TLS_CERT_ALTNAME_INVALID',
  ])('was not sent for %s', (code) => {
    expect(classifyFailure(fetchFailed(errno(code)))).toEqual({ sent: false, cause: code })
  })

  it.each(['ECONNRESET', 'EPIPE', 'UND_ERR_SOCKET', 'UND_ERR_HEADERS_TIMEOUT', 'ETIMEDOUT', 'EPROTO'])(
    'may have been sent for %s',
    (code) => {
      expect(classifyFailure(fetchFailed(errno(code)))).toEqual({ sent: true, cause: code })
    },
  )

  it('was not sent when the connection was never made, whatever its errno', () => {
    const failure = fetchFailed(errno('ETIMEDOUT', { syscall: 'connect' }))
    expect(classifyFailure(failure)).toEqual({ sent: false, cause: 'ETIMEDOUT' })
  })

  it('names the proxy on the way, where the error does', () => {
    const proxy = 'proxy.example:3128'
    const via = (cause: Error) => classifyFailure(Object.assign(fetchFailed(cause), { proxy }))
    expect(via(errno('CERT_HAS_EXPIRED'))).toEqual({ sent: false, cause: 'CERT_HAS_EXPIRED', proxy })
    expect(via(errno('ECONNRESET'))).toEqual({ sent: true, cause: 'ECONNRESET', proxy })
    const several = new AggregateError([errno('ECONNREFUSED'), errno('ENETUNREACH')])
    expect(via(several)).toEqual({ sent: false, cause: 'ECONNREFUSED', proxy })
  })

  it('counts several causes as not sent only if each of them is', () => {
    const refused = errno('ECONNREFUSED')
    expect(classifyFailure(fetchFailed(new AggregateError([refused, errno('ENETUNREACH')])))).toEqual({
      sent: false,
      cause: 'ECONNREFUSED',
    })
    expect(classifyFailure(fetchFailed(new AggregateError([refused, errno('ECONNRESET')])))).toEqual({
      sent: true,
      cause: 'ECONNRESET',
    })
  })

  it('may have been sent when nothing is known', () => {
    for (const unknown of [new Error('x'), 'text', null, undefined, new AggregateError([])]) {
      expect(classifyFailure(unknown)).toEqual({ sent: true, cause: 'unknown' })
    }
    expect(classifyFailure(new DOMException('late', 'TimeoutError'))).toEqual({ sent: true, cause: 'timeout' })
  })
})

it('printable text has one line', () => {
  expect(printable('a\r\n b\u202e')).toBe('a b')
  expect(printable(' \n')).toBeUndefined()
})
