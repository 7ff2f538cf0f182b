import { jwtEvidence } from '../claims.ts'
import type { JsonObject, OAuthCredential } from '../credential.ts'
import type { TokenAnswer } from '../grant/flow.ts'
import type { Narrowing, Provider } from '../provider.ts'
import { missingScopes, scopeSet } from '../scope.ts'
import type { CredentialStore } from '../store/store.ts'
import type { RefreshPlan } from './decide.ts'
import { excessScopes, labelOf } from './evidence.ts'

/** Where the store remembers how an authorization server behaves. */
export const issuerName = (issuer: string): string => `:issuer:${issuer}`

const kinds: readonly Narrowing[] = ['honoured', 'ignored', 'destructive', 'silent']

/** What a server was seen to do with a narrower scope; undefined where nobody has seen it. */
export function seenNarrowing(state: JsonObject | null): Narrowing | undefined {
  return kinds.find((kind) => kind === state?.['narrowing'])
}

/** Remembers it. A server that was seen to take scopes from a grant is never trusted with one again. */
export async function rememberNarrowing(store: CredentialStore, issuer: string, narrowing: Narrowing): Promise<void> {
  await store.updateState(issuerName(issuer), (state) => {
    const known = seenNarrowing(state)
    return known === narrowing || known === 'destructive' ? undefined : { ...state, narrowing }
  })
}

/** An answer to a narrower request, with its label corrected, and what it says about the server, if anything. */
export interface Measurement {
  readonly answer: TokenAnswer
  readonly narrowing: Narrowing | undefined
}

/**
 * What the answer to a narrower refresh shows. A wider token is `ignored` where the answer says so, and `silent` where
 * only the token or its introspection does; without any evidence a probe counts as `silent`, and its token as being as
 * wide as the grant. A grant that has lost scopes is `destructive`; a new refresh token that cannot be looked into leaves
 * the question open.
 */
export async function measureNarrowing(
  {
    answer,
    plan,
    seen,
    provider,
  }: { answer: TokenAnswer; plan: RefreshPlan; seen: OAuthCredential; provider: Provider },
  introspect: (token: 'access_token' | 'refresh_token') => Promise<readonly string[] | null>,
): Promise<Measurement> {
  const asked = plan.scopes
  if (asked === null) return { answer, narrowing: undefined }
  const excess = (scopes: readonly string[]): boolean => excessScopes(scopes, asked, provider.implies).length > 0
  if (answer.evidence === 'response' && excess(answer.scopes)) return { answer, narrowing: 'ignored' }
  if (excess(labelOf(answer.scopes, answer.accessToken))) return { answer, narrowing: 'silent' }
  if (!plan.isProbe) {
    // Asked for within the grant and not given: an earlier narrow answer has cost the grant its width.
    const isLess = answer.evidence === 'response' && missingScopes(asked, answer.scopes, provider.implies).length > 0
    const left = isLess ? await introspect('refresh_token') : null
    const isLost = isLess && (left === null || missingScopes(asked, left, provider.implies).length > 0)
    return { answer, narrowing: isLost ? 'destructive' : undefined }
  }
  if (answer.evidence === 'assumed' && !showsScopes(answer)) {
    const scopes = await introspect('access_token')
    const labelled: TokenAnswer =
      scopes === null
        ? { ...answer, scopes: scopeSet(seen.grant.scopes) }
        : { ...answer, scopes, evidence: 'introspection' }
    if (scopes === null || excess(scopes)) return { answer: labelled, narrowing: 'silent' }
    return { answer: labelled, narrowing: await afterwards(answer, seen, provider, introspect) }
  }
  return { answer, narrowing: await afterwards(answer, seen, provider, introspect) }
}

/** Whether the grant is still what it was. */
async function afterwards(
  answer: TokenAnswer,
  { grant }: OAuthCredential,
  provider: Provider,
  introspect: (token: 'refresh_token') => Promise<readonly string[] | null>,
): Promise<Narrowing | undefined> {
  const { refreshToken } = answer
  if (refreshToken === null || refreshToken.reveal() === grant.refreshToken?.reveal()) return 'honoured'
  const scopes = await introspect('refresh_token')
  if (scopes === null) return undefined
  return missingScopes(grant.scopes, scopes, provider.implies).length === 0 ? 'honoured' : 'destructive'
}

function showsScopes({ accessToken }: TokenAnswer): boolean {
  return (jwtEvidence(accessToken)?.scopes ?? null) !== null
}
