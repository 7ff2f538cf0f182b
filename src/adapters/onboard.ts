import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { type LoginOptions, TokenBroker } from '../broker/broker.ts'
import type { Profile } from '../broker/onboard.ts'
import { errnoOf } from '../errors.ts'
import type { Format } from '../formats/format.ts'
import { nativeFormat } from '../formats/native.ts'
import { openClawAuthProfilesFormat } from '../formats/openclaw-auth-profiles.ts'
import { piAuthJsonFormat } from '../formats/pi-auth-json.ts'
import type { Provider } from '../provider.ts'
import { type CredentialInfo, openStore } from '../store/store.ts'

export interface OnboardOptions extends LoginOptions {
  /** The credential file: an agent's `auth.json` or `auth-profiles.json`, or one of authkeep's own. */
  readonly path: string
  /** How that file is spelled. Default: as it is; one that is not there, by its name. */
  readonly format?: Format
  readonly providers: readonly Provider[]
  /** What to log in to, and how; one after the other. */
  readonly profiles: readonly Profile[]
  /** Default: the global one. */
  readonly fetch?: typeof fetch
}

/**
 * What an `onboard` command imports: several profiles of several providers, added to a credential file in one commit, all
 * or none. Nothing else in the file is touched, byte for byte. Whenever the process dies, the file holds what it held
 * before, or that and everything new.
 *
 * @returns what was stored, without secrets
 * @throws as `TokenBroker.onboard`; then nothing is stored
 */
export async function onboard(options: OnboardOptions): Promise<readonly CredentialInfo[]> {
  const { path, format = await formatOf(path), providers, profiles, fetch, ...login } = options
  const store = await openStore({ path, format })
  try {
    const broker = new TokenBroker({ store, providers, environment: {}, ...(fetch === undefined ? {} : { fetch }) })
    try {
      return await broker.onboard(profiles, login)
    } finally {
      await broker.close()
    }
  } finally {
    await store.close()
  }
}

/** By what the file says, or its second copy where it says nothing; by its name, where neither does. */
async function formatOf(path: string): Promise<Format> {
  for (const each of [path, `${path}.bak`]) {
    const members = membersOf(await textOf(each))
    if (members === null) continue
    if (isObject(members['credentials'])) return nativeFormat
    return isObject(members['profiles']) ? openClawAuthProfilesFormat : piAuthJsonFormat
  }
  return basename(path) === 'auth-profiles.json' ? openClawAuthProfilesFormat : piAuthJsonFormat
}

/** What cannot be read is the store's to complain of. */
async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return ''
  }
}

function membersOf(text: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(text)
    return isObject(value) ? value : null
  } catch {
    return null
  }
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
