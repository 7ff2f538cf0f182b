import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { JsonObject } from '../credential.ts'
import { AuthkeepError } from '../errors.ts'
import type { Change, CommitResult, StoreBackend, Versioned } from './backend.ts'

/** What sends a command: a client of `redis`, connected. */
export interface RedisClient {
  /** Sends one command, as the words of it. */
  sendCommand(words: string[]): Promise<unknown>
}

/** A connection of its own for SUBSCRIBE: `client.duplicate()`, connected. Whoever made it ends it. */
export interface RedisSubscriber {
  /** Hears what is published on a channel. */
  subscribe(channel: string, listener: (message: string) => void): Promise<unknown>
}

/** How a `redisBackend` reaches its keys. */
export interface RedisOptions {
  readonly client: RedisClient
  /** Whose credentials these are, of several programs that share the server; default `authkeep`. */
  readonly namespace?: string
  /** Hears of changes at once. Without it changes are looked for every 20 to 200 ms while somebody waits. */
  readonly subscriber?: RedisSubscriber
  /**
   * Uses a server that forgets what it has acknowledged: one that does not have `appendonly yes`, `appendfsync always`
   * and `maxmemory-policy noeviction`, or that does not say so. A spent refresh token may come back from it.
   */
  readonly acceptLoss?: boolean
}

/**
 * Credentials in Redis or Valkey, for several machines. A commit is one script: it compares every revision, then writes
 * everything or nothing. All keys bear one hash tag, so that a cluster keeps them together.
 *
 * @throws AuthkeepError from every method: `store_failed` where the server refuses or cannot be reached (`errno` is the
 *   first word of its answer, or what is wrong with its configuration); `write_indeterminate` from `commit` where the
 *   answer was lost; `store_corrupt` for what is no JSON object
 */
export function redisBackend(options: RedisOptions): StoreBackend {
  return new RedisStore(options)
}

/**
 * KEYS: the set of all names, the counter, then one hash for each change. ARGV: the channel, what chance says (a counter
 * goes back when the server forgets), then for each change its name, `=` and the expected revision or `-`, and `=` and
 * the value or `-`.
 */
const script = `
local now
for n = 3, #KEYS do
  local at = 3 + (n - 3) * 3
  local revision = redis.call('HGET', KEYS[n], 'revision')
  local found = revision and '=' .. revision or '-'
  if found ~= ARGV[at + 1] then
    return { ARGV[at], revision or '', redis.call('HGET', KEYS[n], 'value') or '' }
  end
end
for n = 3, #KEYS do
  local at = 3 + (n - 3) * 3
  local next = ARGV[at + 2]
  if next == '-' then
    redis.call('DEL', KEYS[n])
    redis.call('SREM', KEYS[1], ARGV[at])
  else
    now = now or redis.call('INCR', KEYS[2]) .. '.' .. ARGV[2]
    redis.call('HSET', KEYS[n], 'value', string.sub(next, 2), 'revision', now)
    redis.call('SADD', KEYS[1], ARGV[at])
  end
  redis.call('PUBLISH', ARGV[1], ARGV[at])
end
return {}`

class RedisStore implements StoreBackend {
  readonly exclusion = 'cas'
  readonly #client: RedisClient
  readonly #prefix: string
  readonly #subscriber: RedisSubscriber | undefined
  readonly #acceptLoss: boolean
  readonly #wakes = new Set<(key: string) => void>()
  readonly #working = new Set<Promise<unknown>>()
  #ready: Promise<void> | undefined
  #subscribed: Promise<unknown> | undefined
  #isClosed = false

  constructor({ client, namespace = 'authkeep', subscriber, acceptLoss = false }: RedisOptions) {
    if (/[{}]/.test(namespace) || namespace === '') throw new TypeError('a namespace has letters, and no braces')
    this.#client = client
    this.#prefix = `{${namespace}}`
    this.#subscriber = subscriber
    this.#acceptLoss = acceptLoss
  }

  async read(key: string): Promise<Versioned | null> {
    const [revision, value] = (await this.#run('read', ['HMGET', this.#entry(key), 'revision', 'value'], { key })) as [
      string | null,
      string | null,
    ]
    return revision === null && value === null ? null : this.#versioned(key, revision, value)
  }

  async keys(): Promise<readonly string[]> {
    return (await this.#run('keys', ['SMEMBERS', `${this.#prefix}:keys`])) as readonly string[]
  }

  async commit(changes: readonly Change[]): Promise<CommitResult> {
    this.#assertOpen()
    const keys = changes.map(({ key }) => key)
    if (new Set(keys).size !== keys.length) throw new TypeError('a key occurs twice')
    const names = [`${this.#prefix}:keys`, `${this.#prefix}:revision`, ...keys.map((key) => this.#entry(key))]
    const words = changes.flatMap(({ key, expected, next }) => [
      ...[key, expected === null ? '-' : `=${expected}`, next === null ? '-' : `=${JSON.stringify(next)}`],
    ])
    const chance = randomUUID().slice(0, 8)
    const command = ['EVAL', script, String(names.length), ...names, `${this.#prefix}:changed`, chance, ...words]
    const [stale, revision, value] = (await this.#run('commit', command, { written: keys[0] ?? '' })) as string[]
    if (stale === undefined) return { ok: true }
    const current = revision === '' ? null : this.#versioned(stale, revision ?? null, value ?? null)
    return { ok: false, key: stale, current }
  }

  async waitForChange(key: string, since: string | null, timeoutMs: number): Promise<void> {
    this.#assertOpen()
    const deadline = performance.now() + timeoutMs
    await this.#subscribeOnce()
    for (let pauseMs = 20; !this.#isClosed; pauseMs = Math.min(pauseMs * 1.5, 200)) {
      const woken = this.#wakened(key)
      try {
        if (((await this.read(key))?.revision ?? null) !== since) return
        const left = deadline - performance.now()
        if (left <= 0) return
        await Promise.race([delay(Math.min(left, pauseMs * (0.5 + Math.random()))), woken.promise])
      } finally {
        woken.forget()
      }
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.allSettled(this.#working)
  }

  // --- the server ------------------------------------------------------------------------------------------------

  async #run(operation: string, words: string[], about: { key?: string; written?: string } = {}): Promise<unknown> {
    this.#assertOpen()
    const work = this.#prepare().then(() => this.#send(operation, words, about))
    this.#working.add(work)
    return work.finally(() => this.#working.delete(work))
  }

  async #send(
    operation: string,
    words: string[],
    { key, written }: { key?: string; written?: string },
  ): Promise<unknown> {
    try {
      return await this.#client.sendCommand(words)
    } catch (error) {
      const refusal = refusalOf(error)
      if (refusal === 'WRONGTYPE' && key !== undefined) {
        throw new AuthkeepError('store_corrupt', { path: this.#prefix, key, what: 'it is not a hash' })
      }
      if (refusal === null && written !== undefined) throw new AuthkeepError('write_indeterminate', { key: written })
      throw this.#failed(operation, refusal ?? codeOf(error))
    }
  }

  /** Once: whether the server keeps what it acknowledges. A failure is forgotten, so that the next call tries again. */
  #prepare(): Promise<void> {
    this.#ready ??= this.#look()
    const ready = this.#ready
    ready.catch(() => {
      if (this.#ready === ready) this.#ready = undefined
    })
    return ready
  }

  async #look(): Promise<void> {
    if (this.#acceptLoss) return
    const wanted = { appendonly: 'yes', appendfsync: 'always', 'maxmemory-policy': 'noeviction' }
    for (const [name, value] of Object.entries(wanted)) {
      const answer = await this.#send('open', ['CONFIG', 'GET', name], {})
      if (settingIn(answer) !== value) throw this.#failed('open', `${name} is not ${value}`)
    }
  }

  #failed(operation: string, errno: string): AuthkeepError {
    // A message of the server may quote what was sent.
    return new AuthkeepError('store_failed', { path: `redis:${this.#prefix}`, operation, errno, unspent: true })
  }

  #entry(key: string): string {
    return `${this.#prefix}:entry:${key}`
  }

  #versioned(key: string, revision: string | null, text: string | null): Versioned {
    const value: unknown = parsed(text)
    if (revision === null || typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw new AuthkeepError('store_corrupt', { path: `redis:${this.#prefix}`, key, what: 'it is not a JSON object' })
    }
    return { value: value as JsonObject, revision }
  }

  // --- hints -----------------------------------------------------------------------------------------------------

  /** A server that lets nobody subscribe is no reason to fail: then waiting is polling. */
  #subscribeOnce(): Promise<unknown> {
    this.#subscribed ??=
      this.#subscriber
        ?.subscribe(`${this.#prefix}:changed`, (key) => {
          for (const wake of [...this.#wakes]) wake(key)
        })
        .catch(() => undefined) ?? Promise.resolve()
    return this.#subscribed
  }

  #wakened(key: string): { readonly promise: Promise<void>; forget(): void } {
    let wake: (changed: string) => void = () => undefined
    const promise = new Promise<void>((resolve) => {
      wake = (changed) => {
        if (changed === key) resolve()
      }
    })
    this.#wakes.add(wake)
    return { promise, forget: () => void this.#wakes.delete(wake) }
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new TypeError('the backend is closed')
  }
}

function parsed(text: string | null): unknown {
  try {
    return JSON.parse(text ?? '')
  } catch {
    return null
  }
}

/** The value of one setting: of a list in RESP2, of a map in RESP3. */
function settingIn(answer: unknown): unknown {
  if (Array.isArray(answer)) return answer[1]
  return typeof answer === 'object' && answer !== null ? Object.values(answer)[0] : undefined
}

/** The first word of an answer that says no (RESP simple error): nothing was done. Null for a connection that broke. */
function refusalOf(error: unknown): string | null {
  if (!(error instanceof Error) || 'syscall' in error) return null
  return /^([A-Z][A-Z0-9]+) /.exec(error.message)?.[1] ?? null
}

function codeOf(error: unknown): string {
  const code = typeof error === 'object' && error !== null ? (error as { code?: unknown }).code : undefined
  return typeof code === 'string' && /^[A-Z0-9_]{3,32}$/.test(code) ? code : 'unknown error'
}
