import { findProvider } from '../broker/target.ts'
import { type Credential, type CredentialKey, fingerprint } from '../credential.ts'
import { AuthkeepError } from '../errors.ts'
import { commandLine } from '../login-command.ts'
import type { CredentialStore } from '../store/store.ts'
import { type Context, type Result, textOption } from './context.ts'
import { type Home, withHome } from './open-home.ts'
import { harmless } from './output.ts'

/** What the server was told, if there was anything to tell it. */
interface Revocation {
  readonly revoked: boolean
  readonly reason?: string
}

/** There is nothing that the server could be told, now or later: forgetting is all that logging out can be. */
const nothingToTell: Readonly<Record<string, string>> = {
  not_supported: 'the server has no way to be told, so what it has issued works until it runs out',
  not_a_grant: 'nothing was issued to authkeep itself, so there was nothing to revoke',
  borrowed: 'it was borrowed, and the program it belongs to stays logged in',
  moved: 'it was moved, and stays logged in where it is now',
}

/**
 * `authkeep logout <provider>`: revokes the login at the server, then forgets it. What the server has not confirmed is
 * kept (RFC 7009 §2.2.1: after a 503 the token still exists), unless `--local` says that forgetting is enough.
 */
export async function logout(context: Context): Promise<Result> {
  const [provider = ''] = context.words
  const isLocal = context.options['local'] === true
  return withHome(context, { full: true }, async (home) => {
    const key = await accountOf(provider, textOption(context, 'account'), home)
    const before = await home.store.read(key)
    if (before === null) throw nobody(key)
    const { revoked, reason } = isLocal ? { revoked: false, reason: 'not_asked' } : await revoke(before, home)
    const isSettled = revoked || isLocal || (reason !== undefined && reason in nothingToTell)
    const forgotten = isSettled && (await forget(before, home.store))
    const json = { ...key, revoked, forgotten, ...(reason === undefined ? {} : { reason }) }
    const name = `${key.provider} as "${key.account}"`
    if (!isSettled) {
      const again = commandLine(['logout', ...loginWords(key), '--local', ...context.homeOption])
      const sentence = `Not logged out of ${name}: the server has not confirmed it (${reason ?? 'no answer'}), and the login is kept. Try again, or forget it on this machine only: ${again}`
      return { text: `${harmless(sentence)}\n`, json, exitCode: 75 }
    }
    if (!forgotten) return { text: `${harmless(`${name} was changed meanwhile, and is kept.`)}\n`, json, exitCode: 75 }
    const rest = nothingToTell[reason ?? ''] ?? 'the server was not asked, so what it has issued may still work'
    const sentence = revoked
      ? `Logged out of ${name}: revoked at the server and forgotten.`
      : `Forgot ${name}; ${rest}.`
    return { text: `${harmless(sentence)}\n`, json }
  })
}

function loginWords({ provider, account }: CredentialKey): readonly string[] {
  return account === 'default' ? [provider] : [provider, '--account', account]
}

/** @throws AuthkeepError `account_ambiguous`, `authorization_required`, `provider_unknown` */
async function accountOf(provider: string, account: string | undefined, home: Home): Promise<CredentialKey> {
  if (account !== undefined) return { provider, account }
  const infos = await home.store.list({ provider })
  const [only, ...others] = infos
  if (others.length > 0) {
    throw new AuthkeepError('account_ambiguous', { provider, accounts: infos.map((each) => each.account) })
  }
  if (only !== undefined) return { provider, account: only.account }
  findProvider(provider, home.providers)
  throw nobody({ provider })
}

function nobody(key: { provider: string; account?: string }): AuthkeepError {
  return new AuthkeepError('authorization_required', { ...key, reason: 'no_credential' })
}

async function revoke(credential: Credential, { broker }: Home): Promise<Revocation> {
  if (credential.type === 'oauth') return broker.revoke(credential)
  const isBorrowed = credential.type === 'token' && credential.metadata?.['imported'] !== undefined
  return { revoked: false, reason: isBorrowed ? 'borrowed' : 'not_a_grant' }
}

/** Only what was revoked is forgotten: a login or a refresh that came in between stays. */
async function forget(before: Credential, store: CredentialStore): Promise<boolean> {
  let isSame = true
  await store.update(before, (current) => {
    isSame = current === null || secretOf(current) === secretOf(before)
    return isSame ? null : undefined
  })
  return isSame
}

function secretOf(credential: Credential): string | null {
  switch (credential.type) {
    case 'oauth':
      return credential.grant.refreshToken === null ? null : fingerprint(credential.grant.refreshToken)
    case 'api_key':
      return fingerprint(credential.key)
    case 'token':
      return fingerprint(credential.token)
  }
}
