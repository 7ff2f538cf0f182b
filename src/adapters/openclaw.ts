import type { AccessToken } from '../broker/access-token.ts'
import { TokenBroker } from '../broker/broker.ts'
import { AuthkeepError, isAuthkeepError } from '../errors.ts'
import type { GrantFlow } from '../grant/flow.ts'
import { loginCommand } from '../login-command.ts'
import type { Provider } from '../provider.ts'
import { type CredentialStore, openStore } from '../store/store.ts'
import { plain } from './sdk.ts'

export { type OnboardOptions, onboard } from './onboard.ts'
export { answerSecretRefs, type SecretRefAnswer } from './secret-ref.ts'

/** What OpenClaw is to know of the models: its `models.providers.<id>`. */
export interface OpenClawModels {
  /** Where the requests go; `provider` must declare an endpoint for it. */
  readonly baseUrl: string
  /** How requests are spelled, `openai-responses` for one. */
  readonly api?: string
  readonly models: readonly { readonly id: string; readonly api?: string }[]
}

/** What `openClawProvider` makes a model provider of. */
export interface OpenClawProviderOptions<M extends OpenClawModels> {
  /** Where the logins come from, and where their tokens may go. Its id is OpenClaw's provider id, too. */
  readonly provider: Provider
  readonly models: M
  /** `upsertAuthProfileWithLock` of `openclaw/plugin-sdk/provider-auth`. */
  readonly saveProfile: (profile: OpenClawProfile & { readonly agentDir?: string }) => Promise<unknown>
  /** Default: the id of the provider. */
  readonly label?: string
  /** Default `default`. */
  readonly account?: string
  /** Stays open. Default: the file of `defaultStorePath()`, opened when it is needed and closed again. */
  readonly store?: CredentialStore
  /** How a person logs in, who is shown an address. Default: `loopbackFlow`, or `pasteFlow` where OpenClaw runs elsewhere. */
  readonly flow?: (show: (url: URL) => Promise<void>) => GrantFlow
}

/**
 * What OpenClaw stores for a login. Nothing in it is a credential: `access` names the login, and `refresh` is there
 * because OpenClaw wants one.
 */
export interface OpenClawCredential {
  type: 'oauth'
  provider: string
  access: string
  refresh: string
  /** Unix milliseconds. */
  expires: number
}

/** What OpenClaw stores of a login: its name, and no token. */
export interface OpenClawProfile {
  profileId: string
  credential: OpenClawCredential
}

/** The part of OpenClaw's context for a login at a terminal that is used. */
export interface OpenClawAuthContext {
  readonly isRemote: boolean
  readonly signal?: AbortSignal
  /** Opens a URL in the browser of the person. */
  readonly openUrl: (url: string) => Promise<void>
  readonly prompter: {
    /** Shows a text to the person. */
    note(message: string, title?: string): Promise<void>
    /** Asks the person for a line of text. */
    text(parameters: { message: string }): Promise<string>
  }
}

/** The part of OpenClaw's context for a login without questions that is used. */
export interface OpenClawNonInteractiveContext<C extends object> {
  readonly config: C
  readonly agentDir?: string
  readonly runtime: {
    /** To stdout. */
    log(...words: unknown[]): void
    /** To stderr. */
    error(...words: unknown[]): void
    /** Ends the program, or, where that is embedded, records the exit code. */
    exit(code: number): void
  }
}

/** The part of OpenClaw's context for a model request that is used. */
export interface OpenClawRequestContext {
  readonly model: { readonly baseUrl?: string; readonly api?: string }
}

/** What OpenClaw is told of a login: what to store, and which models there are. */
export interface OpenClawAuthResult<M> {
  profiles: OpenClawProfile[]
  configPatch: { models: { providers: Record<string, M> } }
  defaultModel: string
}

/** A way to log in, as OpenClaw offers it to a person or to its setup without questions. */
export interface OpenClawAuthMethod<M> {
  id: 'login' | 'stored'
  label: string
  kind: 'oauth' | 'custom'
  /** Logs in, or takes the login that is stored. Rejects with what `TokenBroker.authorize` rejects with. */
  run(context: OpenClawAuthContext): Promise<OpenClawAuthResult<M>>
  /** Null after `runtime.exit`, which every AuthkeepError ends in; rejects with whatever is none. */
  runNonInteractive<C extends object>(context: OpenClawNonInteractiveContext<C>): Promise<C | null>
}

/** The part of OpenClaw's account of a failed request that is used. */
export interface OpenClawFailureContext {
  readonly provider?: string
  readonly status?: number
  readonly errorMessage: string
}

/** What a request is sent with. */
export interface OpenClawRuntimeAuth {
  apiKey: string
  request?: { headers: Record<string, string> }
  /** Unix milliseconds. */
  expiresAt?: number
}

/** What `api.registerProvider` takes. */
export interface OpenClawProvider<M> {
  id: string
  label: string
  /** `login` asks a person, `stored` takes the login that is there already. */
  auth: OpenClawAuthMethod<M>[]
  /**
   * The token for a request, and the headers that its endpoint wants.
   *
   * @throws AuthkeepError as `TokenBroker.getToken`; `not_supported` for a token that is more than a string (DPoP)
   */
  prepareRuntimeAuth(context: OpenClawRequestContext): Promise<OpenClawRuntimeAuth>
  /**
   * Hears of failed requests, and classifies none. A token that was refused (401) is named as such when OpenClaw asks
   * for the next one.
   */
  classifyFailoverReason(context: OpenClawFailureContext): undefined
  /**
   * Answers at once and sends nothing: whatever fails while OpenClaw refreshes, and also its death, costs it the
   * profile. Never rejects: the token is seen to where it is needed.
   */
  refreshOAuth<T extends OpenClawCredential>(credential: T): Promise<T>
}

/** The year 9999. OpenClaw is to refresh nothing: what it marks as being refreshed is lost when it is killed. */
const never = Date.UTC(9999, 0, 1)

/** What a wire format of OpenClaw adds to the base URL of its models. */
const requestPaths: Readonly<Record<string, string>> = {
  'openai-responses': '/responses',
  'openai-completions': '/chat/completions',
  'anthropic-messages': '/v1/messages',
}

/**
 * An OpenClaw provider whose logins authkeep keeps: for `api.registerProvider`. OpenClaw stores a name for the login and
 * no token, so it has nothing to refresh, to spend a second time, or to lose; before a request it asks, and gets a token
 * that is brokered like any other: for the URL that the model declares, refreshed if need be, once for all processes.
 *
 * @throws TypeError without a model
 */
export function openClawProvider<const M extends OpenClawModels>(
  options: OpenClawProviderOptions<M>,
): OpenClawProvider<M> {
  const { provider, models, saveProfile, account = 'default' } = options
  const { id } = provider
  const label = options.label ?? id
  const open = opener(options)
  const profile = (): OpenClawProfile => ({ profileId: `${id}:${account}`, credential: placeholder(id, account) })
  const [model] = models.models
  if (model === undefined) throw new TypeError('a provider has at least one model')
  const defaultModel = `${id}/${model.id}`

  let given: string | undefined
  let refused: string | undefined

  const login = async (flow: GrantFlow, signal?: AbortSignal): Promise<void> => {
    await open(({ broker }) =>
      broker.authorize({ provider: id, account }, flow, signal === undefined ? {} : { signal }),
    )
  }
  const assertStored = async (): Promise<void> => {
    if ((await open(({ store }) => store.read({ provider: id, account }))) !== null) return
    throw new AuthkeepError('authorization_required', { provider: id, account, reason: 'no_credential' })
  }
  const result = (): OpenClawAuthResult<M> => ({
    profiles: [profile()],
    configPatch: { models: { providers: { [id]: models } } },
    defaultModel,
  })
  /** What `onboard --non-interactive` is given: the profile is stored, and the configuration is as it should be. */
  const nonInteractive = async <C extends object>(
    { config, agentDir, runtime }: OpenClawNonInteractiveContext<C>,
    obtain: () => Promise<void>,
  ): Promise<C | null> => {
    try {
      await obtain()
    } catch (error) {
      if (!isAuthkeepError(error)) throw error
      runtime.error(
        error.remedy === 'authorize'
          ? `${error.message} Run: ${loginCommand({ provider: id, account })}`
          : error.message,
      )
      runtime.exit(1)
      return null
    }
    await saveProfile({ ...profile(), ...(agentDir === undefined ? {} : { agentDir }) })
    return configured(config, { id, account, models, defaultModel })
  }

  return {
    id,
    label,
    auth: [
      {
        id: 'login',
        label: `${label}: log in`,
        kind: 'oauth',
        run: async (context) => {
          await login(await interactiveFlow(options, context), context.signal)
          return result()
        },
        runNonInteractive: async (context) =>
          nonInteractive(context, async () => {
            const show = async (url: URL): Promise<void> => context.runtime.log(`To log in, open ${url.href}`)
            await login(options.flow?.(show) ?? (await loopback(show)))
          }),
      },
      {
        id: 'stored',
        label: `${label}: the login that authkeep has`,
        kind: 'custom',
        run: async () => {
          await assertStored()
          return result()
        },
        runNonInteractive: async (context) => nonInteractive(context, assertStored),
      },
    ],

    async prepareRuntimeAuth({ model: { baseUrl = models.baseUrl, api = models.api } }) {
      const url = `${baseUrl.replace(/\/+$/, '')}${requestPaths[api ?? ''] ?? ''}`
      return open(async ({ broker }) => {
        const rejected = refused === undefined ? {} : { rejected: refused }
        const auth = await prepared(await broker.getToken(url, { account, method: 'POST', ...rejected }), url, provider)
        given = auth.apiKey
        return auth
      })
    },

    classifyFailoverReason({ provider: of, status, errorMessage }) {
      if (of === id && (status === 401 || /\b401\b/.test(errorMessage))) refused = given
      return undefined
    },

    refreshOAuth: async (credential) => ({ ...credential, ...placeholder(id, account) }),
  }
}

function placeholder(provider: string, account: string): OpenClawCredential {
  return {
    type: 'oauth',
    provider,
    access: `authkeep:${provider}:${account}`,
    refresh: 'kept-by-authkeep',
    expires: never,
  }
}

async function prepared(token: AccessToken, url: string, { apiKeyHeader }: Provider): Promise<OpenClawRuntimeAuth> {
  const apiKey = plain(token)
  const own = ['authorization', apiKeyHeader]
  const headers = Object.entries(await token.headers({ method: 'POST', url })).filter(([name]) => !own.includes(name))
  return {
    apiKey,
    ...(headers.length === 0 ? {} : { request: { headers: Object.fromEntries(headers) } }),
    ...(token.expiresAt === null ? {} : { expiresAt: token.expiresAt }),
  }
}

async function loopback(show: (url: URL) => Promise<void>): Promise<GrantFlow> {
  const { loopbackFlow } = await import('../grant/loopback.ts')
  return loopbackFlow({ openBrowser: show })
}

async function interactiveFlow(
  { flow }: Pick<OpenClawProviderOptions<OpenClawModels>, 'flow'>,
  { isRemote, openUrl, prompter }: OpenClawAuthContext,
): Promise<GrantFlow> {
  if (flow !== undefined) return flow(async (url) => prompter.note(url.href, 'Open this address'))
  if (!isRemote) return loopback(async (url) => openUrl(url.href))
  const { pasteFlow } = await import('../grant/paste.ts')
  return pasteFlow({
    prompt: async (url, { problem }) => {
      await prompter.note(problem ?? url.href, 'Open this address in any browser')
      return prompter.text({ message: 'Paste the address that the browser ends at' })
    },
  })
}

interface Opened {
  readonly store: CredentialStore
  readonly broker: TokenBroker
}

/**
 * Opens store and broker for the first of several that use them at a time, and closes them after the last: then a
 * refresh that was begun is finished, and OpenClaw may call `process.exit` whenever it likes.
 */
function opener({
  provider,
  store: given,
}: Pick<OpenClawProviderOptions<OpenClawModels>, 'provider' | 'store'>): <T>(
  use: (opened: Opened) => Promise<T>,
) => Promise<T> {
  let opened: Promise<Opened> | undefined
  let users = 0
  const open = async (): Promise<Opened> => {
    const store = given ?? (await openStore())
    return { store, broker: new TokenBroker({ store, providers: [provider] }) }
  }
  return async <T>(use: (opened: Opened) => Promise<T>): Promise<T> => {
    users++
    const mine = (opened ??= open())
    try {
      return await use(await mine)
    } finally {
      users--
      if (users === 0) {
        opened = undefined
        const { store, broker } = await mine
        await broker.close()
        if (given === undefined) await store.close()
      }
    }
  }
}

/** The configuration with the models, the profile, and a default model where there was none. */
function configured<C extends object>(
  config: C,
  { id, account, models, defaultModel }: { id: string; account: string; models: OpenClawModels; defaultModel: string },
): C {
  const { auth, models: known, agents } = config as { auth?: object; models?: object; agents?: object }
  const { profiles } = (auth ?? {}) as { profiles?: object }
  const { providers } = (known ?? {}) as { providers?: object }
  const { defaults } = (agents ?? {}) as { defaults?: { model?: unknown } }
  return {
    ...config,
    auth: { ...auth, profiles: { ...profiles, [`${id}:${account}`]: { provider: id, mode: 'oauth' } } },
    models: { ...known, providers: { ...providers, [id]: models } },
    agents: { ...agents, defaults: { ...defaults, model: defaults?.model ?? { primary: defaultModel } } },
  }
}
