import type { Context, Result } from './context.ts'
import { openStoreOf } from './open-store.ts'
import { harmless, table } from './output.ts'

/** `authkeep accounts [provider]`: what logins are called, and whose they are, for `--account`. */
export async function accounts(context: Context): Promise<Result> {
  const [provider] = context.words
  const store = await openStoreOf(context)
  try {
    const infos = await store.list(provider === undefined ? {} : { provider })
    const json = {
      accounts: infos.map(({ provider, account, type, subject, issuer }) => ({
        ...{ provider, account, type },
        ...(issuer === undefined ? {} : { issuer }),
        ...(subject === undefined ? {} : { subject }),
      })),
    }
    if (infos.length === 0) {
      const which = provider === undefined ? '' : ` of ${provider}`
      return { text: `${harmless(`There are no accounts${which} in ${store.location}.`)}\n`, json }
    }
    const rows = infos.map((info) => [info.provider, info.account, info.subject ?? '', info.issuer ?? ''])
    return { text: `${table(['PROVIDER', 'ACCOUNT', 'WHO', 'ISSUER'], rows, context.columns)}\n`, json }
  } finally {
    await store.close()
  }
}
