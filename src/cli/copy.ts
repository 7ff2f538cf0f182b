import { MoveRefused, moveStore } from '../store/move.ts'
import { type Context, type Result, textOption, UsageError } from './context.ts'
import { harmless } from './output.ts'
import { openPlace } from './place.ts'

/** `authkeep copy --from <place> --to <place>`: every login goes to another store, and is renewed there from then on. */
export async function copy(context: Context): Promise<Result> {
  const [source, target] = [textOption(context, 'from'), textOption(context, 'to')]
  if (source === undefined || target === undefined)
    throw new UsageError('Name two places: --from file --to postgres://…')
  const from = await openPlace(context, source)
  try {
    const to = await openPlace(context, target)
    try {
      if (from.name === to.name) throw new UsageError('Both places are the same store.')
      const { entries, before } = await moveStore(from, to)
      const text = [
        `${entries} ${entries === 1 ? 'login is' : 'logins are'} in ${to.name} now${before === 0 ? '' : `, ${before} of them from before`}.`,
        `Those in ${from.name} stay, and are not renewed there any more.`,
        to.name.endsWith('/auth.json')
          ? 'Unset AUTHKEEP_STORE, and start what has the store open again.'
          : 'Set AUTHKEEP_STORE to that place, and start what has the store open again.',
      ]
      return { text: `${harmless(text.join(' '))}\n`, json: { from: from.name, to: to.name, entries, before } }
    } finally {
      await to.backend.close()
    }
  } catch (error) {
    throw error instanceof MoveRefused ? new UsageError(error.message) : error
  } finally {
    await from.backend.close()
  }
}
