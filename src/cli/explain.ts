import type { Explanation } from '../broker/explain.ts'
import { AuthkeepError } from '../errors.ts'
import { adviseOn } from './advice.ts'
import { type Context, type Result, textOption, urlWord } from './context.ts'
import { sayProblems, withHome } from './open-home.ts'
import { expiryInWords, harmless, titled } from './output.ts'

type Candidate = Explanation['candidates'][number]

/** `authkeep explain <url>`: what is needed, what there is, and what would be done. Changes nothing, sends nothing. */
export async function explain(context: Context): Promise<Result> {
  const url = urlWord(context)
  const account = textOption(context, 'account')
  return withHome(context, { full: true }, async (home) => {
    const explanation = await home.broker.explain(url, account === undefined ? {} : { account })
    const { problems } = home
    await sayProblems(context, problems)
    const text = lines(explanation, nextStep(explanation, context), context.columns).join('\n')
    return { text: `${text}\n`, json: { ...explanation, problems } }
  })
}

function lines(explanation: Explanation, next: string | undefined, columns: number): readonly string[] {
  const { target, requirement, routes, candidates, alternatives, error } = explanation
  // Where nobody can log in for what is missing, the alternatives are what is next.
  const isHopeless =
    alternatives.length > 0 && (error?.detail as { obtainable?: boolean } | undefined)?.obtainable === false
  const rows = (title: string, sentences: readonly string[]): readonly string[] =>
    titled(`  ${title.padEnd(9)}`, sentences, columns)
  return [
    harmless(target),
    ...rows('needs', [...routes.map(needs), ...more(requirement)]),
    ...(candidates.length === 0
      ? rows('has', ['no login'])
      : candidates.flatMap((each) => rows('has', has(each, explanation)))),
    ...rows('verdict', [verdict(explanation)]),
    ...rows(
      'instead',
      alternatives.map(({ text }, index) => `${index + 1}. ${text}`),
    ),
    ...(next === undefined || isHopeless ? [] : rows('next', [next])),
  ]
}

function needs({ provider, accepts, scopes, endpoint }: Explanation['routes'][number]): string {
  const with_ = scopes.length === 0 ? '' : ` with ${scopes.join(' ')}`
  return `${accepts.join(' or ')} of ${provider}${with_}${endpoint === undefined ? '' : `, at ${endpoint}`}`
}

/** What is needed besides what is declared: a resource, and what refusals have taught. */
function more(requirement: Explanation['requirement']): readonly string[] {
  return requirement?.resource == null ? [] : [`for ${requirement.resource}`]
}

function has(candidate: Candidate, { candidates, reason: said }: Explanation): readonly string[] {
  const { provider, account, type, granted, expiresAt, verdict, reason, never } = candidate
  const expiry = expiryInWords(expiresAt, Date.now())
  // What the verdict says of an only login is not said twice.
  const isSaid = candidates.length === 1 && reason === said
  return [
    `${provider} "${account}" (${type})${expiry === '' ? '' : `, expires: ${expiry}`}`,
    ...(granted === undefined ? [] : [`granted ${granted.join(' ') || 'no scopes'}`]),
    ...(never === undefined ? (isSaid ? [] : [`${verdict}: ${reason}`]) : [lacks(never, granted)]),
  ]
}

function lacks(
  { scopes, clientId, obtainable }: NonNullable<Candidate['never']>,
  granted: readonly string[] = [],
): string {
  const isAll = obtainable.length === granted.length && obtainable.every((scope) => granted.includes(scope))
  const given = isAll ? 'those' : obtainable.join(' ') || 'none'
  return `lacks ${scopes.join(' ')}; the client ${clientId} is only ever given ${given}`
}

function verdict({ verdict: action, reason, candidates }: Explanation): string {
  const isHopeless = candidates.some((each) => each.never !== undefined && each.reason === reason)
  return `${action}: ${isHopeless ? 'no login of that client can bring what is lacking' : reason}`
}

function nextStep({ error }: Explanation, { words, homeOption }: Context): string | undefined {
  if (error === undefined) return undefined
  const thrown: AuthkeepError = new AuthkeepError(error.code, error.detail)
  const typed = ['explain', ...words, ...homeOption]
  return adviseOn(thrown, { typed, command: 'explain', homeOption, cancelled: false }).next
}
