import { type Context, type Result, secondsOption, urlWord } from './context.ts'
import { withHome } from './open-home.ts'
import { targetFor } from './target.ts'

/** `authkeep token <url>`: the token and a newline, for `$(…)`. Loads nothing that a cached token does not need. */
export async function token(context: Context): Promise<Result> {
  const url = urlWord(context)
  const minTtlMs = secondsOption(context, 'min-ttl')
  return withHome(context, {}, async (home) => {
    const found = await home.broker.getToken(await targetFor(context, url, home), {
      signal: context.signal,
      ...(minTtlMs === undefined ? {} : { minTtlMs }),
    })
    const { type, account, scopes, resource = null, expiresAt } = found
    const revealed = found.reveal()
    return { text: `${revealed}\n`, json: { token: revealed, type, account, scopes, resource, expiresAt } }
  })
}
