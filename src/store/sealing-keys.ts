import { dirname, resolve } from 'node:path'
import { AuthkeepError, isAuthkeepError } from '../errors.ts'
import { createHash, randomBytes } from '../on-demand.ts'
import { realTarget, slowStep, step } from './atomic-write.ts'
import { FileLock } from './file-lock.ts'
import { type FileOperations, systemFiles } from './file-operations.ts'
import type { KeyProvider } from './sealed.ts'

/** A name for a key that says nothing about it. */
export const idOf = (key: Uint8Array): string =>
  createHash('sha256').update('authkeep key').update(key).digest('base64url').slice(0, 22)

/** 32 bytes, as base64url, base64 or hexadecimal digits. */
function keyIn(text: string): Uint8Array | null {
  if (/^[0-9a-f]{64}$/i.test(text)) return Buffer.from(text, 'hex')
  const bytes = /^[\w+/-]{43}=?$/.test(text) ? Buffer.from(text, 'base64url') : null
  return bytes?.length === 32 ? bytes : null
}

/** One key a line or a word; the first one is used for what is sealed from now on. */
function keysIn(text: string, name: string): readonly { readonly id: string; readonly key: Uint8Array }[] {
  return text
    .split(/[\s,]+/)
    .filter((word) => word !== '')
    .map((word) => {
      const key = keyIn(word)
      if (key === null) throw new AuthkeepError('key_missing', { keyId: 'that is 32 bytes long', keyProvider: name })
      return { id: idOf(key), key }
    })
}

const missing = (keyProvider: string): AuthkeepError =>
  new AuthkeepError('key_missing', { keyId: 'to seal with', keyProvider })

/**
 * Keys in an environment variable: 32 bytes in base64url, base64 or hexadecimal digits, the newest first, older ones
 * behind it. Nothing is made: an operator puts a key there.
 */
export function environmentKeys(
  variable: string,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): KeyProvider {
  const name = `the environment variable ${variable}`
  const keys = () => keysIn(environment[variable] ?? '', name)
  return {
    name,
    source: `env:${variable}`,
    open: async (id) => keys().find((each) => each.id === id)?.key ?? null,
    async create(known) {
      const [first] = keys()
      if (first === undefined || known.has(first.id)) throw missing(name)
      return first
    },
  }
}

/**
 * Keys in a file, one a line, the newest first: a mounted secret, a systemd credential (`$CREDENTIALS_DIRECTORY/…`), or
 * one that is made here, 0600, where there is none. A new key is put before the others; one that somebody has put there
 * is taken.
 *
 * @throws AuthkeepError from its methods `store_failed` where the file cannot be read or written, `store_busy`
 */
export function fileKeys(path: string, files: FileOperations = systemFiles): KeyProvider {
  const keys = (): ReturnType<typeof keysIn> => {
    const found = step(path, 'read', () => files.read(path))
    return found === null ? [] : keysIn(found.bytes.toString('utf8'), path)
  }
  return {
    name: path,
    source: `file:${resolve(path)}`,
    open: async (id) => keys().find((each) => each.id === id)?.key ?? null,
    async create(known) {
      const isNew = (key: { readonly id: string } | undefined): boolean => key !== undefined && !known.has(key.id)
      const [there] = keys()
      if (there !== undefined && isNew(there)) return there
      const target = realTarget(files, path)
      step(path, 'mkdir', () => files.makeDirectories(dirname(target)))
      // A file of keys that another process writes at the same time would lose one of the two.
      const lock = await new FileLock({ files, path: target }).acquire()
      try {
        const before = keys()
        const [first] = before
        if (first !== undefined && isNew(first)) return first
        const key = randomBytes(32)
        const all = [key, ...before.map((each) => each.key)]
        const text = all.map((each) => `${Buffer.from(each).toString('base64url')}\n`).join('')
        await slowStep(path, 'write', () => files.replaceBeside(target, Buffer.from(text)))
        // Before anything is sealed with it: a power cut must not take the key and leave what it has sealed.
        await slowStep(path, 'fsync', () => files.fsyncDirectory(dirname(target)))
        return { id: idOf(key), key }
      } finally {
        await lock.release()
      }
    },
  }
}

/**
 * Keys of several places: new ones come from the first, and each is looked for in all of them. For a change from one
 * place to another: `sealed(backend, severalKeys(new, old)).rotateKey()`.
 */
export function severalKeys(first: KeyProvider, ...others: readonly KeyProvider[]): KeyProvider {
  const all = [first, ...others]
  return {
    name: all.map(({ name }) => name).join(', or '),
    ...(first.source === undefined ? {} : { source: first.source }),
    create: (known) => first.create(known),
    discard: async (id) => first.discard?.(id),
    async open(id, wrapped) {
      const failures: AuthkeepError[] = []
      for (const provider of all) {
        try {
          const key = await provider.open(id, wrapped)
          if (key !== null) return key
        } catch (error) {
          if (!isAuthkeepError(error)) throw error
          failures.push(error)
        }
      }
      // Where one of them could not be asked, nobody knows that the key is gone.
      const [failure] = failures
      if (failure !== undefined) throw failure
      return null
    },
  }
}

/**
 * Wraps keys so that what comes of it may lie with the store: a key management service, for one. What a method rejects
 * with reaches the caller of the store as it is, and nothing has been changed.
 */
export interface Wrapping {
  /** For people. */
  readonly name: string
  /** For programs; see `KeyProvider`. */
  readonly source?: string
  /** The key, encrypted by the service, in a form that fits into a string of JSON. */
  wrap(key: Uint8Array): Promise<string>
  /** Null where it does not know the key any more. */
  unwrap(wrapped: string): Promise<Uint8Array | null>
}

/** Keys that are made here and kept with the store, wrapped by a service that never gives its own key away. */
export function wrappedKeys(service: Wrapping): KeyProvider {
  return {
    name: service.name,
    ...(service.source === undefined ? {} : { source: service.source }),
    open: async (_, wrapped) => (wrapped === null ? null : service.unwrap(wrapped)),
    async create() {
      const key = randomBytes(32)
      return { id: idOf(key), key, wrapped: await service.wrap(key) }
    },
  }
}

/** NIST SP 800-132, and what is recommended in 2026 for SHA-512. */
const iterations = 600_000

/**
 * Keys that are made here and kept with the store, wrapped with a passphrase (RFC 7518 §4.8: PBES2-HS512+A256KW, 600,000
 * iterations, once for each process). `passphrase` is asked when it is needed.
 */
export function passphraseKeys(passphrase: () => Promise<string> | string): KeyProvider {
  let asked: Promise<Uint8Array> | undefined
  const secret = async (): Promise<Uint8Array> => {
    asked ??= Promise.resolve(passphrase()).then((text) => new TextEncoder().encode(text))
    return asked
  }
  return wrappedKeys({
    name: 'the passphrase',
    source: 'passphrase',
    async wrap(key) {
      const { CompactEncrypt } = await import('jose')
      return new CompactEncrypt(key)
        .setProtectedHeader({ alg: 'PBES2-HS512+A256KW', enc: 'A256GCM' })
        .setKeyManagementParameters({ p2c: iterations })
        .encrypt(await secret())
    },
    async unwrap(wrapped) {
      const { compactDecrypt } = await import('jose')
      const options = { keyManagementAlgorithms: ['PBES2-HS512+A256KW'], maxPBES2Count: iterations }
      try {
        return (await compactDecrypt(wrapped, await secret(), options)).plaintext
      } catch {
        // The next one that is asked for may be the right one.
        asked = undefined
        return null
      }
    },
  })
}
