import { createHash, randomBytes } from 'node:crypto'
import { chmod, link, mkdir, readFile, rename, unlink, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { AuthkeepError, errnoOf } from '../errors.ts'
import type { KeyProvider } from './sealed.ts'

/** A name for a key that says nothing about it. */
const idOf = (key: Uint8Array): string =>
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
 */
export function fileKeys(path: string): KeyProvider {
  const keys = async (): Promise<ReturnType<typeof keysIn>> => {
    try {
      return keysIn(await readFile(path, 'utf8'), path)
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return []
      throw error
    }
  }
  return {
    name: path,
    open: async (id) => (await keys()).find((each) => each.id === id)?.key ?? null,
    async create(known) {
      const [first, ...others] = await keys()
      if (first !== undefined && !known.has(first.id)) return first
      const all = [randomBytes(32), ...(first === undefined ? [] : [first, ...others].map(({ key }) => key))]
      await mkdir(dirname(path), { recursive: true, mode: 0o700 })
      const draft = `${path}.${randomBytes(6).toString('hex')}.tmp`
      await writeFile(draft, all.map((key) => `${Buffer.from(key).toString('base64url')}\n`).join(''), {
        mode: 0o600,
        flush: true,
      })
      try {
        // A file that another process has made meanwhile stays: whoever was first has the key.
        if (first === undefined) await link(draft, path)
        else await rename(draft, path)
      } catch (error) {
        if (errnoOf(error) !== 'EEXIST') throw error
      } finally {
        await unlink(draft).catch(() => undefined)
      }
      await chmod(path, 0o600)
      const [made] = await keys()
      if (made === undefined) throw missing(path)
      return made
    },
  }
}

/** Wraps keys so that what comes of it may lie with the store: a key management service, for one. */
export interface Wrapping {
  /** For people. */
  readonly name: string
  wrap(key: Uint8Array): Promise<string>
  /** Null where it does not know the key any more. */
  unwrap(wrapped: string): Promise<Uint8Array | null>
}

/** Keys that are made here and kept with the store, wrapped by a service that never gives its own key away. */
export function wrappedKeys(service: Wrapping): KeyProvider {
  return {
    name: service.name,
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
  const secret = async (): Promise<Uint8Array> => new TextEncoder().encode(await passphrase())
  return wrappedKeys({
    name: 'the passphrase',
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
        return null
      }
    },
  })
}
