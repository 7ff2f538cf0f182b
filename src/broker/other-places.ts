import { execFile } from 'node:child_process'
import { readFile, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { JsonObject } from '../credential.ts'
import { objectOf, textOf } from '../formats/foreign.ts'
import { FormatError } from '../formats/format.ts'
import type { EnvironmentVariables } from './environment.ts'

// Where other programs keep logins, as text for its reader. Nothing is written there.

const keychain = 'keychain:'

/** An item of the macOS Keychain as a place. */
export const keychainItem = (service: string): string => `${keychain}${service}`

/**
 * What stands in a place: in a file, in a database of OpenClaw, in an item of the Keychain.
 *
 * @throws FormatError where it cannot be read; the error of the system where that is why, `ENOENT` for no such place
 */
export function textAt(place: string, env: EnvironmentVariables): Promise<string> {
  if (place.startsWith(keychain)) return fromKeychain(place.slice(keychain.length), env)
  return place.endsWith('.sqlite') ? fromDatabase(place) : readFile(place, 'utf8')
}

// --- OpenClaw --------------------------------------------------------------------------------------------------------

/** The part of `node:sqlite` that is used. */
interface Sqlite {
  readonly DatabaseSync: new (
    path: string | URL,
    options: { readonly readOnly: true },
  ) => { prepare(sql: string): { get(): Record<string, unknown> | undefined }; close(): void }
}

/** The tables that may hold the logins: of all agents, and of one. */
const tables = [
  [
    'config_machine_state',
    "SELECT value_json AS text FROM config_machine_state WHERE state_key = 'authProfiles.store'",
  ],
  ['auth_profile_store', "SELECT store_json AS text FROM auth_profile_store WHERE store_key = 'primary'"],
] as const

async function fromDatabase(path: string): Promise<string> {
  if ((await stat(path)).size === 0) return ''
  const sqlite = process.getBuiltinModule('node:sqlite') as Sqlite | undefined
  if (sqlite === undefined) {
    throw new FormatError(`it is a database, which takes Node 22.15 or newer; this is Node ${process.versions.node}`)
  }
  const url = pathToFileURL(path)
  // Whoever reads a database with a write-ahead log makes files beside it. Where nobody has it open there need be none.
  const log = await stat(`${path}-wal`).catch(() => null)
  if (log === null || log.size === 0) url.search = '?immutable=1'
  try {
    const database = new sqlite.DatabaseSync(url, { readOnly: true })
    try {
      for (const [table, query] of tables) {
        const found = database.prepare(`SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '${table}'`).get()
        const text = found === undefined ? undefined : database.prepare(query).get()?.['text']
        if (typeof text === 'string') return text
      }
      return '{}'
    } finally {
      database.close()
    }
  } catch {
    throw new FormatError('it is no database, or one that cannot be read')
  }
}

// --- commands --------------------------------------------------------------------------------------------------------

async function fromKeychain(service: string, env: EnvironmentVariables): Promise<string> {
  // 44: there is no such item. It may ask the person, who needs time.
  const text = await said('security', ['find-generic-password', '-w', '-s', service], env, { none: 44, seconds: 60 })
  if (text === null) throw Object.assign(new Error('no such item in the Keychain'), { code: 'ENOENT' })
  return text
}

/**
 * `hosts.yml` of `gh`, as JSON, with the tokens that it keeps in a keyring. It is the command that gives those; tokens
 * that stand in the file need none, and a newer `gh` may write the file anew when it runs.
 */
export async function ghHosts(path: string, env: EnvironmentVariables): Promise<string> {
  const { parseGhHosts } = await import('../formats/gh-hosts.ts')
  const hosts = parseGhHosts(await readFile(path, 'utf8'))
  // What it keeps is wanted, and not what the environment holds.
  const { GH_TOKEN: _, GITHUB_TOKEN: __, GH_ENTERPRISE_TOKEN: ___, GITHUB_ENTERPRISE_TOKEN: ____, ...others } = env
  const own = { ...others, GH_CONFIG_DIR: dirname(path) }
  const filled: Record<string, JsonObject> = {}
  for (const [host, value] of Object.entries(hosts)) {
    const entry = objectOf(value)
    if (entry === null) continue
    const args = ['auth', 'token', '--hostname', host]
    const token = textOf(entry['oauth_token']) ?? (await said('gh', args, own, { none: 1, seconds: 10 }))
    filled[host] = { ...entry, oauth_token: token }
  }
  return `${JSON.stringify(filled)}\n`
}

/** What a command says; null where there is no such command, or it ends with a status that says "there is none". */
async function said(
  command: string,
  args: readonly string[],
  env: EnvironmentVariables,
  { none, seconds }: { readonly none: number; readonly seconds: number },
): Promise<string | null> {
  return new Promise((resolve, reject) => {
    execFile(command, args, { env: { ...env }, timeout: seconds * 1_000, windowsHide: true }, (error, stdout) => {
      if (error === null) resolve(stdout.trim())
      else if (error.code === 'ENOENT' || error.code === none) resolve(null)
      // The message of the error has what the command said in it.
      else reject(new FormatError(`${command} ${error.killed === true ? 'does not answer' : 'does not give it'}`))
    })
  })
}
