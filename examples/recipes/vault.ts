// A secret of the KV engine, version 2, of Vault or OpenBao, as the place of all credentials. What the engine must be
// set to, and what it cannot do: docs/fleets.md.
import { AuthkeepError } from 'authkeep'
import { isObject, type TextPlace } from './one-document.ts'

export interface VaultSecret {
  /** `https://vault.example:8200`: the active node of the primary cluster, or a name that leads there. */
  readonly address: string
  /** Where the engine is mounted; default `secret`. */
  readonly mount?: string
  readonly path: string
  /** Asked before each request, since tokens of Vault end. */
  readonly token: () => string | Promise<string>
  readonly namespace?: string
}

export function vaultSecret({ address, mount = 'secret', path, token, namespace }: VaultSecret): TextPlace {
  const name = `vault:${mount}/${path}`

  async function request(method: string, content?: object): Promise<{ status: number; body: Record<string, unknown> }> {
    const response = await fetch(`${address}/v1/${mount}/data/${path}`, {
      method,
      headers: {
        'X-Vault-Token': await token(),
        'X-Vault-Request': 'true',
        ...(namespace === undefined ? {} : { 'X-Vault-Namespace': namespace }),
      },
      ...(content === undefined ? {} : { body: JSON.stringify(content) }),
      redirect: 'error',
      signal: AbortSignal.timeout(10_000),
    })
    const body: unknown = await response.json().catch(() => null)
    return { status: response.status, body: isObject(body) ? body : {} }
  }

  const failed = (operation: string, errno: string): AuthkeepError =>
    new AuthkeepError('store_failed', { path: name, operation, errno, unspent: true })

  return {
    name,
    async read() {
      const { status, body } = await request('GET').catch((error: unknown) => {
        throw failed('read', nameOf(error))
      })
      const data = isObject(body['data']) ? body['data'] : {}
      const metadata = isObject(data['metadata']) ? data['metadata'] : {}
      if (typeof metadata['version'] === 'number') {
        const version = String(metadata['version'])
        // Deleted: nothing is there, but the next version has a number.
        if (status === 404) return { text: null, version }
        const text = isObject(data['data']) ? data['data']['document'] : undefined
        if (status === 200 && typeof text === 'string') return { text, version }
        if (status === 200) {
          throw new AuthkeepError('store_corrupt', { path: name, what: 'the secret has no member "document"' })
        }
      }
      // Of a mount that is not there, or of a proxy, a 404 says more than nothing, or something else.
      if (status === 404 && Array.isArray(body['errors']) && body['errors'].length === 0) {
        return { text: null, version: '0' }
      }
      throw failed('read', `HTTP ${status}`)
    },

    async write(text, version) {
      const { status, body } = await request('POST', { options: { cas: Number(version) }, data: { document: text } })
      if (status === 200) return true
      const isStale = String(body['errors']).includes('check-and-set parameter did not match')
      if (status === 400 && isStale) return false
      // Vault refuses with 4xx before it writes; of a 5xx nobody knows.
      if (status >= 400 && status < 500) throw failed('write', `HTTP ${status}`)
      throw new Error(`HTTP ${status}`)
    },
  }
}

function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : 'unknown error'
}
