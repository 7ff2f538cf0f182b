import { abortable } from '../abort.ts'
import { AuthkeepError } from '../errors.ts'
import type { GrantRequest } from './flow.ts'

/** How long a person may take where nobody says. */
export const personMs: number = 5 * 60_000

/**
 * What a person does, if they do it in time.
 *
 * @throws AuthkeepError `authorization_required` (`timed_out`), or `signal.reason`
 */
export async function inTime<T>(
  work: Promise<T>,
  { provider, account, signal }: Pick<GrantRequest, 'provider' | 'account' | 'signal'>,
  timeoutMs: number,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new AuthkeepError('authorization_required', { provider: provider.id, account, reason: 'timed_out' }))
    }, timeoutMs)
  })
  try {
    return await abortable(Promise.race([work, late]), signal)
  } finally {
    clearTimeout(timer)
  }
}
