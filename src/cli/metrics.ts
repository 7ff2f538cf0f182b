import { readFile } from 'node:fs/promises'
import { accountsName, markOf, readAccounts, restOf } from '../broker/order.ts'
import { type Credential, keyName } from '../credential.ts'
import { isAuthkeepError } from '../errors.ts'
import { isSealed } from '../store/sealed.ts'
import { type CredentialInfo, type CredentialStore, describeCredential } from '../store/store.ts'
import { type Context, type Result, UsageError } from './context.ts'
import { backendOf, openStoreOf } from './open-store.ts'

type Labels = Readonly<Record<string, string>>
interface Sample {
  readonly labels: Labels
  readonly value: number
}

/** One metric, by the names that Prometheus asks for: base units, and what is counted in the name. */
interface Metric {
  readonly name: string
  readonly type: 'gauge' | 'counter'
  readonly about: string
  readonly samples: readonly Sample[]
}

/** What is told of each login; null where there is nothing to tell. Times are Unix seconds. */
const ofLogins: readonly (Omit<Metric, 'samples'> & { readonly value: (login: Login) => number | null })[] = [
  {
    ...{ name: 'authkeep_login_serves', type: 'gauge', about: 'Whether nobody has to log in: 1 or 0.' },
    value: ({ info, now }) => (serves(info, now) ? 1 : 0),
  },
  {
    ...{
      name: 'authkeep_login_in_doubt',
      type: 'gauge',
      about: 'Whether its refresh token may have been spent: 1 or 0.',
    },
    value: ({ info }) => (info.type === 'oauth' ? Number(info.state === 'in_doubt') : null),
  },
  {
    ...{ name: 'authkeep_access_token_expiry_timestamp_seconds', type: 'gauge' },
    about: 'When the access token that lives longest expires.',
    value: ({ info }) => seconds(info.expiresAt),
  },
  {
    ...{ name: 'authkeep_refresh_token_expiry_timestamp_seconds', type: 'gauge' },
    about: 'When the refresh token expires, where the server says so.',
    value: ({ credential }) => (credential?.type === 'oauth' ? seconds(credential.grant.refreshExpiresAt) : null),
  },
  {
    ...{ name: 'authkeep_refreshes_total', type: 'counter', about: 'Refresh tokens that this login has had.' },
    value: ({ info }) => info.generation ?? null,
  },
  {
    ...{ name: 'authkeep_last_refresh_timestamp_seconds', type: 'gauge', about: 'When it was last refreshed.' },
    value: ({ info }) => seconds(info.refreshed?.at),
  },
  {
    ...{ name: 'authkeep_login_rests_until_timestamp_seconds', type: 'gauge' },
    about: 'Until when it is left alone, after a limit of its own.',
    value: ({ restsUntil }) => seconds(restsUntil),
  },
]

interface Login {
  readonly info: CredentialInfo
  readonly credential: Credential | null
  readonly restsUntil: number | null
  readonly now: number
}

/** `authkeep status --metrics`: the same for a machine that watches, in the text format of Prometheus (0.0.4). */
export async function metrics(context: Context): Promise<Result> {
  if (context.options['json'] === true) throw new UsageError('--metrics is a format of its own: leave --json out.')
  const backend = await backendOf(context)
  const store = await openStoreOf(context, backend)
  try {
    const now = Date.now()
    const infos = await store.list()
    const logins = await Promise.all(infos.map((info) => loginOf(info, store, now)))
    const sealed = await Promise.all(infos.map(async (info) => backend.read(keyName(info)).catch(() => null)))
    const all: Metric[] = [
      ...(await ofStore(true)),
      plain('authkeep_logins', 'Logins in the store.', infos.length),
      plain(
        'authkeep_logins_sealed',
        'Of these, the ones whose secrets are sealed.',
        sealed.filter((entry) => entry !== null && isSealed(entry.value)).length,
      ),
      ...ofLogins.map(({ value, ...metric }) => ({
        ...metric,
        samples: logins.flatMap((login) => {
          const found = value(login)
          const { provider, account } = login.info
          return found === null ? [] : [{ labels: { provider, account }, value: found }]
        }),
      })),
    ]
    return { text: print(all), json: null }
  } catch (error) {
    if (!isAuthkeepError(error)) throw error
    context.say(error.message)
    return { text: print(await ofStore(false)), json: null, exitCode: 1 }
  } finally {
    await store.close()
  }
}

async function ofStore(isReadable: boolean): Promise<readonly Metric[]> {
  const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8')
  const { version } = JSON.parse(text) as { version: string }
  const info = { labels: { version, node: process.version }, value: 1 }
  return [
    { name: 'authkeep_build_info', type: 'gauge', about: 'The version of authkeep and of Node.', samples: [info] },
    plain('authkeep_store_readable', 'Whether the store can be read: 1 or 0.', Number(isReadable)),
  ]
}

const plain = (name: string, about: string, value: number): Metric => {
  return { name, type: 'gauge', about, samples: [{ labels: {}, value }] }
}

async function loginOf(stored: CredentialInfo, store: CredentialStore, now: number): Promise<Login> {
  if (stored.type === 'unreadable') return { info: stored, credential: null, restsUntil: null, now }
  const credential = await store.read(stored)
  if (credential === null) return { info: stored, credential, restsUntil: null, now }
  const accounts = readAccounts(await store.readState(accountsName(credential.provider)))
  const rest = restOf(accounts, credential.account, markOf(credential), now)
  return { info: describeCredential(credential), credential, restsUntil: rest?.until ?? null, now }
}

function serves({ type, state, expiresAt, refreshable = false }: CredentialInfo, now: number): boolean {
  if (type === 'unreadable') return false
  return state !== 'dead' && (refreshable || typeof expiresAt !== 'number' || expiresAt > now)
}

const seconds = (ms: number | null | undefined): number | null => (ms === null || ms === undefined ? null : ms / 1_000)

function print(metrics: readonly Metric[]): string {
  return metrics
    .filter(({ samples }) => samples.length > 0)
    .flatMap(({ name, type, about, samples }) => [
      `# HELP ${name} ${about}`,
      `# TYPE ${name} ${type}`,
      ...samples.map(({ labels, value }) => `${name}${printLabels(labels)} ${value}`),
    ])
    .map((line) => `${line}\n`)
    .join('')
}

function printLabels(labels: Labels): string {
  const words = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`)
  return words.length === 0 ? '' : `{${words.join(',')}}`
}

/** What may stand in a label, and cannot steer a terminal. */
const escaped = (value: string): string =>
  value
    .replaceAll('\\', '\\\\')
    .replaceAll('"', '\\"')
    .replaceAll('\n', '\\n')
    .replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, '\uFFFD')
