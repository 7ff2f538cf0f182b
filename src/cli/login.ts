import { addAbortSignal } from 'node:stream'
import { text as readAll } from 'node:stream/consumers'
import { findProvider } from '../broker/target.ts'
import type { GrantFlow } from '../grant/flow.ts'
import type { Provider } from '../provider.ts'
import { missingScopes, parseScope } from '../scope.ts'
import { canOpenBrowser } from './browser.ts'
import { type Context, type Result, secondsOption, textOption, UsageError } from './context.ts'
import { sayProblems, withHome } from './open-home.ts'
import { harmless } from './output.ts'

/** `authkeep login <provider>`: gets a grant from a person and says what it turned out to be. */
export async function login(context: Context): Promise<Result> {
  const [id = ''] = context.words
  const account = textOption(context, 'account')
  const resource = textOption(context, 'resource')
  if (resource !== undefined && !URL.canParse(resource))
    throw new UsageError(`--resource takes a URL, not "${resource}".`)
  const given = context.options['scope']
  const scopes = Array.isArray(given) ? parseScope(given.join(' ')) : undefined
  return withHome(context, { full: true }, async ({ broker, providers, problems }) => {
    await sayProblems(context, problems)
    const provider = findProvider(id, providers)
    const asked = scopes ?? provider.scopes ?? []
    const info = await broker.authorize(
      {
        provider: id,
        ...(account === undefined ? {} : { account }),
        ...(resource === undefined ? {} : { resource }),
        ...(scopes === undefined ? {} : { scopes }),
      },
      await flowFor(context, provider),
      { signal: context.signal },
    )
    const notGranted = info.type === 'oauth' ? missingScopes(asked, info.scopes ?? [], provider.implies) : []
    const granted = (info.scopes ?? []).join(' ')
    const sentences = [
      info.type === 'api_key'
        ? `Stored the API key of ${id} as "${info.account}".`
        : `Logged in to ${id} as "${info.account}"${granted === '' ? '' : ` with ${granted}`}.`,
      ...(notGranted.length === 0 ? [] : [`Asked for and not granted: ${notGranted.join(' ')}.`]),
    ]
    return { text: `${sentences.map(harmless).join('\n')}\n`, json: { ...info, notGranted } }
  })
}

async function flowFor(context: Context, provider: Provider): Promise<GrantFlow> {
  if (context.options['api-key-stdin'] === true) {
    const { apiKeyFlow } = await import('../grant/api-key.ts')
    return apiKeyFlow({ key: await keyFromStdin(context) })
  }
  const timeoutMs = secondsOption(context, 'timeout')
  const opens = context.options['no-browser'] !== true && canOpenBrowser(context.env)
  const { loopbackFlow } = await import('../grant/loopback.ts')
  return loopbackFlow({
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    openBrowser: async (url) => {
      context.say(
        harmless(`To log in to ${provider.id}, open this address${opens ? ' (your browser is being opened)' : ''}:`),
      )
      context.say(url.href)
      if (opens) await openBrowser(url, context)
    },
  })
}

async function openBrowser(url: URL, context: Context): Promise<void> {
  const { default: open } = await import('open')
  try {
    const child = await open(url.href)
    child.once('error', () => context.say('The browser could not be opened; please open the address yourself.'))
    child.unref()
  } catch {
    // The address is on the screen already; that is all that is needed.
    context.say('The browser could not be opened; please open the address yourself.')
  }
}

async function keyFromStdin(context: Context): Promise<string> {
  if (process.stdin.isTTY) context.say('Paste the API key, then press Enter and Ctrl-D:')
  const key = (await readAll(addAbortSignal(context.signal, process.stdin))).trim()
  if (key === '') throw new UsageError('There is no API key on stdin.')
  if (/\s/.test(key)) throw new UsageError('What stdin holds is not one API key: it has a space or a line break in it.')
  return key
}
