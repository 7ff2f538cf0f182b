/** A command line that does what it says when it is pasted into a shell. */
export function commandLine(words: readonly string[]): string {
  const quote = (word: string): string =>
    /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`
  return ['authkeep', ...words.map(quote)].join(' ')
}

/** What a login is to bring. */
export interface WantedLogin {
  readonly provider: string
  readonly account?: string
  readonly resource?: string
  readonly scopes?: readonly string[]
  readonly acrValues?: readonly string[]
  readonly maxAge?: number
  /** How to log in. */
  readonly flow?: string
}

/** The login that would help. */
export function loginCommand(wanted: WantedLogin, homeOption: readonly string[] = []): string {
  const { provider, account = 'default', resource, scopes = [], acrValues = [], maxAge, flow } = wanted
  return commandLine([
    'login',
    provider,
    ...(account === 'default' ? [] : ['--account', account]),
    ...scopes.flatMap((scope) => ['--scope', scope]),
    ...(resource === undefined ? [] : ['--resource', resource]),
    ...acrValues.flatMap((acr) => ['--acr', acr]),
    ...(maxAge === undefined ? [] : ['--max-age', String(maxAge)]),
    ...(flow === undefined ? [] : ['--flow', flow]),
    ...homeOption,
  ])
}

/** The login by the first of the other ways, or undefined where there is none. */
export function otherLogin(
  { alternatives: [flow], ...wanted }: WantedLogin & { readonly alternatives: readonly string[] },
  homeOption: readonly string[] = [],
): string | undefined {
  return flow === undefined ? undefined : loginCommand({ ...wanted, flow }, homeOption)
}
