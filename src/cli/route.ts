import { type Context, type Result, textOption } from './context.ts'
import { withHome } from './open-home.ts'
import { harmless, titled } from './output.ts'

/** `authkeep route <service>`: where its requests would go now, and with which credential. Prints no secret. */
export async function route(context: Context): Promise<Result> {
  const [service = ''] = context.words
  const { options, signal } = context
  const [model, account, baseUrl] = [
    textOption(context, 'model'),
    textOption(context, 'account'),
    textOption(context, 'base-url'),
  ]
  return withHome(context, {}, async ({ broker }) => {
    const found = await broker.route(
      {
        service,
        ...(model === undefined ? {} : { model }),
        ...(account === undefined ? {} : { account }),
        ...(baseUrl === undefined ? {} : { baseUrl }),
        trustBaseUrl: options['trust-base-url'] === true,
      },
      { signal },
    )
    const { provider, kind, endpoint, reason, passedOver, token } = found
    // A DPoP token's proof would be for one request.
    const headers = token.type === 'DPoP' ? ['authorization', 'dpop'] : Object.keys(await found.headers()).sort()
    const rows = (title: string, sentence: string): readonly string[] =>
      titled(`  ${title.padEnd(9)}`, [sentence], context.columns)
    const lines = [
      harmless(found.baseUrl),
      ...rows('with', `${provider} "${found.account}" (${kind})`),
      ...rows('headers', headers.join(', ')),
      ...rows('because', reason),
      ...passedOver.flatMap((other) => rows('not', `${other.baseUrl} of ${other.provider}: ${other.reason}`)),
    ]
    const where = { account: found.account, baseUrl: found.baseUrl }
    return {
      text: `${lines.join('\n')}\n`,
      json: { service, provider, ...where, kind, endpoint, reason, headers, passedOver },
    }
  })
}
