import { readdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { StoreBackend } from '../store/backend.ts'
import { type KeyProvider, keySources, sealed } from '../store/sealed.ts'
import { severalKeys } from '../store/sealing-keys.ts'
import { type Context, type Result, textOption, UsageError } from './context.ts'
import { keysAt, keysOf } from './keys.ts'
import { backendOf, pathOf } from './open-store.ts'
import { titled } from './output.ts'

/** `authkeep encrypt --key <place>`: seals what is in the clear. */
export async function encrypt(context: Context): Promise<Result> {
  const place = textOption(context, 'key') ?? (context.env['AUTHKEEP_KEY'] || undefined)
  if (place === undefined) throw new UsageError('Name the place of the key: --key keychain, or file:path.')
  return withBackend(context, async (backend) => {
    const sources = await keySources(backend)
    const keys = await keysAt(context, place, sources.length === 0)
    if (sources.length > 0 && keys.source !== sources[0]) {
      throw new UsageError(`It is sealed with a key of ${sources[0]}. For another: authkeep rotate-key --key ${place}`)
    }
    const { keyId, entries } = await sealed(backend, keys).sealAll()
    const quarantined = await quarantinedBeside(pathOf(backend))
    return {
      text: lines(context, [
        `${logins(entries)} sealed with the key ${keyId} of ${keys.name}.`,
        ...quarantined.map((path) => `In the clear, kept because it was damaged; remove it: ${path}`),
      ]),
      json: { sealed: entries, key: keyId, source: keys.source, quarantined },
    }
  })
}

/** `authkeep decrypt`: puts the secrets back in the clear. */
export async function decrypt(context: Context): Promise<Result> {
  return withBackend(context, async (backend) => {
    const keys = await keysThere(context, backend)
    const entries = await sealed(backend, keys).unsealAll()
    return { text: lines(context, [`${logins(entries)} in the clear.`]), json: { unsealed: entries } }
  })
}

/** `authkeep rotate-key`: another key, from another place with `--key`; with `--forget`, no key that is not in use. */
export async function rotateKey(context: Context): Promise<Result> {
  const place = textOption(context, 'key')
  return withBackend(context, async (backend) => {
    const old = await keysThere(context, backend)
    const keys = place === undefined ? old : severalKeys(await keysAt(context, place, true), old)
    const store = sealed(backend, keys)
    if (context.options['forget'] === true) {
      if (place !== undefined) throw new UsageError('--forget makes no new key: leave --key out.')
      const forgotten = await store.forgetKeys()
      const text = forgotten.length === 0 ? 'Every key is in use.' : `Forgotten: ${forgotten.join(', ')}.`
      return { text: lines(context, [text]), json: { forgotten } }
    }
    const { keyId, entries } = await store.rotateKey()
    const text = `${logins(entries)} sealed with the new key ${keyId}. Older ones are known until: authkeep rotate-key --forget`
    return { text: lines(context, [text]), json: { sealed: entries, key: keyId } }
  })
}

const lines = ({ columns }: Context, sentences: readonly string[]): string =>
  `${titled('', sentences, columns).join('\n')}\n`

const logins = (count: number): string => `${count} ${count === 1 ? 'login is' : 'logins are'}`

async function withBackend(context: Context, use: (backend: StoreBackend) => Promise<Result>): Promise<Result> {
  const backend = await backendOf(context)
  try {
    return await use(backend)
  } finally {
    await backend.close()
  }
}

async function keysThere(context: Context, backend: StoreBackend): Promise<KeyProvider> {
  const { AUTHKEEP_KEY: configured = '' } = context.env
  const sources = await keySources(backend, { former: true })
  const keys = await keysOf(context, [...(configured === '' ? [] : [configured]), ...sources])
  if (keys === null) throw new UsageError('The store is not sealed. To seal it: authkeep encrypt --key keychain')
  return keys
}

async function quarantinedBeside(path: string | null): Promise<readonly string[]> {
  if (path === null) return []
  const names = await readdir(dirname(path)).catch((): string[] => [])
  return names.filter((name) => name.startsWith(`${basename(path)}.corrupt-`)).map((name) => join(dirname(path), name))
}
