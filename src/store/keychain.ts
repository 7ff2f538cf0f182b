import { randomBytes } from 'node:crypto'
import { AuthkeepError, isAuthkeepError } from '../errors.ts'
import type { KeyProvider } from './sealed.ts'
import { idOf } from './sealing-keys.ts'

/** Where in the keychain the keys are, and how long it may take. */
export interface KeychainOptions {
  /** What the items are filed under, one for each key; default `authkeep`. */
  readonly service?: string
  /** How long the keychain may take, the person included whom it asks to unlock it; default 30 s. */
  readonly timeoutMs?: number
}

/** The part of `@napi-rs/keyring` that is used. */
interface Entry {
  getPassword(signal?: AbortSignal): Promise<string | null>
  setPassword(password: string, signal?: AbortSignal): Promise<void>
  deletePassword(signal?: AbortSignal): Promise<boolean>
}

// Without it, a machine whose Secret Service does not answer would keep keys in the kernel until it is rebooted.
const pinned = { linux: { store: 'secret-service' } } as const

const name = 'the keychain of the operating system'

/**
 * Keys in the keychain of the operating system: the Keychain of macOS, the Credential Manager of Windows, the Secret
 * Service of a Linux desktop. Needs the package `@napi-rs/keyring`. One item for each key; none is ever overwritten.
 *
 * @throws AuthkeepError from its methods `keychain_unavailable`, where the package is missing, the keychain is locked,
 *   or gives no answer in time
 */
export function keychainKeys({ service = 'authkeep', timeoutMs = 30_000 }: KeychainOptions = {}): KeyProvider {
  const ask = <T>(id: string, question: (entry: Entry, signal: AbortSignal) => Promise<T>): Promise<T> =>
    inTurn(id, timeoutMs, async (signal) => question(await entryOf(service, id), signal))
  return {
    name,
    source: service === 'authkeep' ? 'keychain' : `keychain:${service}`,
    async open(id) {
      const found = await ask(id, (entry, signal) => entry.getPassword(signal))
      const key = found === null ? null : Buffer.from(found, 'base64url')
      return key !== null && idOf(key) === id ? key : null
    },
    async create() {
      const key = randomBytes(32)
      const id = idOf(key)
      await ask(id, (entry, signal) => entry.setPassword(key.toString('base64url'), signal))
      return { id, key }
    },
    async discard(id) {
      await ask(id, (entry, signal) => entry.deletePassword(signal))
    },
  }
}

async function entryOf(service: string, id: string): Promise<Entry> {
  const { AsyncEntry } = await import('@napi-rs/keyring').catch(() => {
    throw unavailable(id, 'no_package')
  })
  return new AsyncEntry(service, id, pinned)
}

/** One question at a time in this process: each that gets no answer holds a thread that files are read by, too. */
let turn: Promise<unknown> = Promise.resolve()

function inTurn<T>(id: string, timeoutMs: number, question: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController()
  const answer = turn.then(() => {
    controller.signal.throwIfAborted()
    return question(controller.signal)
  })
  turn = answer.catch(() => undefined)
  return new Promise<T>((resolve, reject) => {
    const timer = setTimeout(() => {
      controller.abort()
      reject(unavailable(id, 'no_answer'))
    }, timeoutMs)
    answer
      .then(resolve, (error: unknown) => reject(isAuthkeepError(error) ? error : unavailable(id, whyOf(error))))
      .finally(() => clearTimeout(timer))
  })
}

/** What the keychain itself says is never passed on. */
function whyOf(error: unknown): 'no_answer' | 'refused' {
  return /DBus error|D-Bus/.test(String(error)) ? 'no_answer' : 'refused'
}

function unavailable(keyId: string, why: 'no_package' | 'no_answer' | 'refused'): AuthkeepError {
  return new AuthkeepError('keychain_unavailable', { keyId, keyProvider: name, why })
}
