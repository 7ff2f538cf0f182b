/** Scope → the scopes it brings with it, as a provider declares it. */
export type Implications = Readonly<Record<string, readonly string[]>>

/** Splits a `scope` value into its tokens, sorted and without repetition (RFC 6749 §3.3). */
export function parseScope(scope: string): readonly string[] {
  return scopeSet(scope.split(' ').filter((token) => token !== ''))
}

/** The `scope` parameter for a set of scopes (RFC 6749 §3.3). */
export function formatScope(scopes: readonly string[]): string {
  return scopes.join(' ')
}

/** The same scopes, sorted and without repetition, so that equal sets are equal lists. */
export function scopeSet(scopes: readonly string[]): readonly string[] {
  return [...new Set(scopes)].sort()
}

/** Everything in either set. */
export function unionScopes(...sets: readonly (readonly string[])[]): readonly string[] {
  return scopeSet(sets.flat())
}

/** What is required and not granted, implied scopes counted as granted. Directional: a read does not bring a write. */
export function missingScopes(
  required: readonly string[],
  granted: readonly string[],
  implies: Implications = {},
): readonly string[] {
  if (required.length === 0) return []
  const has = withImplied(granted, implies)
  return required.filter((scope) => !has.has(scope))
}

/** Whoever has one of these has the scope: itself, and those that bring it, along chains of implications. */
export function bringersOf(scope: string, implies: Implications): readonly string[] {
  return [scope, ...Object.keys(implies).filter((one) => one !== scope && withImplied([one], implies).has(scope))]
}

function withImplied(granted: readonly string[], implies: Implications): ReadonlySet<string> {
  const has = new Set(granted)
  // A Set visits what is added while it is walked, so chains of implications are followed to their end, cycles too.
  for (const scope of has) {
    // A server may call a scope "constructor"; only what the provider itself declares counts.
    const implied = Object.hasOwn(implies, scope) ? implies[scope] : undefined
    for (const one of implied ?? []) has.add(one)
  }
  return has
}
