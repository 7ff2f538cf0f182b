import type { OAuthCredential } from '../credential.ts'
import { requestClientCredentials } from '../grant/client-credentials-request.ts'
import type { TokenAnswer } from '../grant/flow.ts'
import { tokenError } from '../grant/token-error.ts'
import { exchangeToken } from '../grant/token-exchange.ts'
import { changeLogin, isSameLogin, withToken } from './changes.ts'
import type { ExchangePlan, ReissuePlan } from './decide.ts'
import type { Server } from './servers.ts'
import type { Workbench } from './workbench.ts'

/**
 * A token that costs nothing: for the client itself, or for another token, which stays as it is. No lease, because
 * asking twice does no harm.
 *
 * @throws AuthkeepError `server_unavailable`, `edge_challenge`, `server_rejected`, `response_invalid`, store errors
 */
export async function reissue(
  seen: OAuthCredential,
  plan: ExchangePlan | ReissuePlan,
  { store, fetch, clock, timing }: Workbench,
  server: Server,
): Promise<TokenAnswer> {
  const { scopes, resource } = plan
  const common = { ...server, scopes, resource, dpopKey: seen.dpopKey, fetch, timeoutMs: timing.httpTimeoutMs }
  const now = (): number => clock.now()
  const outcome =
    plan.action === 'exchange'
      ? await exchangeToken({ ...common, now, subjectToken: plan.subject })
      : await requestClientCredentials({ ...common, ...seen.grant.reissue, now })
  if (outcome.kind !== 'served') throw tokenError(server, outcome)
  const { answer } = outcome
  await changeLogin(store, seen, (current) =>
    isSameLogin(current, seen) ? withToken(current, answer, now()) : undefined,
  )
  return answer
}
