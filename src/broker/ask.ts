import { variableOf } from '../credential.ts'
import type { Target } from '../endpoint.ts'
import { type AuthkeepError, type ErrorDetails, isAuthkeepError } from '../errors.ts'

/** What the application is asked to see to: a login that the target describes, with `broker.authorize(target, flow)`. */
export interface AuthorizeRequest {
  /** Why it is needed. */
  readonly error: AuthkeepError
  /** What to log in for. Existing scopes are asked for with it, so that nothing is lost. */
  readonly target: Target
}

/**
 * Called when only a person can help. Resolves once there is a login; rejects if there will be none, and then that is
 * what the callers get.
 */
export type AuthorizeHandler = (request: AuthorizeRequest) => Promise<void>

/** Asks a person, one question per login at a time; whoever wants the same login meanwhile shares the answer. */
export class Asker {
  readonly #handler: AuthorizeHandler
  readonly #underWay = new Map<string, Promise<void>>()
  /** Step-ups that were tried: a server that grants no more now will not grant more the next time. */
  readonly #tried = new Set<string>()

  constructor(handler: AuthorizeHandler) {
    this.#handler = handler
  }

  /**
   * `asked`: this request's own question was answered. `joined`: somebody else's was, and it may have been about
   * something else. `useless`: asking a person would not help, or not again.
   */
  async ask(error: unknown, method: string): Promise<'asked' | 'joined' | 'useless'> {
    const wanted = loginTarget(error)
    if (wanted === null || !isAuthkeepError(error)) return 'useless'
    const name = JSON.stringify([wanted.provider, wanted.account])
    const underWay = this.#underWay.get(name)
    if (underWay !== undefined) {
      await underWay
      return 'joined'
    }
    if (error.code === 'scope_missing') {
      const { endpoint, missing } = error.detail as ErrorDetails['scope_missing']
      const stepUp = JSON.stringify([name, endpoint, method, missing])
      if (this.#tried.has(stepUp)) return 'useless'
      this.#tried.add(stepUp)
    }
    const answer = this.#handler({ error, target: wanted }).finally(() => this.#underWay.delete(name))
    this.#underWay.set(name, answer)
    await answer
    return 'asked'
  }
}

/** The login that would help against an error, or null where none would. */
function loginTarget(error: unknown): Exclude<Target, URL | string> | null {
  if (!isAuthkeepError(error) || error.remedy !== 'authorize') return null
  const { provider, account, resource, scopes, missing, obtainable, owner, acrValues, maxAge } =
    error.detail as Partial<
      ErrorDetails['authorization_required'] & ErrorDetails['scope_missing'] & ErrorDetails['step_up_required']
    >
  // Nobody can log in to an environment variable, and another program renews its own login.
  if (provider === undefined || obtainable === false || owner !== undefined || variableOf(account) !== undefined)
    return null
  const named = missing ?? scopes
  return {
    provider,
    ...(account === undefined ? {} : { account }),
    ...(resource === undefined ? {} : { resource }),
    ...(named === undefined ? {} : { scopes: named }),
    ...(acrValues === undefined ? {} : { acrValues }),
    ...(maxAge === undefined ? {} : { maxAge }),
  }
}
