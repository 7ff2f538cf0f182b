import { join } from 'node:path'
import type { StoreBackend } from '../store/backend.ts'
import { fileBackend } from '../store/file.ts'
import { keySources } from '../store/sealed.ts'
import { CredentialStore } from '../store/store.ts'
import type { Context } from './context.ts'

export const storePath = (home: string): string => join(home, 'auth.json')

/** Where the credentials are, unless it is the file of the home directory. */
export const storeElsewhere = (env: Context['env']): string | undefined => env['AUTHKEEP_STORE'] || undefined

/** What the credentials are kept in, with secrets as they stand there: sealed, where they are. */
export async function backendOf({ home, env }: Pick<Context, 'home' | 'env'>): Promise<StoreBackend> {
  const elsewhere = storeElsewhere(env)
  if (elsewhere === undefined) return fileBackend({ path: storePath(home) })
  const { openPlace } = await import('./place.ts')
  return (await openPlace({ home, env }, elsewhere)).backend
}

/** The file that the credentials are in, where it is one. */
export function pathOf(backend: StoreBackend): string | null {
  return 'path' in backend ? String(backend.path) : null
}

/** The store, its secrets opened. Keys are looked for only where there is something sealed. */
export async function openStoreOf(
  context: Pick<Context, 'home' | 'env' | 'signal'>,
  opened?: StoreBackend,
): Promise<CredentialStore> {
  const backend = opened ?? (await backendOf(context))
  // What cannot be read is the trouble of whoever wants to read it.
  const isSealed = (context.env['AUTHKEEP_KEY'] ?? '') !== '' || (await keySources(backend).catch(() => [])).length > 0
  if (!isSealed) return new CredentialStore(backend)
  const { withKeys } = await import('./keys.ts')
  return new CredentialStore(await withKeys(context, backend))
}
