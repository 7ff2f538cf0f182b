import type { CredentialInfo } from '../store/store.ts'
import { openStore } from '../store/store.ts'
import type { Context, Result } from './context.ts'
import { storePath } from './open-home.ts'
import { expiryInWords, harmless, table } from './output.ts'

/** `authkeep status`: every login, without its secrets. Only reads, so it works on a read-only disk. */
export async function status(context: Context): Promise<Result> {
  const store = await openStore({ path: storePath(context.home) })
  try {
    const credentials = await store.list()
    const now = Date.now()
    const json = {
      store: store.location,
      credentials: credentials.map((info) => ({ ...info, status: stateOf(info, now) })),
    }
    if (credentials.length === 0) return { text: `There are no logins in ${harmless(store.location)}.\n`, json }
    return { text: `${render(credentials, now, context.columns)}\n`, json }
  } finally {
    await store.close()
  }
}

function render(credentials: readonly CredentialInfo[], now: number, columns: number): string {
  const rows = credentials.map((info) => [
    info.provider,
    info.account,
    info.type === 'api_key' ? 'API key' : info.type,
    (info.scopes ?? []).join(' '),
    expiryOf(info, now),
    stateOf(info, now),
  ])
  const problems = credentials.filter(({ problem }) => problem !== undefined)
  return [
    table(['PROVIDER', 'ACCOUNT', 'KIND', 'SCOPES', 'EXPIRES', 'STATE'], rows, columns),
    ...problems.map(({ provider, account, problem }) =>
      harmless(`${provider}:${account} cannot be read: ${problem ?? ''}`),
    ),
  ].join('\n')
}

function expiryOf({ type, expiresAt, refreshable = false }: CredentialInfo, now: number): string {
  if (type === 'api_key' || type === 'unreadable') return ''
  const words = expiryInWords(expiresAt, now)
  return refreshable && (words === 'expired' || words === '') ? 'renews' : words
}

/** What a person has to know: whether it will serve. */
function stateOf(info: CredentialInfo, now: number): 'live' | 'in doubt' | 'login needed' | 'unreadable' {
  if (info.type === 'unreadable') return 'unreadable'
  const { expiresAt, refreshable = false, state } = info
  const isExpired = typeof expiresAt === 'number' && expiresAt <= now
  if (state === 'dead' || (isExpired && !refreshable)) return 'login needed'
  return state === 'in_doubt' ? 'in doubt' : 'live'
}
