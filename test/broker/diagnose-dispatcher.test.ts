import { inspect } from 'node:util'
import { Agent, type Dispatcher, ProxyAgent, fetch as undiciFetch } from 'undici'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import type { Verdict, VerdictCode } from '../../src/index.ts'
import { confusionMatrix } from './diagnosis/cases.ts'
import { before, beginning, closeAll, closedPort, https, open, outcomeOf, raw, soon } from './diagnosis/servers.ts'

const refusingProxy = (line: string): Promise<number> => raw((socket) => socket.once('data', () => socket.end(line)))

function outcomeBy(dispatcher: Dispatcher, url: string): Promise<Verdict> {
  open.push({ close: () => void dispatcher.destroy() })
  return outcomeOf(url, () => undiciFetch(url, { dispatcher }))
}

const sockets: readonly (readonly [string, VerdictCode, () => Promise<Verdict>])[] = [
  [
    'a certificate that has expired',
    'tls_failed',
    async () => {
      const { port, cert: ca } = await https('localhost', before(2), before(1))
      return outcomeBy(new Agent({ connect: { ca } }), `https://localhost:${port}/`)
    },
  ],
  [
    'a certificate of another host',
    'tls_failed',
    async () => {
      const { port, cert: ca } = await https('other.example', before(1), soon())
      return outcomeBy(new Agent({ connect: { ca } }), `https://localhost:${port}/`)
    },
  ],
  [
    'a proxy that cannot reach the server',
    'proxy_failed',
    async () => {
      const port = await refusingProxy('HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n')
      return outcomeBy(new ProxyAgent(`http://127.0.0.1:${port}`), 'https://api.example.com/')
    },
  ],
  [
    'a proxy that wants a password',
    'proxy_failed',
    async () => {
      const port = await refusingProxy('HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n')
      return outcomeBy(new ProxyAgent(`http://127.0.0.1:${port}`), 'https://api.example.com/')
    },
  ],
  [
    'a proxy that is not there',
    'proxy_failed',
    async () => outcomeBy(new ProxyAgent(`http://127.0.0.1:${await closedPort()}`), 'https://api.example.com/'),
  ],
  [
    'a handshake that does not begin',
    'timed_out',
    async () => outcomeBy(new Agent({ connect: { timeout: 50 } }), `https://127.0.0.1:${await raw(() => undefined)}/`),
  ],
  [
    'headers that do not come',
    'timed_out',
    async () => outcomeBy(new Agent({ headersTimeout: 50 }), `http://127.0.0.1:${await raw(() => undefined)}/`),
  ],
  [
    'a body that does not come',
    'timed_out',
    async () => {
      const port = await raw((socket) => socket.once('data', () => socket.write(beginning)))
      return outcomeBy(new Agent({ bodyTimeout: 50 }), `http://127.0.0.1:${port}/`)
    },
  ],
]

describe('over real sockets, through a dispatcher', () => {
  const pairs: [string, string][] = []
  afterEach(closeAll)
  afterAll(() => console.log(`real sockets, expected × got:\n${confusionMatrix(pairs)}`))

  test.each(sockets)('%s: %s', async (_, expected, run) => {
    const verdict = await run()
    pairs.push([expected, verdict.code])
    expect(verdict.code, inspect(verdict)).toBe(expected)
    expect(verdict.blamesCredential).toBe(false)
  })
})
