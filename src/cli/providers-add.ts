import { join } from 'node:path'
import { declaredHosts } from '../endpoint.ts'
import { loadProvider, saveProvider } from '../provider-files.ts'
import type { Context, Result } from './context.ts'
import { providersPath } from './open-home.ts'
import { harmless } from './output.ts'

/** `authkeep providers add <file>`: checks a provider file and copies it in, and says where its tokens will go. */
export async function providersAdd(context: Context): Promise<Result> {
  const [file = ''] = context.words
  const provider = await loadProvider(file)
  const directory = providersPath(context.home)
  const changed = await saveProvider(directory, provider, { replace: context.options['replace'] === true })
  const hosts = declaredHosts(provider.endpoints ?? [])
  const sentence = changed
    ? `Added ${provider.id}; its tokens go to ${hosts.join(', ') || 'no host yet'}.`
    : `${provider.id} is there already, just like this.`
  const json = { provider: provider.id, path: join(directory, `${provider.id}.json`), hosts, changed }
  return { text: `${harmless(sentence)}\n`, json }
}
