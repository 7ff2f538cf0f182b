import type { JsonObject } from '../credential.ts'
import { Secret } from '../credential.ts'
import { FormatError } from './format.ts'

/** A login as another program keeps it. Only read: what is not understood is left where it is. */
export interface ForeignLogin {
  /** What the other program calls it. */
  readonly name: string
  readonly type: 'oauth' | 'api_key' | 'token'
  /** The access token, the API key or the token. */
  readonly secret: Secret
  readonly refreshToken: Secret | null
  /** Unix milliseconds, or null where the file does not say. */
  readonly expiresAt: number | null
  readonly scopes: readonly string[]
  readonly idToken: Secret | null
  /** The provider that is shipped for it, where its name does not say that. */
  readonly provider?: string
  /** The client that its refresh token was issued to, where the file says so. */
  readonly clientId?: string
}

/** How a file of another program spells logins. Pure: text in, logins out; never writes. */
export type ForeignReader = (text: string) => readonly ForeignLogin[]

/** @throws FormatError, which carries no piece of the text */
export function parseObject(text: string): JsonObject {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    // An empty file is no empty store: somebody may be writing it, or have died doing so.
    throw new FormatError(text.trim() === '' ? 'it is empty' : 'it is not JSON')
  }
  const object = objectOf(value)
  if (object === null) throw new FormatError('it is not a JSON object')
  return object
}

export function objectOf(value: unknown): JsonObject | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : null
}

/** A string that says something; an empty one is how some programs spell "logged out". */
export function textOf(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null
}

export function secretOf(value: unknown): Secret | null {
  const text = textOf(value)
  return text === null ? null : new Secret(text)
}

export function timeOf(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null
}

/** The logins among the members of an object, each under its name. */
export function loginsIn(
  object: JsonObject,
  read: (entry: JsonObject, name: string) => ForeignLogin | null,
): readonly ForeignLogin[] {
  return Object.entries(object).flatMap(([name, value]) => {
    const entry = objectOf(value)
    const login = entry === null ? null : read(entry, name)
    return login === null ? [] : [login]
  })
}

/** A login of which only some members are known. */
export function foreignLogin(
  login: Pick<ForeignLogin, 'name' | 'type'> &
    Partial<Omit<ForeignLogin, 'secret'>> & { readonly secret: Secret | null },
): ForeignLogin | null {
  const { secret } = login
  return secret === null ? null : { refreshToken: null, expiresAt: null, scopes: [], idToken: null, ...login, secret }
}
