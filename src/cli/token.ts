import type { AccessToken } from '../broker/access-token.ts'
import { isAuthkeepError } from '../errors.ts'
import { type Context, type Result, secondsOption, textOption, UsageError, urlWord, variableOption } from './context.ts'
import { withHome } from './open-home.ts'

/**
 * `authkeep token <url>`: the token and a newline, for `$(…)`, or as another program wants it. Loads nothing that a cached
 * token does not need.
 */
export async function token(context: Context): Promise<Result> {
  const url = urlWord(context)
  const minTtlMs = secondsOption(context, 'min-ttl')
  const account = textOption(context, 'account')
  const print = await printer(context)
  return withHome(context, {}, async ({ broker }) => {
    try {
      const found = await broker.getToken(url, {
        signal: context.signal,
        ...(minTtlMs === undefined ? {} : { minTtlMs }),
        ...(account === undefined ? {} : { account }),
      })
      return { text: await print(found), json: described(found) }
    } catch (error) {
      // Google's libraries read why from stdout, and only of an executable that ends with 0.
      if (textOption(context, 'format') !== 'google' || !isAuthkeepError(error)) throw error
      const { googleFailure } = await import('../adapters/helper-output.ts')
      return { text: googleFailure(error), json: null }
    }
  })
}

function described(token: AccessToken): object {
  const { type, account, scopes, resource = null, expiresAt } = token
  return { token: token.reveal(), type, account, scopes, resource, expiresAt }
}

type Printer = (token: AccessToken) => string | Promise<string>

/** @throws UsageError */
async function printer(context: Context): Promise<Printer> {
  const format = textOption(context, 'format') ?? 'raw'
  const variable = variableOption(context)
  if (textOption(context, 'env') !== undefined && format !== 'env') throw new UsageError('--env is for --format env.')
  if (format === 'raw') return (found) => `${found.reveal()}\n`
  if (context.options['json'] === true) throw new UsageError('--json prints JSON of its own: give it or --format.')
  const output = await import('../adapters/helper-output.ts')
  const url = context.words[0] ?? ''
  const printers: Readonly<Record<Exclude<(typeof output.tokenFormats)[number], 'raw'>, Printer>> = {
    header: output.headerLines,
    json: (found) => `${JSON.stringify(described(found))}\n`,
    env: (found) => output.environmentLine(found, variable),
    k8s: (found) => output.execCredential(found, context.env['KUBERNETES_EXEC_INFO']),
    git: (found) => output.gitAnswer(found),
    docker: (found) => output.dockerAnswer(found, url),
    aws: output.awsKeys,
    google: output.googleSubject,
  }
  const print = Object.hasOwn(printers, format) ? printers[format as keyof typeof printers] : undefined
  if (print === undefined) throw new UsageError(`--format takes one of ${output.tokenFormats.join(', ')}.`)
  return print
}
