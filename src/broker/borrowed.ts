import { stat } from 'node:fs/promises'
import { type Credential, type CredentialKey, fingerprint, keyName, movedTo, type Secret } from '../credential.ts'
import { errnoOf } from '../errors.ts'
import type { ForeignLogin } from '../formats/foreign.ts'
import { FormatError } from '../formats/format.ts'
import type { Provider } from '../provider.ts'

/** What an entry remembers of where it came from, as `metadata.imported`. */
export interface Imported {
  readonly program: string
  readonly path: string
  readonly entry: string
  readonly mode: 'borrowed' | 'taken over'
  /** Unix milliseconds. */
  readonly at: number
}

export function importedFrom(credential: Credential): Imported | undefined {
  return credential.metadata?.['imported'] as Imported | undefined
}

/** The program, or the store, that alone renews a login; undefined for one of ours. */
export function lenderOf(credential: Credential): string | undefined {
  const moved = movedTo(credential)
  if (moved !== undefined) return moved
  const imported = importedFrom(credential)
  return imported?.mode === 'borrowed' ? imported.program : undefined
}

/**
 * The entry for a login that belongs to another program: what it uses by itself, and no refresh token. Where there is an
 * ID token the headers of an endpoint may need its claims, so it is a grant without a refresh token then.
 */
export function borrowedCredential(
  { type, secret, expiresAt, idToken, scopes: named }: ForeignLogin,
  common: CredentialKey & Pick<Credential, 'metadata'>,
  { issuer, client, scopes: usual = [] }: Provider,
): Credential {
  if (type === 'api_key') return { type, ...common, key: secret }
  if (idToken === null) return { type: 'token', ...common, token: secret, expiresAt }
  const [scopes, evidence] = [named.length > 0 ? named : usual, 'assumed'] as const
  const token = { accessToken: secret, tokenType: 'Bearer', scopes, resource: null, expiresAt, evidence }
  return {
    ...{ type: 'oauth', ...common, issuer, clientId: client.id, subject: null, lease: null, idToken },
    grant: {
      ...{ scopes, evidence, resources: [], refreshToken: null, refreshExpiresAt: null },
      ...{ generation: 0, obtainedAt: 0, state: 'live', replays: 0 },
    },
    tokens: [{ ...token, obtainedAt: 0 }],
  }
}

/** A borrowed entry as it was read last, and of which state of the owner's file. */
interface Followed {
  readonly stored: Credential
  readonly state: string
  readonly credential: Credential
}

/**
 * Logins that belong to another program are used as its file has them: when it renews one, or a person logs in there
 * again, the next caller gets the new token. One look at the file for each look at the store; it is read again only when
 * it has changed. Whatever is wrong with it, what was read last is used while it lives.
 */
export class BorrowedLogins {
  readonly #followed = new Map<string, Followed>()

  /** The same object for as long as neither the entry nor the file has changed. */
  async follow(stored: Credential, provider: Provider): Promise<Credential> {
    const imported = importedFrom(stored)
    if (imported?.mode !== 'borrowed') return stored
    const name = keyName(stored)
    const known = this.#followed.get(name)
    const isKnown = known?.stored === stored
    const state = await stateOf(imported.path)
    if (isKnown && known.state === state) return known.credential
    const last = isKnown ? known.credential : stored
    const login = state === '' ? null : await loginIn(imported)
    const { provider: id, account, metadata } = stored
    const common = { provider: id, account, ...(metadata === undefined ? {} : { metadata }) }
    const fresh = login === null ? last : borrowedCredential(login, common, provider)
    const credential = secretOf(fresh) === secretOf(last) ? last : fresh
    this.#followed.set(name, { stored, state, credential })
    return credential
  }
}

/** Names one state of a file, its write-ahead log included if it is a database; empty where it cannot be looked at. */
async function stateOf(path: string): Promise<string> {
  const [file, ...others] = await Promise.all((path.endsWith('.sqlite') ? [path, `${path}-wal`] : [path]).map(look))
  return file === undefined || file === '' ? '' : [file, ...others].join(', ')
}

async function look(path: string): Promise<string> {
  try {
    const { ino, size, mtimeNs } = await stat(path, { bigint: true })
    return `${ino} ${size} ${mtimeNs}`
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return ''
  }
}

/** What the other program calls this login now; null where it has none, or its file cannot be read. */
async function loginIn({ program: id, path, entry }: Imported): Promise<ForeignLogin | null> {
  const { otherPrograms, readLogins } = await import('./other-programs.ts')
  const program = (await otherPrograms(process.env)).find((each) => each.id === id)
  if (program === undefined) return null
  try {
    return (await readLogins(program, path)).find(({ name }) => name === entry) ?? null
  } catch (error) {
    // Its owner may be writing it, and will be done in a moment.
    if (errnoOf(error) === undefined && !(error instanceof FormatError)) throw error
    return null
  }
}

function secretOf(credential: Credential): string {
  const secret: Secret | undefined =
    credential.type === 'oauth'
      ? credential.tokens[0]?.accessToken
      : credential.type === 'api_key'
        ? credential.key
        : credential.token
  return secret === undefined ? '' : fingerprint(secret)
}
