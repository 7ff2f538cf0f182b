// A Secret of Kubernetes as the place of all credentials, by the API of the cluster: a Secret that is mounted as a volume
// cannot be written, and is minutes old. What the role needs, and the limits: docs/fleets.md.
import { readFile } from 'node:fs/promises'
import { AuthkeepError } from 'authkeep'
import { isObject, type TextPlace } from './one-document.ts'

export interface KubernetesSecret {
  /** Default: the cluster that this pod is in. Its CA is known to Node by `NODE_EXTRA_CA_CERTS`. */
  readonly server?: string
  readonly namespace: string
  readonly name: string
  /** Default: the service account's, read anew each time, because the kubelet replaces it. */
  readonly token?: () => string | Promise<string>
}

const tokenFile = '/var/run/secrets/kubernetes.io/serviceaccount/token'
const member = 'authkeep.json'

export function kubernetesSecret(options: KubernetesSecret): TextPlace {
  const { server = 'https://kubernetes.default.svc', namespace, name } = options
  const token = options.token ?? (() => readFile(tokenFile, 'utf8'))
  const place = `kubernetes:${namespace}/${name}`
  const all = `${server}/api/v1/namespaces/${namespace}/secrets`

  async function request(
    [method, url]: readonly [string, string],
    content?: { readonly type: string; readonly body: object },
  ): Promise<{ status: number; body: Record<string, unknown> }> {
    const response = await fetch(url, {
      method,
      headers: {
        Authorization: `Bearer ${(await token()).trim()}`,
        Accept: 'application/json',
        ...(content === undefined ? {} : { 'Content-Type': content.type }),
      },
      ...(content === undefined ? {} : { body: JSON.stringify(content.body) }),
      redirect: 'error',
      signal: AbortSignal.timeout(10_000),
    })
    const body: unknown = await response.json().catch(() => null)
    return { status: response.status, body: isObject(body) ? body : {} }
  }

  const failed = (operation: string, errno: string): AuthkeepError =>
    new AuthkeepError('store_failed', { path: place, operation, errno, unspent: true })

  return {
    name: place,
    async read() {
      // Without `resourceVersion` in the query the API server answers with what is newest.
      const { status, body } = await request(['GET', `${all}/${name}`]).catch((error: unknown) => {
        throw failed('read', error instanceof Error ? error.name : 'unknown error')
      })
      const version = isObject(body['metadata']) ? body['metadata']['resourceVersion'] : undefined
      if (status === 200 && typeof version === 'string') {
        const encoded = isObject(body['data']) ? body['data'][member] : undefined
        return { text: typeof encoded === 'string' ? Buffer.from(encoded, 'base64').toString() : null, version }
      }
      if (status === 404 && body['reason'] === 'NotFound') return { text: null, version: null }
      throw failed('read', `HTTP ${status}`)
    },

    async write(text, version) {
      const data = { [member]: Buffer.from(text).toString('base64') }
      const { status, body } =
        version === null
          ? await request(['POST', all], {
              type: 'application/json',
              body: { apiVersion: 'v1', kind: 'Secret', metadata: { name }, type: 'Opaque', data },
            })
          : // A merge: labels, owners and other members stay. The version in it makes it conditional.
            await request(['PATCH', `${all}/${name}`], {
              type: 'application/merge-patch+json',
              body: { metadata: { resourceVersion: version }, data },
            })
      if (status === 200 || status === 201) return true
      const reason = body['reason']
      if (status === 409 && (reason === 'Conflict' || reason === 'AlreadyExists')) return false
      if (status === 404 && reason === 'NotFound' && version !== null) return false
      if (status >= 400 && status < 500) throw failed('write', `HTTP ${status}`)
      throw new Error(`HTTP ${status}`)
    },
  }
}
