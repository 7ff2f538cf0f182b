import type { AccountOrder, Accounts } from '../broker/order.ts'
import { type Context, type Result, UsageError } from './context.ts'
import { withHome } from './open-home.ts'
import { titled } from './output.ts'

/** `authkeep order <provider>`: says, or shows, which accounts may stand in for each other. */
export async function order(context: Context): Promise<Result> {
  const [provider = ''] = context.words
  const accounts = (context.options['try'] ?? []) as readonly string[]
  const wanted = wantedOrder(context, accounts)
  return withHome(context, {}, async ({ broker, store }) => {
    if (wanted !== undefined) {
      const known = (await store.list({ provider })).map(({ account }) => account)
      const unknown = accounts.find((account) => !known.includes(account))
      if (unknown !== undefined) throw new UsageError(`There is no login of ${provider} called "${unknown}".`)
      await broker.setAccountOrder(provider, wanted)
    }
    const found = await broker.accounts(provider)
    const resting = [...found.resting]
      .filter(([, { until }]) => until > Date.now())
      .map(([account, { reason, until }]) => ({ account, reason, until }))
    const lines = [
      sentence(provider, found),
      ...resting.map(
        ({ account, reason, until }) => `"${account}" rests until ${new Date(until).toISOString()}: ${reason}`,
      ),
    ]
    return {
      text: `${titled('', lines, context.columns).join('\n')}\n`,
      json: { provider, order: found.order, resting },
    }
  })
}

function wantedOrder({ options }: Context, accounts: readonly string[]): AccountOrder | undefined {
  const chosen = [
    ...(accounts.length > 0 ? [accounts] : []),
    ...(options['round-robin'] === true ? ['round_robin' as const] : []),
    ...(options['last-good'] === true ? ['last_good' as const] : []),
    ...(options['none'] === true ? [null] : []),
  ]
  if (chosen.length > 1) throw new UsageError('Take one of --try, --round-robin, --last-good and --none.')
  return chosen[0]
}

function sentence(provider: string, { order: by, lastGood }: Accounts): string {
  if (by === null) return `No account of ${provider} stands in for another: a caller has to name one.`
  if (by === 'round_robin') return `The accounts of ${provider} serve in turn.`
  if (by === 'last_good')
    return `Of ${provider}, the account that served last goes first${lastGood === null ? '' : ` ("${lastGood}")`}.`
  return `The accounts of ${provider} are tried in this order: ${by.join(', ')}.`
}
