import { isAuthkeepError } from '../errors.ts'
import { discover } from '../grant/discovery.ts'
import type { GrantFlow } from '../grant/flow.ts'
import type { Provider } from '../provider.ts'
import { chooseFlow, type FlowName, forcedFlow, noBrowserBecause } from './choose-flow.ts'
import { type Context, PersonNeeded, secondsOption, textOption } from './context.ts'
import { harmless } from './output.ts'
import { qrText } from './qr.ts'
import { isContainer, isTerminal, readLine, readSecret } from './terminal.ts'

/**
 * The flow for a login here and now: the one that was forced, else one that suits the surroundings, and says why.
 *
 * @throws PersonNeeded where somebody is needed and nobody is there
 */
export async function flowFor(context: Context, provider: Provider, send: typeof fetch): Promise<GrantFlow> {
  return flowOf(await nameFor(context, provider, send), context, provider)
}

async function nameFor(context: Context, provider: Provider, send: typeof fetch): Promise<FlowName> {
  const { options, env } = context
  const forced = textOption(context, 'flow')
  if (forced !== undefined) return forcedFlow(forced)
  if (options['api-key-stdin'] === true) return 'api-key'
  if (options['no-browser'] === true) return 'browser'
  const isSomebodyThere = options['non-interactive'] !== true && isTerminal()
  if (isSomebodyThere && takesOnlyKeys(provider)) return 'api-key'
  const { flow, why } = await chooseFlow({
    ...{ env, platform: process.platform, isContainer: isContainer(env) },
    isTerminal: isSomebodyThere,
    hasDeviceCodes: () => knowsDeviceCodes(provider, send),
  })
  if (flow === null) throw new PersonNeeded(options['non-interactive'] === true ? 'nobody is to be asked' : why)
  if (flow !== 'browser') {
    const how = flow === 'device' ? 'with a code on another device' : 'with a browser on another machine'
    context.say(`Logging in ${how}, because ${why}.`)
    context.say('To choose another way: --flow (authkeep login --help names them)')
  }
  return flow
}

/** Whether no login could bring what the endpoints take. */
function takesOnlyKeys({ endpoints = [], keyLogin }: Provider): boolean {
  const isForKeys = endpoints.every(({ accepts = [] }) => accepts.includes('api_key') && !accepts.includes('oauth'))
  return keyLogin === undefined && endpoints.length > 0 && isForKeys
}

/** A server that does not answer now will say so to the flow. */
async function knowsDeviceCodes(provider: Provider, send: typeof fetch): Promise<boolean> {
  if (provider.deviceLogin !== undefined) return true
  try {
    const metadata = await discover(provider, { fetch: send, signal: AbortSignal.timeout(10_000) })
    return metadata['device_authorization_endpoint'] !== undefined
  } catch (error) {
    if (isAuthkeepError(error)) return false
    throw error
  }
}

async function flowOf(name: FlowName, context: Context, provider: Provider): Promise<GrantFlow> {
  switch (name) {
    case 'browser':
      return browserFlow(context, provider)
    case 'device': {
      const { deviceFlow } = await import('../grant/device-code.ts')
      return deviceFlow({
        show: async ({ userCode, verificationUri, verificationUriComplete = verificationUri }) => {
          if (process.stderr.isTTY) process.stderr.write(`${await qrText(verificationUriComplete)}\n`)
          context.say(harmless(`To log in to ${provider.id}, open ${verificationUri} and enter the code ${userCode}`))
          context.say('Enter it only if you began this login yourself: whoever sent you a code is after your account.')
        },
      })
    }
    case 'paste': {
      const { pasteFlow } = await import('../grant/paste.ts')
      return pasteFlow({
        prompt: (url, question) => {
          if (question.problem === undefined) {
            context.say(harmless(`To log in to ${provider.id}, open this address in any browser:`))
            context.say(url.href)
          }
          return paste(context, question, 'Paste the address that the browser ends at: ')
        },
      })
    }
    case 'client-credentials': {
      const { clientCredentialsFlow } = await import('../grant/client-credentials.ts')
      return clientCredentialsFlow()
    }
    case 'api-key': {
      const { apiKeyFlow } = await import('../grant/api-key.ts')
      return apiKeyFlow({ key: () => readSecret(context, 'API key') })
    }
  }
}

/** One pasted line; what was wrong with the last one is said first. */
async function paste(
  context: Context,
  { problem, signal }: { readonly problem?: string; readonly signal: AbortSignal },
  prompt: string,
): Promise<string> {
  if (problem !== undefined) context.say(harmless(problem))
  return readLine(AbortSignal.any([context.signal, signal]), prompt)
}

async function browserFlow(context: Context, provider: Provider): Promise<GrantFlow> {
  const { env, options } = context
  const timeoutMs = secondsOption(context, 'timeout')
  const opens = options['no-browser'] !== true && noBrowserBecause(env, process.platform, isContainer(env)) === null
  const elsewhere = 'If the browser is on another machine, paste the address that it ends at: '
  const { loopbackFlow } = await import('../grant/loopback.ts')
  return loopbackFlow({
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(process.stdin.isTTY ? { paste: (_: URL, question) => paste(context, question, elsewhere) } : {}),
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
