import { join } from 'node:path'
import type { StoreBackend } from '../store/backend.ts'
import { type FileBackend, fileBackend } from '../store/file.ts'
import { keySources } from '../store/sealed.ts'
import { CredentialStore } from '../store/store.ts'
import type { Context } from './context.ts'

export const storePath = (home: string): string => join(home, 'auth.json')

/** What a home directory keeps its credentials in, with its secrets as they stand there: sealed, where they are. */
export function backendOf({ home }: Pick<Context, 'home'>): FileBackend {
  return fileBackend({ path: storePath(home) })
}

/** The store of a home directory, its secrets opened. Keys are looked for only where there is something sealed. */
export async function openStoreOf(
  context: Pick<Context, 'home' | 'env' | 'signal'>,
  backend: StoreBackend = backendOf(context),
): Promise<CredentialStore> {
  // What cannot be read is the trouble of whoever wants to read it.
  const isSealed = (context.env['AUTHKEEP_KEY'] ?? '') !== '' || (await keySources(backend).catch(() => [])).length > 0
  if (!isSealed) return new CredentialStore(backend)
  const { withKeys } = await import('./keys.ts')
  return new CredentialStore(await withKeys(context, backend))
}
