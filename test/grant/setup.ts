import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { inspect } from 'node:util'
import { expect } from 'vitest'
import type { GrantAnswer, GrantRequest } from '../../src/grant/flow.ts'
import type { Provider } from '../../src/provider.ts'

export interface Stub {
  readonly origin: string
  readonly requests: { readonly method: string; readonly path: string; readonly type: string; readonly body: string }[]
  stop(): Promise<void>
}

/** A server of a few lines on a real socket, for what a well-behaved authorization server never does. */
export async function stub(
  answer: (request: IncomingMessage, response: ServerResponse, body: string) => void,
): Promise<Stub> {
  const requests: Stub['requests'] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString()
      const { method = '', url: path = '', headers } = request
      requests.push({ method, path, type: headers['content-type'] ?? '', body })
      answer(request, response, body)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

export function json(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
}

/** An address where nobody listens. */
export async function nobody(): Promise<string> {
  const server = await stub(() => undefined)
  await server.stop()
  return server.origin
}

export function grantRequest(provider: Provider, more: Partial<GrantRequest> = {}): GrantRequest {
  const scopes = provider.scopes ?? []
  return { provider, scopes, resources: [], account: 'default', fetch, now: Date.now, signal: undefined, ...more }
}

export function oauth(answer: GrantAnswer): Extract<GrantAnswer, { type: 'oauth' }> {
  if (answer.type !== 'oauth') throw new Error(`expected an OAuth grant, not ${answer.type}`)
  return answer
}

/** No way of printing the value shows any of the secrets. */
export function expectNoSecret(value: unknown, secrets: readonly string[]): void {
  const message = value instanceof Error ? `${value.message}\n${value.stack ?? ''}` : ''
  const prints = [inspect(value, { depth: 20, showHidden: true }), JSON.stringify(value), message]
  for (const print of prints) for (const secret of secrets) expect(print).not.toContain(secret)
}

/** What a promise rejects with; resolving is a failure. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  const outcome = await promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  )
  if ('error' in outcome) return outcome.error
  throw new Error(`expected a rejection, got ${inspect(outcome.value)}`)
}
