import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { TokenBroker } from '../broker/broker.ts'
import { type AuthkeepError, errnoOf } from '../errors.ts'
import type { Provider } from '../provider.ts'
import type { CredentialStore } from '../store/store.ts'
import { type Context, UsageError } from './context.ts'
import { environmentName, knownProviders, missingClient } from './known-providers.ts'
import { openStoreOf } from './open-store.ts'
import { openWeb } from './proxy.ts'

/** What a home directory holds, opened. */
export interface Home {
  readonly store: CredentialStore
  readonly broker: TokenBroker
  /** The way to the servers, as the environment says. */
  readonly fetch: typeof fetch
  readonly providers: readonly Provider[]
  /** Those that are shipped and want a client of one's own, which is not there. */
  readonly incomplete: readonly Provider[]
  /** Provider files that cannot be used. */
  readonly problems: readonly AuthkeepError[]
}

export const providersPath = (home: string): string => join(home, 'providers')

/**
 * Opens the home directory, lets a command use it, and closes it again: a refresh that is under way is finished and
 * saved first, also when the command fails or is cancelled.
 *
 * @param full whether every member of the provider files is to be checked, which takes longer
 */
export async function withHome<T>(
  context: Context,
  { full = false }: { full?: boolean },
  use: (home: Home) => Promise<T>,
): Promise<T> {
  const known = await knownProviders(providersPath(context.home), context.env, { full })
  const { problems, incomplete } = known
  const providers = known.providers.map((provider) => withSecretOf(context.env, provider))
  const web = openWeb(context.env)
  const store = await openStoreOf(context)
  const broker = new TokenBroker({ store, providers, environment: context.env, fetch: web.fetch })
  try {
    return await use({ store, broker, fetch: web.fetch, providers, incomplete, problems })
  } catch (error) {
    await sayProblems(context, problems)
    throw missingClient(error, incomplete) ?? error
  } finally {
    try {
      await broker.close()
    } finally {
      await store.close()
      await web.close()
    }
  }
}

/**
 * The provider with the client secret that the environment holds, for machines on which no file should: in
 * `AUTHKEEP_CLIENT_SECRET_<ID>`, or in the file that `AUTHKEEP_CLIENT_SECRET_<ID>_FILE` names.
 */
function withSecretOf(env: Context['env'], provider: Provider): Provider {
  const name = `AUTHKEEP_CLIENT_SECRET_${environmentName(provider.id)}`
  const path = env[`${name}_FILE`] ?? ''
  const secret = path === '' ? (env[name] ?? '') : secretIn(path, `${name}_FILE`)
  return secret === '' ? provider : { ...provider, client: { ...provider.client, secret } }
}

function secretIn(path: string, name: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch (error) {
    throw new UsageError(`${name} names a file that cannot be read (${errnoOf(error) ?? 'unknown error'}).`)
  }
}

/** Tells of provider files that are not used: they may be why something else fails. */
export async function sayProblems(context: Context, problems: readonly AuthkeepError[]): Promise<void> {
  const { harmless } = await import('./output.ts')
  for (const problem of problems) context.say(harmless(`Not used: ${problem.message}`))
}
