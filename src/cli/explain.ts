import type { Explanation } from '../broker/explain.ts'
import { AuthkeepError } from '../errors.ts'
import { adviseOn } from './advice.ts'
import { type Context, type Result, textOption, urlWord } from './context.ts'
import { sayProblems, withHome } from './open-home.ts'
import { expiryInWords, harmless } from './output.ts'

/** `authkeep explain <url>`: what is needed, what there is, and what would be done. Changes nothing, sends nothing. */
export async function explain(context: Context): Promise<Result> {
  const url = urlWord(context)
  const account = textOption(context, 'account')
  return withHome(context, { full: true }, async (home) => {
    const explanation = await home.broker.explain(url, account === undefined ? {} : { account })
    const { problems } = home
    await sayProblems(context, problems)
    const text = lines(explanation, nextStep(explanation, context)).map(harmless).join('\n')
    return { text: `${text}\n`, json: { ...explanation, problems } }
  })
}

function lines(explanation: Explanation, next: string | undefined): readonly string[] {
  const { target, requirement, routes, candidates, verdict, reason, alternatives, error } = explanation
  // Where nobody can log in for what is missing, the alternatives are what is next.
  const isHopeless =
    alternatives.length > 0 && (error?.detail as { obtainable?: boolean } | undefined)?.obtainable === false
  return [
    target,
    ...titled('needs', [...routes.map(needs), ...more(requirement)]),
    ...(candidates.length === 0 ? ['  has      no login'] : candidates.flatMap(has)),
    `  verdict  ${verdict}: ${reason}`,
    ...titled(
      'instead',
      alternatives.map(({ text }, index) => `${index + 1}. ${text}`),
    ),
    ...(next === undefined || isHopeless ? [] : [`  next     ${next}`]),
  ]
}

function titled(title: string, rows: readonly string[]): readonly string[] {
  return rows.map((row, index) => `  ${(index === 0 ? title : '').padEnd(9)}${row}`)
}

function needs({ provider, accepts, scopes, endpoint }: Explanation['routes'][number]): string {
  const with_ = scopes.length === 0 ? '' : ` with ${scopes.join(' ')}`
  return `${accepts.join(' or ')} of ${provider}${with_}${endpoint === undefined ? '' : `, at ${endpoint}`}`
}

/** What is needed besides what is declared: a resource, and what refusals have taught. */
function more(requirement: Explanation['requirement']): readonly string[] {
  return requirement?.resource == null ? [] : [`for ${requirement.resource}`]
}

function has(candidate: Explanation['candidates'][number]): readonly string[] {
  const { provider, account, type, granted, expiresAt, verdict, reason, never } = candidate
  const expiry = expiryInWords(expiresAt, Date.now())
  return titled('has', [
    `${provider} "${account}" (${type})${expiry === '' ? '' : `, expires: ${expiry}`}`,
    ...(granted === undefined ? [] : [`granted ${granted.join(' ') || 'no scopes'}`]),
    ...(never === undefined
      ? [`${verdict}: ${reason}`]
      : [
          `lacks ${never.scopes.join(' ')}, and no login can bring it: the client`,
          `${never.clientId} is given only`,
          never.obtainable.join(' '),
        ]),
  ])
}

function nextStep({ error }: Explanation, { words, homeOption }: Context): string | undefined {
  if (error === undefined) return undefined
  const thrown: AuthkeepError = new AuthkeepError(error.code, error.detail)
  const typed = ['explain', ...words, ...homeOption]
  return adviseOn(thrown, { typed, command: 'explain', homeOption, cancelled: false }).next
}
