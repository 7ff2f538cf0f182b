import type { AccessToken } from '../broker/access-token.ts'
import type { GetTokenOptions } from '../broker/broker.ts'
import type { Target } from '../endpoint.ts'
import { isAuthkeepError } from '../errors.ts'
import { type Context, LoginNeeded, type Result, secondsOption, urlWord } from './context.ts'
import { type Home, withHome } from './open-home.ts'

/** `authkeep token <url>`: the token and a newline, for `$(…)`. Loads nothing that a cached token does not need. */
export async function token(context: Context): Promise<Result> {
  const url = urlWord(context)
  const minTtlMs = secondsOption(context, 'min-ttl')
  return withHome(context, {}, async (home) => {
    const found = await getToken(home, url, await target(context, url, home), {
      signal: context.signal,
      ...(minTtlMs === undefined ? {} : { minTtlMs }),
    })
    const { type, account, scopes, resource = null, expiresAt } = found
    const revealed = found.reveal()
    return { text: `${revealed}\n`, json: { token: revealed, type, account, scopes, resource, expiresAt } }
  })
}

async function target(context: Context, url: URL, home: Home): Promise<Target> {
  if (context.options['account'] === undefined) return url
  const { targetFor } = await import('./target.ts')
  return targetFor(context, url, home)
}

async function getToken(
  { broker, providers }: Home,
  url: URL,
  target: Target,
  options: GetTokenOptions,
): Promise<AccessToken> {
  try {
    return await broker.getToken(target, options)
  } catch (error) {
    if (!isAuthkeepError(error, 'authorization_required')) throw error
    const { scopesToAsk } = await import('./target.ts')
    throw new LoginNeeded(error, scopesToAsk(url, error.detail.provider, providers))
  }
}
