import { type CredentialKey, movedTo, type OAuthCredential } from '../credential.ts'
import { type RevocationOutcome, revokeToken } from '../grant/revoke.ts'
import type { Provider } from '../provider.ts'
import { holds } from './changes.ts'
import type { Refresher } from './refresh.ts'
import type { Server } from './servers.ts'
import type { Workbench } from './workbench.ts'

/** How long a waiter sleeps before it looks whether the holder of a lease is still running. */
export const lookAtHolderEveryMs = 100

/**
 * Ends a login at its server, once nobody is at work on it.
 *
 * @throws AuthkeepError `server_unavailable`, `response_invalid`, store errors
 */
export async function revokeLogin(
  key: CredentialKey,
  provider: Provider,
  refresher: Refresher,
): Promise<{ revoked: boolean; reason?: string }> {
  const { store, leases } = refresher.bench
  for (;;) {
    await refresher.flush(key)
    const credential = await store.read(key)
    if (credential === null) return { revoked: false, reason: 'no_credential' }
    if (credential.type !== 'oauth') return { revoked: false, reason: 'not_supported' }
    if (movedTo(credential) !== undefined) return { revoked: false, reason: 'moved' }
    if (credential.issuer !== provider.issuer || credential.clientId !== provider.client.id) {
      return { revoked: false, reason: 'registration_changed' }
    }
    const verdict = leases.judge(credential, provider)
    if (verdict.kind === 'wait') {
      const timeoutMs = Math.min(verdict.forMs, lookAtHolderEveryMs)
      await store.waitForChange(key, credential, { timeoutMs })
    } else if (verdict.kind === 'in_doubt') {
      await leases.markInDoubt(credential)
    } else {
      const outcome = await revokeUnderLease(credential, refresher.bench, await refresher.servers.of(provider))
      if (outcome.kind === 'confirmed') return { revoked: true }
      if (outcome.kind === 'unconfirmed') return { revoked: false, reason: outcome.reason }
      if (outcome.kind === 'not_supported') return { revoked: false, reason: outcome.kind }
    }
  }
}

/**
 * Revokes the grant at the server, under the lease, so that no refresh is under way meanwhile. The entry goes only once
 * the server has confirmed it, and only while it still holds what was revoked.
 */
async function revokeUnderLease(
  seen: OAuthCredential,
  { store, fetch, timing, leases }: Workbench,
  server: Server,
): Promise<RevocationOutcome | { readonly kind: 'overtaken' }> {
  const request = { ...server, fetch, timeoutMs: timing.httpTimeoutMs }
  const { refreshToken, spare } = seen.grant
  if (refreshToken === null) {
    const outcomes = seen.tokens.map(({ accessToken: token }) =>
      revokeToken({ ...request, token, hint: 'access_token' }),
    )
    const unconfirmed = (await Promise.all(outcomes)).find(({ kind }) => kind !== 'confirmed')
    if (unconfirmed !== undefined) return unconfirmed
    await store.update(seen, (current) =>
      current?.type === 'oauth' && current.grant.refreshToken === null ? null : undefined,
    )
    return { kind: 'confirmed' }
  }
  const lease = leases.begin(seen)
  try {
    if (!(await leases.claim(seen, lease, refreshToken))) return { kind: 'overtaken' }
    const outcome = await revokeToken({ ...request, token: refreshToken, hint: 'refresh_token' })
    if (outcome.kind !== 'confirmed') {
      await leases.giveBack(seen, lease)
      return outcome
    }
    if (spare !== undefined) await revokeToken({ ...request, token: spare.refreshToken, hint: 'refresh_token' })
    await store.update(seen, (current) =>
      current?.type === 'oauth' && holds(current, refreshToken) ? null : undefined,
    )
    return outcome
  } finally {
    leases.release(lease)
  }
}
