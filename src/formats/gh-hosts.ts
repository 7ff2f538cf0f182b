import { parse } from 'yaml'
import type { JsonObject } from '../credential.ts'
import { type ForeignReader, foreignLogin, loginsIn, objectOf, secretOf } from './foreign.ts'
import { FormatError } from './format.ts'

/** `gh` of GitHub: a mapping of hosts to `{ oauth_token, user, … }`; its tokens do not expire. */
export const readGhHosts: ForeignReader = (text) =>
  loginsIn(parseGhHosts(text), (host, name) =>
    foreignLogin({
      ...{ name, type: 'token', secret: secretOf(host['oauth_token']) },
      ...(name === 'github.com' ? { provider: 'github' } : {}),
    }),
  )

/** @throws FormatError, which carries no piece of the text */
export function parseGhHosts(text: string): JsonObject {
  if (text.trim() === '') throw new FormatError('it is empty')
  // A cut text is YAML as well, with a cut token in it.
  if (!text.endsWith('\n')) throw new FormatError('it ends in the middle of a line')
  let value: unknown
  try {
    value = parse(text, { logLevel: 'error', prettyErrors: false })
  } catch {
    throw new FormatError('it is not YAML')
  }
  const hosts = objectOf(value)
  if (hosts === null) throw new FormatError('it is not a mapping of hosts')
  return hosts
}
