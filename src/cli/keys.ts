import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { errnoOf } from '../errors.ts'
import type { StoreBackend } from '../store/backend.ts'
import { type KeyProvider, keySources, type Sealed, sealed } from '../store/sealed.ts'
import { environmentKeys, fileKeys, passphraseKeys, severalKeys } from '../store/sealing-keys.ts'
import { type Context, UsageError } from './context.ts'

/** What `--key` and `AUTHKEEP_KEY` take. */
const places = 'keychain, file:path, env:NAME, credential:name, passphrase'

/** What finding a key may need: the environment, and a person. */
export type KeyContext = Pick<Context, 'env' | 'signal'>

/**
 * The backend with its secrets opened: by the keys that the store names itself, and before those by `AUTHKEEP_KEY`,
 * which also seals a store that is in the clear. As it is, where there are neither.
 */
export async function withKeys<B extends StoreBackend>(context: KeyContext, backend: B): Promise<B | (B & Sealed)> {
  const { AUTHKEEP_KEY: configured = '' } = context.env
  const keys = await keysOf(context, [...(configured === '' ? [] : [configured]), ...(await keySources(backend))])
  return keys === null ? backend : sealed(backend, keys)
}

/** The keys of all these places; null for none. */
export async function keysOf(context: KeyContext, sources: readonly string[]): Promise<KeyProvider | null> {
  const [first, ...others] = await Promise.all([...new Set(sources)].map((source) => keysAt(context, source)))
  return first === undefined ? null : severalKeys(first, ...others)
}

/**
 * @param isNew whether a passphrase is a new one, which is asked for twice
 * @throws UsageError for what is no place of keys
 */
export async function keysAt(context: KeyContext, source: string, isNew = false): Promise<KeyProvider> {
  const [kind = '', name = ''] = source.split(/:(.*)/s)
  if (kind === 'keychain') {
    const { keychainKeys } = await import('../store/keychain.ts')
    return keychainKeys(name === '' ? {} : { service: name })
  }
  if (source === 'passphrase') return passphraseKeys(() => passphrase(context, isNew))
  if (kind === 'file' && name !== '') return fileKeys(resolve(name))
  if (kind === 'env' && /^[A-Za-z_]\w*$/.test(name)) return environmentKeys(name, context.env)
  if (kind === 'credential' && /^[\w.@-]+$/.test(name)) {
    const directory = context.env['CREDENTIALS_DIRECTORY'] ?? ''
    if (directory === '') throw new UsageError('CREDENTIALS_DIRECTORY is not set: systemd sets it for its services.')
    return { ...fileKeys(join(directory, name)), source }
  }
  throw new UsageError(`"${source}" is no place of keys. It is one of ${places}.`)
}

/** Shorter ones are guessed, however long each guess takes. */
const shortestPassphrase = 8

/** From the environment, or typed. A new one has a variable of its own, so that a rotation can have both. */
async function passphrase({ env, signal }: KeyContext, isNew: boolean): Promise<string> {
  const given =
    (isNew ? fromEnvironment(env, 'AUTHKEEP_NEW_PASSPHRASE') : '') || fromEnvironment(env, 'AUTHKEEP_PASSPHRASE')
  if (given === '' && !process.stdin.isTTY) {
    throw new UsageError('Nobody is there to type the passphrase: set AUTHKEEP_PASSPHRASE_FILE.')
  }
  const text = given === '' ? await typed(signal, isNew) : given
  if (isNew && text.length < shortestPassphrase) {
    throw new UsageError(`A passphrase has at least ${shortestPassphrase} letters.`)
  }
  return text
}

async function typed(signal: AbortSignal, isNew: boolean): Promise<string> {
  const { typeHidden } = await import('./terminal.ts')
  const text = await typeHidden(signal, isNew ? 'New passphrase' : 'Passphrase')
  if (isNew && (await typeHidden(signal, 'The same again')) !== text) throw new UsageError('The two differ.')
  return text
}

function fromEnvironment(env: Context['env'], variable: string): string {
  const path = env[`${variable}_FILE`] ?? ''
  if (path === '') return env[variable] ?? ''
  try {
    return readFileSync(path, 'utf8').replace(/\r?\n$/, '')
  } catch (error) {
    const errno = errnoOf(error) ?? 'unknown error'
    throw new UsageError(`${variable}_FILE names a file that cannot be read (${errno}).`)
  }
}
