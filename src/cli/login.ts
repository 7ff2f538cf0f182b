import { findProvider } from '../broker/target.ts'
import { parseKeyName } from '../credential.ts'
import type { Target } from '../endpoint.ts'
import { missingScopes, parseScope } from '../scope.ts'
import type { CredentialInfo } from '../store/store.ts'
import { type Context, type Result, textOption, UsageError } from './context.ts'
import { flowFor } from './login-flow.ts'
import { sayProblems, withHome } from './open-home.ts'
import { otherAccountHandler } from './other-account.ts'
import { harmless } from './output.ts'

/**
 * `authkeep login <provider>…`: gets a grant from a person and says what it turned out to be. Several, each a provider
 * or `provider:account`, are stored in one commit, all or none. Each must bring all that it asks for, unless less is
 * accepted.
 */
export async function login(context: Context): Promise<Result> {
  const { words, options } = context
  const account = textOption(context, 'account')
  const resource = textOption(context, 'resource')
  if (resource !== undefined && !URL.canParse(resource))
    throw new UsageError(`--resource takes a URL, not "${resource}".`)
  const given = options['scope']
  const scopes = Array.isArray(given) ? parseScope(given.join(' ')) : undefined
  const isOne = words.length === 1
  const acrValues = Array.isArray(options['acr']) ? options['acr'] : undefined
  const maxAge = textOption(context, 'max-age')
  if (maxAge !== undefined && !/^\d{1,9}$/.test(maxAge)) {
    throw new UsageError(`--max-age takes a number of seconds, not "${maxAge}".`)
  }
  if (!isOne && [account, resource, scopes, acrValues, maxAge].some((option) => option !== undefined)) {
    throw new UsageError(
      '--account, --scope, --resource, --acr and --max-age are for one login; name several as provider:account.',
    )
  }
  const targets = words.map((word): Exclude<Target, URL | string> => {
    const { provider, account: own } = parseKeyName(word)
    const named = own === '' ? account : own
    return {
      provider,
      ...(named === undefined ? {} : { account: named }),
      ...(resource === undefined ? {} : { resource }),
      ...(scopes === undefined ? {} : { scopes }),
      ...(acrValues === undefined ? {} : { acrValues }),
      ...(maxAge === undefined ? {} : { maxAge: Number(maxAge) }),
    }
  })
  const from = textOption(context, 'from')
  if (from !== undefined || textOption(context, 'flow') === 'exchange') return exchange(context, targets, from)
  return withHome(context, { full: true }, async ({ broker, fetch, providers, problems }) => {
    await sayProblems(context, problems)
    const profiles = []
    for (const target of targets) {
      profiles.push({ target, flow: await flowFor(context, findProvider(target.provider, providers), fetch) })
    }
    const narrower = options['accept-narrower'] === true ? 'keep' : 'refuse'
    const infos = await broker.onboard(profiles, { signal: context.signal, narrower, ...otherAccountHandler(context) })
    const logins = infos.map((info) => {
      const { scopes: usual, implies } = findProvider(info.provider, providers)
      const notGranted = info.type === 'oauth' ? missingScopes(scopes ?? usual ?? [], info.scopes ?? [], implies) : []
      return { ...info, notGranted }
    })
    const text = logins.flatMap(sentencesFor).map(harmless).join('\n')
    return { text: `${text}\n`, json: isOne ? logins[0] : { logins } }
  })
}

/** `--flow exchange --from <login>`: an API key for a login that is there. */
async function exchange(
  context: Context,
  [target, ...others]: readonly Exclude<Target, URL | string>[],
  from: string | undefined,
): Promise<Result> {
  if (from === undefined || textOption(context, 'flow') !== 'exchange') {
    throw new UsageError(
      '--flow exchange and --from go together: --from names the login, a provider or provider:account.',
    )
  }
  if (target === undefined || others.length > 0) throw new UsageError('--flow exchange is for one login.')
  const { provider, account } = parseKeyName(from)
  return withHome(context, { full: true }, async ({ broker, providers, problems }) => {
    await sayProblems(context, problems)
    const keyFor = findProvider(provider, providers).apiKeyExchange?.provider
    if (keyFor !== undefined && keyFor !== target.provider) {
      throw new UsageError(
        `A login to ${provider} is exchanged for an API key of ${keyFor}, not of ${target.provider}.`,
      )
    }
    const info = await broker.exchangeForKey(
      { provider, account: account === '' ? 'default' : account },
      { ...(target.account === undefined ? {} : { account: target.account }), signal: context.signal },
    )
    const json = { ...info, notGranted: [] }
    return { text: `${sentencesFor(json).map(harmless).join('\n')}\n`, json }
  })
}

function sentencesFor(info: CredentialInfo & { readonly notGranted: readonly string[] }): readonly string[] {
  const { provider, account, type, scopes = [], notGranted } = info
  if (type === 'api_key') return [`Stored the API key of ${provider} as "${account}".`]
  const granted = scopes.length === 0 ? '' : ` with ${scopes.join(' ')}`
  return [
    `Logged in to ${provider} as "${account}"${granted}.`,
    ...(notGranted.length === 0 ? [] : [`Asked for and not granted: ${notGranted.join(' ')}.`]),
  ]
}
