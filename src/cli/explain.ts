import type { Explanation } from '../broker/explain.ts'
import { AuthkeepError, isAuthkeepError } from '../errors.ts'
import { adviseOn } from './advice.ts'
import { type Context, LoginNeeded, type Result, urlWord } from './context.ts'
import { type Home, sayProblems, withHome } from './open-home.ts'
import { expiryInWords, harmless } from './output.ts'
import { scopesToAsk, targetFor } from './target.ts'

/** `authkeep explain <url>`: what is needed, what there is, and what would be done. Changes nothing, sends nothing. */
export async function explain(context: Context): Promise<Result> {
  const url = urlWord(context)
  return withHome(context, { full: true }, async (home) => {
    const explanation = await home.broker.explain(await targetFor(context, url, home))
    const { problems } = home
    await sayProblems(context, problems)
    const text = lines(explanation, nextStep(explanation, url, home, context))
      .map(harmless)
      .join('\n')
    return { text: `${text}\n`, json: { ...explanation, problems } }
  })
}

function lines(explanation: Explanation, next: string | undefined): readonly string[] {
  const { target, requirement, candidates, verdict, reason } = explanation
  return [
    target,
    ...(requirement === null ? [] : needs(requirement)),
    ...(candidates.length === 0 ? ['  has      no login'] : candidates.flatMap(has)),
    `  verdict  ${verdict}: ${reason}`,
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
  const { provider, account, type, granted, expiresAt, verdict, reason } = candidate
  const expiry = expiryInWords(expiresAt, Date.now())
  return [
    `  has      ${provider} "${account}" (${type})${expiry === '' ? '' : `, expires: ${expiry}`}`,
    ...(granted === undefined ? [] : [`           granted ${granted.join(' ') || 'no scopes'}`]),
    `           ${verdict}: ${reason}`,
  ]
}

function nextStep({ error }: Explanation, url: URL, { providers }: Home, context: Context): string | undefined {
  if (error === undefined) return undefined
  const { homeOption } = context
  const typed = ['explain', ...context.words, ...homeOption]
  const thrown: AuthkeepError = new AuthkeepError(error.code, error.detail)
  const needed = isAuthkeepError(thrown, 'authorization_required')
    ? new LoginNeeded(thrown, scopesToAsk(url, thrown.detail.provider, providers))
    : thrown
  return adviseOn(needed, { typed, command: 'explain', homeOption, cancelled: false }).next
}
