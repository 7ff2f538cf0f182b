import type { Credential, Secret } from '../credential.ts'
import type { Requirement } from '../endpoint.ts'
import { bringersOf, type Implications } from '../scope.ts'
import { labelOf, shownExpiry } from './evidence.ts'

/** A stored token, as a decision sees it. */
export interface Usable {
  readonly secret: Secret
  readonly tokenType: string
  readonly scopes: readonly string[]
  readonly resource: string | null
  readonly expiresAt: number | null
  readonly obtainedAt: number
}

/** The tokens for one resource: all of them, and by each scope that they have. */
interface Shelf {
  readonly all: Usable[]
  readonly byScope: Map<string, Usable[]>
}

/**
 * The tokens of one credential by what they are for. One credential is one issuer, client, account and key, so resource
 * and scopes are what is left to tell its tokens apart. Made once for each state of an entry.
 */
class TokenIndex {
  readonly #shelves = new Map<string | null, Shelf>()

  constructor(tokens: readonly Usable[]) {
    for (const token of tokens) {
      const shelf = this.#shelves.get(token.resource) ?? { all: [], byScope: new Map<string, Usable[]>() }
      this.#shelves.set(token.resource, shelf)
      shelf.all.push(token)
      for (const scope of token.scopes) {
        const same = shelf.byScope.get(scope)
        if (same === undefined) shelf.byScope.set(scope, [token])
        else same.push(token)
      }
    }
  }

  /** The tokens for a resource that may have all of the scopes: those that bring the rarest one of them. */
  find({ resource, scopes }: Requirement, implies: Implications): readonly Usable[] {
    const shelf = this.#shelves.get(resource)
    if (shelf === undefined) return []
    const sizeOf = (lists: readonly (readonly Usable[])[]): number => lists.reduce((sum, { length }) => sum + length, 0)
    const rarest = scopes
      .map((scope) => bringersOf(scope, implies).map((one) => shelf.byScope.get(one) ?? []))
      .reduce<readonly (readonly Usable[])[]>(
        (fewest, lists) => (sizeOf(lists) < sizeOf(fewest) ? lists : fewest),
        [shelf.all],
      )
    return [...new Set(rarest.flat())]
  }
}

const indices = new WeakMap<Credential, TokenIndex>()

/** The stored tokens that may serve a requirement; of keys and static tokens nothing more than the kind is known. */
export function tokensFor(
  credential: Credential,
  requirement: Requirement,
  implies: Implications = {},
): readonly Usable[] {
  const fixed = { tokenType: 'Bearer', scopes: [], resource: null, obtainedAt: 0 }
  if (credential.type === 'api_key') return [{ ...fixed, secret: credential.key, expiresAt: null }]
  if (credential.type === 'token') return [{ ...fixed, secret: credential.token, expiresAt: credential.expiresAt }]
  let index = indices.get(credential)
  if (index === undefined) {
    index = new TokenIndex(
      credential.tokens.map(({ accessToken, ...token }) => ({
        ...token,
        secret: accessToken,
        scopes: labelOf(token.scopes, accessToken),
        expiresAt: token.expiresAt ?? shownExpiry(accessToken),
      })),
    )
    indices.set(credential, index)
  }
  return index.find(requirement, implies)
}
