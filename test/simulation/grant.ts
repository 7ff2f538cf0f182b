import { classifyAnswer, classifyFailure, type HttpAnswer } from '../../src/grant/classify.ts'
import { tokenAnswer } from '../../src/grant/token-answer.ts'
import type { RefreshOutcome, RefreshRequest } from '../../src/grant/token-request.ts'

/**
 * The refresh grant without openid-client, which would take most of the time: the same moments in the same order and
 * the same judgement of what comes back. That the real one behaves so is what `http.test.ts` runs over real requests.
 */
export function grantOver(
  post: (refreshToken: string) => Promise<HttpAnswer>,
): (request: RefreshRequest) => Promise<RefreshOutcome> {
  return async (request) => {
    request.beforeSend()
    let answered: HttpAnswer
    try {
      answered = await post(request.refreshToken.reveal())
    } catch (error) {
      const { sent, cause } = classifyFailure(error)
      return sent ? { kind: 'ambiguous', cause } : { kind: 'not_sent', cause }
    }
    const { status } = answered
    const obtainedAt = request.now()
    const answer = classifyAnswer(answered, obtainedAt)
    if (answer.kind === 'ambiguous') return { kind: 'ambiguous', status, cause: answer.cause }
    if (answer.kind !== 'object') return answer
    await request.onAnswer(answer.body)
    if (answer.body['token_type'] === undefined) return { kind: 'invalid', status, what: 'its token_type is missing' }
    const { requestedScopes, resource } = request
    return {
      kind: 'served',
      answer: tokenAnswer(answer.body, {
        requestedScopes,
        resource,
        subject: null,
        obtainedAt,
        headers: answered.headers,
      }),
    }
  }
}
