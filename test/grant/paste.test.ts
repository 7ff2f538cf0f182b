import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type AuthorizationServer, startAuthorizationServer } from '../../examples/server/authorization-server.ts'
import { demoProvider } from '../../examples/server/demo-provider.ts'
import { type RobotOptions, redirectAway } from '../../examples/server/robot.ts'
import { loopbackFlow } from '../../src/grant/loopback.ts'
import { pasteFlow } from '../../src/grant/paste.ts'
import { type PastePrompt, readPasted } from '../../src/grant/pasted.ts'
import type { Provider } from '../../src/provider.ts'
import { expectNoSecret, grantRequest, oauth, rejection } from './setup.ts'

let server: AuthorizationServer
let provider: Provider
beforeAll(async () => {
  server = await startAuthorizationServer()
  provider = demoProvider(server)
})
afterEach(() => server.reset())
afterAll(() => server.stop())

/** A person whose browser is on another machine: it gets as far as the redirect, and nobody is there. */
const elsewhere =
  (change = (redirect: URL) => redirect.href, options: RobotOptions = {}): PastePrompt =>
  async (url) =>
    change(await redirectAway(url, options))
const codeOf = (url: URL): string => url.searchParams.get('code') ?? ''
const paste = (prompt: PastePrompt, more = {}) => pasteFlow({ prompt, ...more }).run(grantRequest(provider))

describe('a pasted redirect', () => {
  it.each([
    ['the whole address', (url: URL) => `  ${url.href}\n`],
    ['the code alone', codeOf],
    ['the code with its state', (url: URL) => `${codeOf(url)}#${url.searchParams.get('state') ?? ''}`],
  ])('is %s', async (_, change) => {
    const answer = oauth(await paste(elsewhere(change, { login: 'bob' })))
    expect(answer.token.subject).toBe('bob')
    expectNoSecret(answer, [answer.token.accessToken.reveal()])
  })

  it('is asked for again when it is something else, and then given up', async () => {
    const problems: (string | undefined)[] = []
    const strange = ['https://login.example/', 'not a code', 'http://127.0.0.1/?code=c&state=another']
    const failed = await rejection(
      paste((_url, { problem }) => {
        problems.push(problem)
        return Promise.resolve(strange[problems.length - 1] ?? '')
      }),
    )
    expect(failed).toMatchObject({ code: 'response_invalid' })
    expect(problems).toEqual([
      undefined,
      'That is not the address the browser was sent back to: there is no code in it.',
      'That is neither an address nor a code.',
    ])
    expect(server.counts().arrived).toBe(0)
  })

  it('of another login is not exchanged', () => {
    const prepared = { state: 'mine', metadata: { issuer: 'https://as.example' } }
    const other = { problem: 'That belongs to another login.' }
    expect(readPasted('http://127.0.0.1/callback?code=c&state=theirs', prepared)).toEqual(other)
    expect(readPasted('http://127.0.0.1/callback?code=c', prepared)).toEqual(other)
    expect(readPasted('c#theirs', prepared)).toEqual(other)
  })

  it('may say that the person said no', async () => {
    const failed = await rejection(paste(elsewhere((url) => url.href, { deny: true })))
    expect(failed).toMatchObject({ code: 'authorization_required', detail: { reason: 'denied' } })
  })

  it('is waited for a while, and the question ends with the login', async () => {
    let asked: AbortSignal | undefined
    const never: PastePrompt = (_url, { signal }) => {
      asked = signal
      return new Promise(() => undefined)
    }
    expect(await rejection(paste(never, { timeoutMs: 20 }))).toMatchObject({ detail: { reason: 'timed_out' } })
    expect(asked?.aborted).toBe(true)
    const broken = new Error('no terminal')
    expect(await rejection(paste(() => Promise.reject(broken)))).toBe(broken)
  })
})

describe('a pasted redirect and a browser here', () => {
  it('race: a redirect that is pasted ends the listening', async () => {
    let redirect: URL | undefined
    const flow = loopbackFlow({
      openBrowser: () => undefined,
      paste: elsewhere((url) => {
        redirect = url
        return url.href
      }),
    })
    const seen: string[] = []
    const watched: typeof fetch = async (input, init) => {
      if (init?.method === 'POST' && redirect !== undefined)
        seen.push(
          await globalThis.fetch(redirect).then(
            () => 'open',
            () => 'closed',
          ),
        )
      return globalThis.fetch(input, init)
    }
    const answer = oauth(await flow.run(grantRequest(provider, { fetch: watched })))
    expect(answer.token.subject).toBe('alice')
    expect(seen[0]).toBe('closed')
  })

  it('race: a redirect that arrives ends the question', async () => {
    let asked: AbortSignal | undefined
    const flow = loopbackFlow({
      openBrowser: async (url) => {
        await fetch(await redirectAway(url))
      },
      paste: (_url, { signal }) => {
        asked = signal
        return new Promise(() => undefined)
      },
    })
    await flow.run(grantRequest(provider))
    expect(asked?.aborted).toBe(true)
  })

  it('a prompt that fails, or gets nothing but nonsense, leaves the browser its chance', async () => {
    let go: () => void = () => undefined
    const failed = new Promise<void>((resolve) => {
      go = resolve
    })
    const flow = loopbackFlow({
      openBrowser: async (url) => {
        await failed
        await fetch(await redirectAway(url))
      },
      paste: () => {
        go()
        return Promise.reject(new Error('stdin is closed'))
      },
    })
    expect(oauth(await flow.run(grantRequest(provider))).token.subject).toBe('alice')
  })
})
