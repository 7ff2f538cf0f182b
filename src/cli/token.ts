import { type Context, type Result, secondsOption, textOption, urlWord } from './context.ts'
import { withHome } from './open-home.ts'

/** `authkeep token <url>`: the token and a newline, for `$(…)`. Loads nothing that a cached token does not need. */
export async function token(context: Context): Promise<Result> {
  const url = urlWord(context)
  const minTtlMs = secondsOption(context, 'min-ttl')
  const account = textOption(context, 'account')
  return withHome(context, {}, async ({ broker }) => {
    const found = await broker.getToken(url, {
      signal: context.signal,
      ...(minTtlMs === undefined ? {} : { minTtlMs }),
      ...(account === undefined ? {} : { account }),
    })
    const { type, scopes, resource = null, expiresAt } = found
    const revealed = found.reveal()
    const json = { token: revealed, type, account: found.account, scopes, resource, expiresAt }
    return { text: `${revealed}\n`, json }
  })
}
