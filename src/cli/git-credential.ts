import { isAuthkeepError } from '../errors.ts'
import { type Context, type Result, textOption } from './context.ts'
import { withHome } from './open-home.ts'
import { readInput } from './terminal.ts'

const nothing: Result = { text: '', json: null }

/**
 * `authkeep git-credential get`: a token for the repository that git names on stdin. What nobody declares, and every other
 * operation, is answered with nothing, so that git asks the next helper.
 */
export async function gitCredential(context: Context): Promise<Result> {
  if (context.words[0] !== 'get') return nothing
  const { gitAnswer, readGitRequest } = await import('../adapters/helper-output.ts')
  const request = readGitRequest(await readInput(context.signal))
  if (request === null) return nothing
  const account = textOption(context, 'account')
  return withHome(context, {}, async ({ broker }) => {
    try {
      const options = { signal: context.signal, ...(account === undefined ? {} : { account }) }
      return { text: await gitAnswer(await broker.getToken(request.url, options), request), json: null }
    } catch (error) {
      if (isAuthkeepError(error, 'endpoint_unknown')) return nothing
      throw error
    }
  })
}
