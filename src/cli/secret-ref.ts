import { type Context, type Result, UsageError } from './context.ts'
import { withHome } from './open-home.ts'
import { harmless } from './output.ts'
import { readInput } from './terminal.ts'

/** `authkeep secret-ref`: the secrets that OpenClaw asks an exec provider for, as JSON on stdin and stdout. */
export async function secretRef(context: Context): Promise<Result> {
  const { answerSecretRefs } = await import('../adapters/secret-ref.ts')
  const request = parsed(await readInput(context.signal))
  return withHome(context, {}, async ({ broker }) => {
    const answer = await answerSecretRefs(request, (target) =>
      broker.getToken(target, { signal: context.signal }),
    ).catch((error: unknown) => {
      throw error instanceof TypeError ? new UsageError(`On stdin, ${error.message}.`) : error
    })
    // OpenClaw shows the code of an error, not its message.
    for (const [id, { message }] of Object.entries(answer.errors)) context.say(harmless(`${id}: ${message}`))
    return { text: `${JSON.stringify(answer)}\n`, json: null }
  })
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new UsageError('What stdin holds is not JSON.')
  }
}
