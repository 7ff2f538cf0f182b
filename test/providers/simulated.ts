import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { TokenBroker } from '../../src/broker/broker.ts'
import type { Provider } from '../../src/provider.ts'
import { parseProvider } from '../../src/provider-files.ts'
import { memoryBackend } from '../../src/store/backend.ts'
import { type CredentialStore, openStore } from '../../src/store/store.ts'
import { expired } from '../broker/stage.ts'
import { json, type Stub, stub } from '../grant/setup.ts'

/** One request to a simulated server. */
export interface Asked {
  readonly url: URL
  readonly request: IncomingMessage
  readonly type: string
  /** The members of a JSON or form body. */
  readonly members: Readonly<Record<string, string>>
}

/** What is answered: JSON with a status, or where the browser is sent. */
export type Answer = readonly [status: number, body: unknown] | URL

/** A server on this machine that answers as a known one was seen to: by method and path. */
export async function simulate(
  answers: Readonly<Record<string, (asked: Asked) => Answer | Promise<Answer>>>,
): Promise<Stub & { readonly asked: Asked[] }> {
  const asked: Asked[] = []
  const respond = async (request: IncomingMessage, response: ServerResponse, body: string): Promise<void> => {
    const url = new URL(request.url ?? '', server.origin)
    const type = request.headers['content-type'] ?? ''
    const members = (
      type === 'application/json' ? JSON.parse(body) : Object.fromEntries(new URLSearchParams(body))
    ) as Asked['members']
    const one = { url, request, type, members }
    asked.push(one)
    const answer = (await answers[`${request.method ?? ''} ${url.pathname}`]?.(one)) ?? [404, { error: 'not_found' }]
    if (answer instanceof URL) response.writeHead(302, { location: answer.href }).end()
    else json(response, answer[0], answer[1])
  }
  const server = await stub((request, response, body) => void respond(request, response, body))
  return { ...server, asked }
}

/** A provider whose servers are all at one origin of this machine, checked like a file. */
export async function movedTo(origin: string, provider: Provider, hosts: readonly string[]): Promise<Provider> {
  const text = hosts.reduce((moved, host) => moved.replaceAll(`https://${host}`, origin), JSON.stringify(provider))
  return parseProvider(JSON.parse(text))
}

/** A broker with a store of its own for one provider. */
export interface Desk {
  readonly broker: TokenBroker
  readonly store: CredentialStore
  expire(): Promise<void>
  close(): Promise<void>
}

export async function openDesk(provider: Provider): Promise<Desk> {
  const store = await openStore({ backend: memoryBackend() })
  const broker = new TokenBroker({ store, providers: [provider] })
  return {
    broker,
    store,
    async expire() {
      await store.update({ provider: provider.id, account: 'default' }, expired)
    },
    async close() {
      await broker.close()
      await store.close()
    },
  }
}

/** RFC 7636 §4.2. */
export const challengeOf = (verifier = ''): string => createHash('sha256').update(verifier).digest('base64url')

/** A person whose browser goes where the server sends it. */
export const visit = async (url: URL): Promise<void> => {
  await fetch(url)
}
