import type { ClientAuth } from 'openid-client'

/**
 * HTTP Basic as RFC 6749 §2.3.1 has it: id and secret are form-encoded before they are joined. Only what form-encoding
 * must encode is encoded: `-`, `_`, `.` and `~` are left as they are, since some servers compare without decoding.
 */
export function clientSecretBasic(secret: string): ClientAuth {
  return (_server, client, _body, headers) => {
    headers.set(
      'authorization',
      `Basic ${btoa(`${encodeURIComponent(client.client_id)}:${encodeURIComponent(secret)}`)}`,
    )
  }
}
