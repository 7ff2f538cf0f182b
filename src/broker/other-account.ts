import { claimsOf } from '../claims.ts'
import type { Credential, Secret } from '../credential.ts'
import type { GrantAnswer } from '../grant/flow.ts'
import { missingScopes } from '../scope.ts'
import type { CredentialInfo } from '../store/store.ts'

/** Whose a login is, as far as it shows. Nothing in it is secret; the words are the server's. */
export interface Holder {
  readonly type: Credential['type']
  readonly subject: string | null
  /** `email`, else `preferred_username`, of the ID token (OpenID Connect Core §5.1), unverified: for people to read. */
  readonly name: string | null
}

/** A login arrived at another account, or is of another kind, than what is stored under its name. */
export interface OtherAccount {
  readonly provider: string
  /** The name that is taken. */
  readonly account: string
  readonly stored: Holder
  readonly arrived: Holder
  /** A name to keep both: that of an earlier login of who came now, which this one covers; else one that is free. */
  readonly suggestion: string
}

/**
 * What becomes of such a login: it is stored in the place of the other one, which is forgotten here and not revoked;
 * or under another account name; or it is declined.
 */
export type OtherAccountDecision = 'replace' | 'decline' | { readonly account: string }

/**
 * Asked before anything is stored; the grant is there already, and no second login follows. Asked again where the
 * account it names is somebody else's, too. If it rejects, nothing is stored, and that is what the caller gets.
 */
export type OtherAccountHandler = (question: OtherAccount) => Promise<OtherAccountDecision>

/** Whose a stored credential is. */
export function holderOf(credential: Credential): Holder {
  if (credential.type !== 'oauth') return { type: credential.type, subject: null, name: null }
  return { type: 'oauth', subject: credential.subject, name: nameIn(credential.idToken ?? null) }
}

/** Whose a grant is that has just been obtained. */
export function arrivalOf(answer: GrantAnswer): Holder {
  if (answer.type !== 'oauth') return { type: answer.type, subject: null, name: null }
  return { type: 'oauth', subject: answer.token.subject, name: nameIn(answer.token.idToken) }
}

function nameIn(idToken: Secret | null): string | null {
  const claims = idToken === null ? null : claimsOf(idToken)
  const names = [claims?.['email'], claims?.['preferred_username']]
  return (names.find((name) => typeof name === 'string' && name !== '') as string | undefined) ?? null
}

/** A login never puts one person, or one kind of credential, silently in the place of another. */
export function isSameHolder(stored: Holder, arrived: Holder): boolean {
  if (stored.type !== arrived.type) return false
  return stored.type !== 'oauth' || stored.subject === null || stored.subject === arrived.subject
}

/** The account name to propose. Pure; `taken` are names that are not stored yet. */
export function suggestAccount(
  answer: GrantAnswer,
  issuer: string,
  stored: readonly CredentialInfo[],
  taken: readonly string[],
): string {
  const { subject, name } = arrivalOf(answer)
  const granted = answer.type === 'oauth' ? answer.scopes : []
  const own = stored.find(
    (info) =>
      subject !== null &&
      info.issuer === issuer &&
      info.subject === subject &&
      !taken.includes(info.account) &&
      missingScopes(info.scopes ?? [], granted).length === 0,
  )
  if (own !== undefined) return own.account
  const names = new Set([...taken, ...stored.map(({ account }) => account)])
  // Easily typed and no option of a command line, whatever the server calls them.
  const plain = (name ?? subject ?? '')
    .replaceAll(/[^\p{L}\p{N}.@_+-]+/gu, '-')
    .replace(/^[-.]+/, '')
    .slice(0, 64)
  const base = plain === '' ? 'other' : plain
  for (let count = 1; ; count++) {
    const candidate = count === 1 ? base : `${base}-${count}`
    if (!names.has(candidate)) return candidate
  }
}
