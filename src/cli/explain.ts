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
  const { target, requirement, candidates, verdict, reason, alternatives } = explanation
  return [
    target,
    ...(requirement === null ? [] : needs(requirement)),
    ...(candidates.length === 0 ? ['  has      no login'] : candidates.flatMap(has)),
    `  verdict  ${verdict}: ${reason}`,
    ...alternatives.map(({ text }, index) => `  ${index === 0 ? 'instead' : '       '}  ${index + 1}. ${text}`),
    ...(next === undefined ? [] : [`  next     ${next}`]),
  ]
}

function needs({ accepts, scopes, resource, endpoint }: NonNullable<Explanation['requirement']>): readonly string[] {
  return [
    `  needs    ${accepts.join(' or ')}${scopes.length === 0 ? '' : ` with ${scopes.join(' ')}`}`,
    ...(resource === null ? [] : [`           for ${resource}`]),
    ...(endpoint === undefined ? [] : [`           declared as ${endpoint}`]),
  ]
}

function has(candidate: Explanation['candidates'][number]): readonly string[] {
  const { provider, account, type, granted, expiresAt, verdict, reason, never } = candidate
  const expiry = expiryInWords(expiresAt, Date.now())
  return [
    `  has      ${provider} "${account}" (${type})${expiry === '' ? '' : `, expires: ${expiry}`}`,
    ...(granted === undefined ? [] : [`           granted ${granted.join(' ') || 'no scopes'}`]),
    `           ${verdict}: ${reason}`,
    ...(never === undefined
      ? []
      : [
          `           never: the client ${never.clientId} is not given ${never.scopes.join(' ')}; it can be given`,
          `           ${never.obtainable.join(' ')}`,
        ]),
  ]
}

function nextStep({ error }: Explanation, { words, homeOption }: Context): string | undefined {
  if (error === undefined) return undefined
  const thrown: AuthkeepError = new AuthkeepError(error.code, error.detail)
  const typed = ['explain', ...words, ...homeOption]
  return adviseOn(thrown, { typed, command: 'explain', homeOption, cancelled: false }).next
}
