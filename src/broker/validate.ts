import type { Credential } from '../credential.ts'
import type { Requirement } from '../endpoint.ts'
import { discover } from '../grant/discovery.ts'
import { type TokenValidation, type ValidationFault, validateToken } from '../grant/validate.ts'
import type { Provider } from '../provider.ts'
import type { Decision } from './decide.ts'

/** What became of checking what is stored for a target. */
export interface Validation {
  /** `opaque`: nothing is wrong as far as can be seen, and only the server could say more. */
  readonly valid: boolean | 'opaque'
  /** What was found, a sentence each, never with a secret in it. */
  readonly findings: readonly string[]
}

const faults: { readonly [F in ValidationFault]: string } = {
  malformed: 'is not a JWT, and the provider declares that it is one',
  type: 'is a JWT of another type',
  signature: 'has a wrong signature, or one by an unknown key',
  issuer: 'is by another issuer',
  audience: 'is for another audience',
  expired: 'has expired',
  not_yet_valid: 'is not valid yet',
  scope: 'shows fewer scopes than are needed',
  claims: 'lacks a claim that it must have',
}

const timeoutMs = 10_000

/** Checks the token that would be used, and the ID token of its login. Changes nothing. */
export async function validateStored(
  checked: { credential: Credential; decision: Decision; requirement: Requirement; provider: Provider },
  { fetch, now }: { fetch: typeof globalThis.fetch; now: () => number },
): Promise<Validation> {
  const { credential, decision, requirement, provider } = checked
  if (decision.action !== 'use') return { valid: false, findings: ['no stored token serves'] }
  if (credential.type !== 'oauth') return { valid: 'opaque', findings: [`the ${credential.type} shows nothing`] }
  const { idToken } = credential
  const metadata = await discover(provider, { fetch })
  const common = { provider, metadata, fetch, now, timeoutMs }
  const { secret, scopes, expiresAt } = decision.token
  const access = await validateToken({
    ...common,
    token: secret,
    kind: 'access_token',
    audience: requirement.audience ?? requirement.resource ?? undefined,
    scopes: requirement.scopes,
  })
  const id = idToken === undefined ? null : await validateToken({ ...common, token: idToken, kind: 'id_token' })
  const until = expiresAt === null ? 'for a time that nobody has told' : `until ${new Date(expiresAt).toISOString()}`
  return {
    valid: isBad(access) || (id !== null && isBad(id)) ? false : access.kind === 'valid' || 'opaque',
    findings: [
      say('access token', access, ` It is known to be for ${scopes.join(' ') || 'no scopes'}, ${until}.`),
      ...(id === null ? [] : [say('ID token', id)]),
    ],
  }
}

/** An ID token speaks of the moment of the login: that it runs out afterwards is no fault. */
function isBad(found: TokenValidation): boolean {
  return found.kind === 'invalid' && found.fault !== 'expired'
}

function say(name: string, found: TokenValidation, known = ''): string {
  switch (found.kind) {
    case 'valid':
      return `The ${name} is what it should be.`
    case 'invalid':
      return `The ${name} ${faults[found.fault]}.`
    case 'opaque':
      return `The ${name} is opaque.${known}`
    case 'unavailable':
      return `The ${name} cannot be checked: ${found.cause}.${known}`
  }
}
