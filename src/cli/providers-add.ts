import { join } from 'node:path'
import { declaredHosts } from '../endpoint.ts'
import type { Provider } from '../provider.ts'
import { loadProvider, saveProvider } from '../provider-files.ts'
import { type Context, type Result, textOption, UsageError } from './context.ts'
import { providersPath, withHome } from './open-home.ts'
import { harmless } from './output.ts'

/**
 * `authkeep providers add <file or URL>`: checks a provider file and copies it in; of a URL it asks the server. Says
 * where tokens will go.
 */
export async function providersAdd(context: Context): Promise<Result> {
  const [word = ''] = context.words
  const provider = /^https?:/.test(word) ? await discovered(word, context) : await fromFile(word, context)
  const directory = providersPath(context.home)
  const changed = await saveProvider(directory, provider, { replace: context.options['replace'] === true })
  const hosts = declaredHosts(provider.endpoints ?? [])
  const sentence = changed
    ? `Added ${provider.id}; its tokens go to ${hosts.join(', ') || 'no host yet'}.`
    : `${provider.id} is there already, just like this.`
  const json = { provider: provider.id, path: join(directory, `${provider.id}.json`), hosts, changed }
  return { text: `${harmless(sentence)}\n`, json }
}

async function fromFile(path: string, { options }: Context): Promise<Provider> {
  const forUrls = ['endpoint', 'id', 'client-id'].find((name) => options[name] !== undefined)
  if (forUrls !== undefined) throw new UsageError(`--${forUrls} is for a server that is named by its URL.`)
  return loadProvider(path)
}

/** With endpoints the URL is an issuer; without, a resource that says itself where to log in (RFC 9728). */
async function discovered(url: string, context: Context): Promise<Provider> {
  if (!URL.canParse(url)) throw new UsageError(`"${url}" is not a URL.`)
  const endpoints = ((context.options['endpoint'] ?? []) as readonly string[]).map((pattern) => ({ url: pattern }))
  const [id, clientId] = [textOption(context, 'id'), textOption(context, 'client-id')]
  const { discoverIssuer, discoverProvider } = await import('../grant/discover-provider.ts')
  return withHome(context, {}, async ({ fetch: send, providers }) => {
    const options = {
      ...(id === undefined ? {} : { id }),
      ...(clientId === undefined ? {} : { client: { id: clientId } }),
      ...{ registration: { clientName: context.env['AUTHKEEP_PRODUCT'] || 'authkeep' }, fetch: send },
      signal: context.signal,
    }
    return endpoints.length === 0
      ? discoverProvider(url, { ...options, providers })
      : discoverIssuer(url, { ...options, endpoints })
  })
}
