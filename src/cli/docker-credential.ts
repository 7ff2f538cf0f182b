import type { AccessToken } from '../broker/access-token.ts'
import { AuthkeepError, isAuthkeepError } from '../errors.ts'
import { type Context, type Result, textOption, UsageError } from './context.ts'
import { type Home, withHome } from './open-home.ts'
import { harmless } from './output.ts'
import { readInput } from './terminal.ts'

/** Exactly what docker knows: it then goes on without a login. */
const notFound = 'credentials not found in native keychain'

/**
 * `authkeep docker-credential <operation>`: the helper protocol of docker, which podman, buildah and skopeo speak too.
 * What is wrong goes to stdout, where they look for it, and to stderr, where a person does.
 */
export async function dockerCredential(context: Context): Promise<Result> {
  try {
    return { text: await answer(context), json: null }
  } catch (error) {
    if (isAuthkeepError(error, 'endpoint_unknown')) return { text: `${notFound}\n`, json: null, exitCode: 1 }
    const { adviseOn } = await import('./advice.ts')
    const typed = ['docker-credential', ...context.words, ...context.homeOption]
    const { message, next, exitCode } = adviseOn(error, {
      ...{ typed, command: 'docker-credential', homeOption: context.homeOption, cancelled: context.signal.aborted },
    })
    context.say(`${harmless(message)}\n${harmless(next)}`)
    return { text: `${harmless(message)}\n`, json: null, exitCode }
  }
}

async function answer(context: Context): Promise<string> {
  const { dockerAnswer } = await import('../adapters/helper-output.ts')
  switch (context.words[0]) {
    case 'get': {
      const server = (await readInput(context.signal)).trim()
      return withHome(context, {}, async (home) => dockerAnswer(await tokenFor(server, home, context), server))
    }
    case 'list':
      return withHome(context, {}, async (home) => `${JSON.stringify(await registries(home))}\n`)
    case 'store':
    case 'erase':
      throw new UsageError('Logins come and go by authkeep login and authkeep logout; docker changed none.')
    default:
      throw new UsageError('A helper of docker can get, store, erase and list.')
  }
}

async function tokenFor(server: string, { broker }: Home, context: Context): Promise<AccessToken> {
  const { registryUrls } = await import('../adapters/helper-output.ts')
  const account = textOption(context, 'account')
  const options = { signal: context.signal, ...(account === undefined ? {} : { account }) }
  let unknown = new AuthkeepError('endpoint_unknown', { asked: server })
  for (const url of registryUrls(server)) {
    try {
      return await broker.getToken(url, options)
    } catch (error) {
      if (!isAuthkeepError(error, 'endpoint_unknown')) throw error
      unknown = error
    }
  }
  throw unknown
}

/** The hosts of endpoints that declare a user name, of providers that there is a login to. */
async function registries({ providers, store }: Home): Promise<Readonly<Record<string, string>>> {
  const known = new Set((await store.list()).map(({ provider }) => provider))
  const endpoints = providers.filter(({ id }) => known.has(id)).flatMap((provider) => provider.endpoints ?? [])
  return Object.fromEntries(
    endpoints.flatMap(({ url, username }) => {
      const host = /^https?:\/\/([^/*]+)(\/|$)/i.exec(url)?.[1]
      return host === undefined || username === undefined ? [] : [[host, username]]
    }),
  )
}
